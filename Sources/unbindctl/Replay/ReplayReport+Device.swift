// What a replay on a device tells. Virtual times, schedules, entries of page tables and TLBs are not among it.

import Unbind

extension ReplayReport {
    /// Where a replay on a device ran; nil in virtual time.
    struct DeviceText {
        let selector: String
        let speed: UInt64
        /// Nil: the software GPU.
        let gpu: GPUInfo?

        var name: String {
            guard let gpu else { return "the software GPU" }
            return "\(gpu.heading), driver \(gpu.driverName ?? "unknown")"
        }

        var json: JSON {
            .object([
                ("selector", .string(selector)),
                ("pci_address", gpu.map { .string($0.pciAddress) } ?? .null),
                ("name", gpu?.name.map(JSON.string) ?? .null),
                ("driver", gpu?.driverName.map(JSON.string) ?? .null),
                ("speed", .number(speed)),
            ])
        }
    }

    func deviceHead(_ device: DeviceText) -> [String] {
        let memory = plan.hasBatches
            ? "2 buffers, \(byteCount(plan.mostMemory)) together: all that the capture shows"
            : "a buffer for each allocation, of its size; at most \(byteCount(plan.mostMemory)) at one time"
        return [
            "device     \(device.name)",
            "           Jobs are kept waiting by the library's clock, then the GPU stores or loads a word.",
            "memory     \(memory)",
            "time       real, "
                + (device.speed == 1 ? "as in the capture" : "\(device.speed) times as fast as the capture")
                + (settings.asyncBinds ? "; binds are asynchronous too" : ""),
            "",
        ]
    }

    func deviceFigures(_ results: [Result]) -> [String] {
        var calls = [["", "calls", "caller blocked", "p50", "p99", "max", "binds waited", "unbinds awaited",
                      "not overlapping", "peak pending"]]
        var ends = [["", "binds", "unbinds", "groups", "updates", "ranges", "GPU jobs", "left mapped", "words read",
                     "took"]]
        for result in results {
            let figures = result.measurement
            guard let onDevice = figures.onDevice else { continue }
            calls.append(common(figures))
            ends.append([
                "\(figures.policy)", "\(figures.binds)", "\(figures.unbinds)", "\(onDevice.unbindGroups)",
                "\(onDevice.updates)", "\(onDevice.updatedRanges)", "\(figures.jobs)",
                "\(onDevice.mappingsLeft)", "\(onDevice.wordsRead)", duration(figures.end),
            ])
        }
        return table(calls) + [""] + table(ends) + deviceBatches(results) + [""] + legend + [
            "groups           in which unbinds went to the driver when they were ready",
            "updates          calls to the driver that changed page tables, and the ranges in them",
            "left mapped      what the capture leaves: it is all there, and nothing else",
            "words read       by the GPU, through mappings; each was what it had to be",
        ]
    }

    private func deviceBatches(_ results: [Result]) -> [String] {
        if !plan.hasBatches { return [] }
        var rows = [["", "operations", "split", "merged", "kept"]]
        for result in results {
            let batches = result.measurement.batches
            rows.append([
                "\(result.measurement.policy)", "\(batches.operations)", "\(batches.splits)", "\(batches.merges)",
                "\(batches.kept)",
            ])
        }
        return [""] + table(rows)
    }

    func json(_ figures: Measurement, _ onDevice: Measurement.OnDevice) -> JSON {
        let batches = figures.batches
        let ofBatches: [(String, JSON)] = [
            ("batch_operations", .number(batches.operations)),
            ("splits", .number(batches.splits)),
            ("merges", .number(batches.merges)),
            ("kept", .number(batches.kept)),
        ]
        return .object(commonJSON(figures) + [
            ("binds", .number(figures.binds)),
            ("unbinds", .number(figures.unbinds)),
            ("unbind_groups", .number(onDevice.unbindGroups)),
            ("updates", .number(onDevice.updates)),
            ("updated_ranges", .number(onDevice.updatedRanges)),
            ("mappings_left", .number(onDevice.mappingsLeft)),
            ("bytes_left", .number(onDevice.bytesLeft)),
            ("words_read", .number(onDevice.wordsRead)),
            ("gpu_jobs", .number(figures.jobs)),
            ("elapsed_ns", .number(figures.end)),
        ] + (plan.hasBatches ? ofBatches : []))
    }
}
