// unbindctl demo: what asynchronous unbinding saves, for a first-time reader.

import ArgumentParser
import Unbind

struct DemoCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo", abstract: "Shows what asynchronous unbinding saves, on a workload of its own.")

    @Option(help: "Buffers that the workload binds and unbinds, 10 to 100,000.")
    var buffers = 6000

    @Option(help: "Seed of the workload and of the simulated schedule.")
    var seed: UInt64 = 1

    func validate() throws {
        guard (10...100_000).contains(buffers) else {
            throw ValidationError("--buffers must be from 10 to 100000.")
        }
    }

    func run() throws {
        try reportingErrors {
            let workload = DemoWorkload(bufferCount: buffers, seed: seed)
            let progress = ProgressBar("demo", total: workload.steps.count * AddressSpace.Policy.allCases.count)
            defer { progress.finish() }
            var runs: [DemoRun] = []
            for policy in [AddressSpace.Policy.sync, .timeline, .ranges] {
                let run = try DemoRun(workload, policy: policy, seed: seed)
                try run.run(progress)
                runs.append(run)
            }
            progress.finish()
            DemoReport(workload: workload, runs: runs, seed: seed).lines.forEach { print($0) }
            guard runs.allSatisfy({ $0.wrongBuffers == 0 && $0.failedJobs == 0 }) else {
                throw ToolError.software("a buffer has wrong bytes, or a GPU job failed")
            }
            guard runs.allSatisfy({ $0.figures.pageRuns == runs[0].figures.pageRuns }) else {
                throw ToolError.software("the final page tables differ")
            }
        }
    }
}

/// The demo's figures in plain words.
struct DemoReport {
    let workload: DemoWorkload
    /// Waiting, one timeline, exact ranges.
    let runs: [DemoRun]
    let seed: UInt64

    /// A call that takes longer than this has waited.
    static let longCall: UInt64 = 100_000

    var lines: [String] {
        let waiting = runs[0].figures.blockedTotal
        let asynchronous = runs[2].figures.blockedTotal
        let saved = waiting - min(waiting, asynchronous)
        let share = waiting == 0 ? 0 : saved * 1000 / waiting
        let others = runs[1].figures.awaitedNotOverlapping
        return [
            "What does it cost a program to take memory away from a GPU?",
            "",
            "Before a GPU address range can be used for something else, the GPU work that uses it must end.",
            "A made-up program binds \(workload.buffers.count) buffers and unbinds \(runs[0].figures.unbinds) of them "
                + "within \(duration(workload.steps.last?.time ?? 0)), while the GPU is at work.",
            "The same program, with three ways of unbinding:",
            "",
        ] + table([["", "inside calls", "of its time", "longest call", "calls over 0.1 ms"]] + runs.map(row)) + [
            "",
            "  inside calls   the time that the program spent in bind and unbind: waiting for the GPU, or",
            "                 writing page tables; it could do nothing else meanwhile",
            "  of its time    that, as a share of the program's run",
            "",
            "Unbinding without waiting saved \(duration(saved)) of \(duration(waiting)), "
                + "\(share / 10).\(share % 10) %.",
            "With one timeline a bind waits for all unbinds under way: \(others) times for one that had nothing to",
            "do with its range. With exact ranges it waits for those it overlaps and for no others:",
            "\(counted(Int(runs[2].figures.awaited), "time")) in all.",
            "",
            checks,
            "Virtual time on the software GPU, seed \(seed): the same figures on every machine. Sizes, lifetimes and",
            "reuse follow a capture of an RX 6600 (page-table updates), job lengths one of a V100 (training).",
        ]
    }

    private func row(_ run: DemoRun) -> [String] {
        let figures = run.figures
        let share = figures.blockedTotal * 1000 / max(run.programEnd, 1)
        let name =
            switch figures.policy {
            case .sync: "wait at every unbind"
            case .timeline: "do not wait; one timeline orders all unbinds"
            case .ranges: "do not wait; exact ranges (the default)"
            }
        return [
            name, duration(figures.blockedTotal), "\(share / 10).\(share % 10) %", duration(figures.blockedMaximum),
            "\(figures.calls(longerThan: DemoReport.longCall)) of \(figures.operations)",
        ]
    }

    private var checks: String {
        let buffers = runs.reduce(0) { $0 + $1.checkedBuffers }
        let wrong = runs.reduce(0) { $0 + $1.wrongBuffers }
        let failed = runs.reduce(0) { $0 + $1.failedJobs }
        let bytes = runs.reduce(0) { $0 + $1.bytesWritten }
        return "Checked: GPU jobs wrote \(byteCount(bytes)) into \(buffers) buffers, which were read back: "
            + "\(wrong) wrong;\n\(failed) GPU jobs failed."
    }
}
