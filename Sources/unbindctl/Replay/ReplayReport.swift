// What a replay tells: as text, and as JSON.

/// Puts the figures of a replay into words.
struct ReplayReport {
    /// A policy's figures, and whether its page tables ended as those of a synchronous run.
    struct Result {
        let measurement: Measurement
        /// On a device the end is compared with the plan instead.
        let equalToSync: Bool
    }

    let file: String
    let plan: Plan
    let settings: ReplaySettings
    /// Length of the capture before pauses were shrunk.
    let span: UInt64
    /// nil: pauses are kept.
    let pausesCompressed: Int?
    /// Nil: virtual time.
    let device: DeviceText?

    func text(_ results: [Result]) -> [String] { head + figures(results) }

    /// What is replayed; known before anything has run.
    var head: [String] {
        var lines: [String] = []
        let spaces = plan.spaces.count == 1 ? "1 address space" : "\(plan.spaces.count) address spaces"
        let length = span > 0 ? "\(duration(span)), " : ""
        lines.append("capture    \(baseName(file)): \(plan.kind), \(length)\(spaces)")
        let count = counts
        lines.append(
            "           \(counted(count.binds, "bind")), \(counted(count.unbinds, "unbind")), "
                + "\(counted(count.uses, "use")) by GPU work in flight, \(counted(count.submissions, "submission"))")
        for remark in plan.remarks { lines.append("           \(remark)") }
        if let pausesCompressed {
            lines.append(
                "           \(counted(pausesCompressed, "pause")) of more than "
                    + "\(duration(ReplayCommand.pauseLimit)) shrunk to \(duration(ReplayCommand.pauseLength)): "
                    + "now \(duration(plan.duration))")
        }
        for note in plan.notes.entries {
            let place = note.firstLine > 0 ? ", first at line \(note.firstLine)" : ""
            lines.append("note       \(note.count) \(note.what)\(place)")
        }
        lines += load.enumerated().map { ($0.offset == 0 ? "GPU work   " : "           ") + $0.element }
        if let device { return lines + deviceHead(device) }
        if case .virtualTime(let seed, _) = settings.target {
            lines.append(
                "time       virtual, seed \(seed): the same figures at every run"
                    + (settings.asyncBinds ? "; binds are asynchronous too" : ""))
        }
        lines.append("")
        return lines
    }

    private var counts: (binds: Int, unbinds: Int, uses: Int, submissions: Int) {
        var count = (binds: 0, unbinds: 0, uses: 0, submissions: 0)
        for operation in plan.operations {
            switch operation.action {
            case .bind: count.binds += 1
            case .unbind: count.unbinds += 1
            case .use: count.uses += 1
            case .submit: count.submissions += 1
            case .batch(_, let changes):
                for change in changes {
                    if change.place != nil { count.binds += 1 } else { count.unbinds += 1 }
                }
            }
        }
        return count
    }

    /// Where the GPU work comes from.
    private var load: [String] {
        guard let clock = settings.clock else {
            return plan.hasSubmissions
                ? ["none recorded: every submission keeps the GPU busy for \(duration(Plan.submissionLength))"]
                : ["none recorded: a made-up load instead, one stream, a job of 3 ms every 4 ms"]
        }
        let streams = clock.streamCount == 1 ? "1 stream" : "\(clock.streamCount) streams"
        var lines = ["\(clock.name): \(counted(clock.jobs.count, "job")), \(streams), \(duration(clock.period))"]
        if clock.incomplete > 0 {
            lines.append("\(counted(clock.incomplete, "job")) without a submit or a completion left out")
        }
        if plan.hasSubmissions {
            lines.append("The submissions of the capture get the lengths of these jobs, one after the other.")
        } else {
            let rounds = plan.duration / clock.period + 1
            lines.append(rounds > 1 ? "Repeated \(rounds) times to cover the capture." : "Covers the capture.")
            lines.append("An unbind waits for all GPU work submitted before it.")
        }
        lines.append("This is a composition of two real traces, both started at 0: the addresses of one,")
        lines.append("the GPU work of the other. No capture ties an unbind to the work that used the range.")
        return lines
    }

    /// The figures of the policies.
    func figures(_ results: [Result]) -> [String] {
        if device != nil { return deviceFigures(results) }
        var rows = [["", "calls", "caller blocked", "p50", "p99", "max", "binds waited", "unbinds awaited",
                     "not overlapping", "peak pending", "as sync"]]
        for result in results { rows.append(common(result.measurement) + [result.equalToSync ? "yes" : "NO"]) }
        return table(rows) + batchFigures(results) + [""] + legend + [
            "as sync          the final page tables equal those of a run that waits at every unbind"
        ]
    }

    /// The columns that every replay has.
    func common(_ figures: Measurement) -> [String] {
        [
            "\(figures.policy)", "\(figures.operations)", duration(figures.blockedTotal),
            duration(figures.blocked(perMille: 500)), duration(figures.blocked(perMille: 990)),
            duration(figures.blockedMaximum), duration(figures.bindWait), "\(figures.awaited)",
            "\(figures.awaitedNotOverlapping)", "\(figures.peakPending)",
        ]
    }

    var legend: [String] {
        [
            plan.hasBatches
                ? "calls            batches, of maps or of unmaps" : "calls            binds and unbinds",
            "caller blocked   time spent inside them, waiting or writing page tables: total, and of one call",
            "binds waited     from the call of a bind to the end of the last unbind it awaited, all binds together",
            "unbinds awaited  by binds, all binds together",
            "not overlapping  of them, unbinds that had nothing to do with the range of the bind",
            "peak pending     the most unbinds under way at one time",
        ]
    }

    /// What became of the operations of batches.
    private func batchFigures(_ results: [Result]) -> [String] {
        if !plan.hasBatches { return [] }
        var rows = [["", "operations", "split", "merged", "kept", "entries written", "cleared", "TLB invalidations"]]
        for result in results {
            let batches = result.measurement.batches
            rows.append([
                "\(result.measurement.policy)", "\(batches.operations)", "\(batches.splits)", "\(batches.merges)",
                "\(batches.kept)", "\(batches.entriesWritten)", "\(batches.entriesCleared)", "\(batches.invalidations)",
            ])
        }
        return [""] + table(rows)
    }

    func json(_ results: [Result]) -> JSON {
        let count = counts
        var time: [(String, JSON)] = []
        if case .virtualTime(let seed, _) = settings.target { time = [("seed", .number(seed))] }
        if let device { time = [("device", device.json), ("most_memory_bytes", .number(plan.mostMemory))] }
        return .object([
            ("capture", .string(baseName(file))),
            ("clock", settings.clock.map { .string($0.name) } ?? .null),
            ("composition_of_two_traces", .bool(settings.clock != nil)),
        ] + time + [
            ("async_binds", .bool(settings.asyncBinds)),
            ("compress_gaps", .bool(pausesCompressed != nil)),
            ("duration_ns", .number(plan.duration)),
            ("address_spaces", .number(plan.spaces.count)),
            ("binds", .number(count.binds)),
            ("unbinds", .number(count.unbinds)),
            ("uses", .number(count.uses)),
            ("submissions", .number(count.submissions)),
            ("notes", .object(plan.notes.entries.map { ($0.what, .number($0.count)) })),
            ("policies", .object(results.map { ("\($0.measurement.policy)", json($0)) })),
        ])
    }

    /// The members that every replay has.
    func commonJSON(_ figures: Measurement) -> [(String, JSON)] {
        [
            ("operations", .number(figures.operations)),
            ("caller_blocked_ns", .number(figures.blockedTotal)),
            ("caller_blocked_p50_ns", .number(figures.blocked(perMille: 500))),
            ("caller_blocked_p99_ns", .number(figures.blocked(perMille: 990))),
            ("caller_blocked_max_ns", .number(figures.blockedMaximum)),
            ("calls_over_100us", .number(figures.calls(longerThan: 100_000))),
            ("bind_wait_ns", .number(figures.bindWait)),
            ("binds_waited", .number(figures.bindsWaited)),
            ("awaited", .number(figures.awaited)),
            ("awaited_not_overlapping", .number(figures.awaitedNotOverlapping)),
            ("peak_pending", .number(figures.peakPending)),
        ]
    }

    private func json(_ result: Result) -> JSON {
        let figures = result.measurement
        if let onDevice = figures.onDevice { return json(figures, onDevice) }
        let batches = figures.batches
        let ofBatches: [(String, JSON)] = [
            ("batch_operations", .number(batches.operations)),
            ("splits", .number(batches.splits)),
            ("merges", .number(batches.merges)),
            ("kept", .number(batches.kept)),
            ("entries_written", .number(batches.entriesWritten)),
            ("entries_cleared", .number(batches.entriesCleared)),
            ("tlb_invalidations", .number(batches.invalidations)),
        ]
        return .object(commonJSON(figures) + [
            ("equal_to_sync", .bool(result.equalToSync)),
            ("gpu_jobs", .number(figures.jobs)),
            ("end_ns", .number(figures.end)),
            ("schedule_digest", .string(String(figures.scheduleDigest, radix: 16))),
        ] + (plan.hasBatches ? ofBatches : []))
    }
}
