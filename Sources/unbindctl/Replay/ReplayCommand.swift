// unbindctl replay: a capture under one or all policies.

import ArgumentParser
import Glibc
import Unbind

struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Replays a capture of a GPU address space in virtual time.",
        discussion: """
            FILE is an event file (time_ns,event,vm,object,start,size,extra) or a snapshot \
            (start,size,last_use_seqno,flags,source_line_no); the header line tells which. Every \
            policy runs the same operations, and the final page tables are compared with those \
            of a synchronous run.

            Exit status: 0 done and all page tables equal; 64 bad usage; 65 bad input; 66 no input; \
            70 the run failed or page tables differ; 73, 74 the output cannot be written.
            """)

    enum PolicyChoice: String, CaseIterable, ExpressibleByArgument {
        case ranges, timeline, sync, all

        var policies: [AddressSpace.Policy] {
            switch self {
            case .ranges: [.ranges]
            case .timeline: [.timeline]
            case .sync: [.sync]
            case .all: AddressSpace.Policy.allCases
            }
        }
    }

    @Argument(help: "The capture; - is standard input.", completion: .file(extensions: ["csv"]))
    var file: String

    @Option(help: "What binds wait for: ranges, timeline, sync, or all three one after the other.")
    var policy: PolicyChoice = .all

    @Option(help: "A completion timeline (submit, gpu_complete): the GPU work that unbinds wait for.")
    var clock: String?

    @Flag(help: "Shrink pauses of more than 1 s between events to 0.1 s.")
    var compressGaps = false

    @Flag(help: "Bind without waiting too; jobs wait for the binds.")
    var asyncBinds = false

    @Option(name: .customLong("json"), help: "Write the figures as JSON; - is standard output.")
    var json: String?

    @Option(help: "Seed of the simulated schedule.")
    var seed: UInt64 = 1

    @Option(help: "Picoseconds to write or clear a page-table entry.")
    var ptePs: UInt64 = CostModel().pagePicoseconds

    @Option(help: "Nanoseconds for a TLB invalidation.")
    var tlbFlushNs: UInt64 = CostModel().tlbFlushNanoseconds

    @Option(help: "Nanoseconds to start a GPU command.")
    var commandNs: UInt64 = CostModel().commandNanoseconds

    /// With --compress-gaps: what is a pause, and what it becomes.
    static let pauseLimit: UInt64 = 1_000_000_000
    static let pauseLength: UInt64 = 100_000_000
    /// Costs beyond this have no meaning, and could overflow the clock.
    static let costLimit: UInt64 = 1_000_000_000
    /// More jobs than this would take minutes.
    static let jobLimit: UInt64 = 20_000_000

    func validate() throws {
        guard max(ptePs, tlbFlushNs, commandNs) <= ReplayCommand.costLimit else {
            throw ValidationError("A cost may be at most \(ReplayCommand.costLimit).")
        }
    }

    func run() throws {
        try reportingErrors {
            if file == "-" && clock == "-" {
                throw ToolError(message: "only one file can be standard input", exitCode: EX_USAGE)
            }
            var plan = try Plan(Capture(path: file))
            var settings = ReplaySettings(seed: seed, asyncBinds: asyncBinds)
            settings.costs.pagePicoseconds = ptePs
            settings.costs.tlbFlushNanoseconds = tlbFlushNs
            settings.costs.commandNanoseconds = commandNs
            settings.clock = try clock.map { path throws(ToolError) in try CompletionClock(path: path) }
            let span = plan.duration
            let pauses =
                compressGaps
                ? plan.compressGaps(longerThan: ReplayCommand.pauseLimit, to: ReplayCommand.pauseLength) : nil
            try checkLength(plan, settings)
            let report = ReplayReport(
                file: file, plan: plan, settings: settings, span: span, pausesCompressed: pauses)
            if let json {
                var output = try OutputFile(path: json)
                let results = try measure(plan, settings)
                if json != "-" { report.text(results).forEach { print($0) } }
                try output.commit(report.json(results).text() + "\n")
                try check(results)
            } else {
                report.head.forEach { print($0) }
                let results = try measure(plan, settings)
                report.figures(results).forEach { print($0) }
                try check(results)
            }
        }
    }

    private func checkLength(_ plan: Plan, _ settings: ReplaySettings) throws(ToolError) {
        guard !plan.hasSubmissions, let clock = settings.clock else { return }
        let rounds = plan.duration / clock.period + 1
        let (jobs, overflow) = rounds.multipliedReportingOverflow(by: UInt64(clock.jobs.count))
        guard !overflow, jobs <= ReplayCommand.jobLimit else {
            throw .data(
                file, nil,
                "its \(duration(plan.duration)) would take \(counted(clock.jobs.count, "job")) of the clock "
                    + "\(rounds) times; --compress-gaps may help")
        }
    }

    /// Runs the policies asked for, and the synchronous one to compare with.
    private func measure(_ plan: Plan, _ settings: ReplaySettings) throws -> [ReplayReport.Result] {
        var policies = policy.policies
        if !policies.contains(.sync) { policies.append(.sync) }
        let progress = ProgressBar("replay", total: plan.operations.count * policies.count)
        defer { progress.finish() }
        var measurements: [Measurement] = []
        for policy in policies {
            measurements.append(try ReplayRun(plan, policy: policy, settings).run(progress))
        }
        let reference = measurements.first { $0.policy == .sync }?.pageRuns
        return measurements.filter { policy.policies.contains($0.policy) }.map {
            ReplayReport.Result(measurement: $0, equalToSync: $0.pageRuns == reference)
        }
    }

    private func check(_ results: [ReplayReport.Result]) throws {
        guard results.allSatisfy(\.equalToSync) else {
            throw ToolError.software("final page tables differ from those of the synchronous run")
        }
    }
}
