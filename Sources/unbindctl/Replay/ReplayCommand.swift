// unbindctl replay: a capture under one or all policies.

import ArgumentParser
import Glibc
import Unbind

struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Replays a capture of a GPU address space, in virtual time or on a device.",
        discussion: """
            FILE is an event file (time_ns,event,vm,object,start,size,extra) or a snapshot \
            (start,size,last_use_seqno,flags,source_line_no); the header line tells which. Every \
            policy runs the same operations, and the final page tables are compared with those \
            of a synchronous run.

            With --device the same calls are made on a device, at the pace of the capture and on its clock, and what \
            is mapped at the end is compared with what the capture leaves: by lookup, and by what the GPU reads there.

            Exit status: 0 done and all page tables equal; 64 bad usage; 65 bad input; 66 no input; 69 no such device, \
            or it cannot do that; 70 the run failed or page tables differ; 73, 74 the output cannot be written.
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

    @Option(
        help: """
            What binds wait for: ranges, timeline, sync, or all three one after the other (default: all; on a device \
            ranges).
            """)
    var policy: PolicyChoice?

    @Option(
        help: ArgumentHelp(
            "The device: an Intel GPU of this machine as for unbindctl probe, or \"software\".", valueName: "selector"))
    var device: String?

    @Option(help: "With --device: so many times as fast as the capture (default: 1).")
    var speed: UInt64?

    @Option(help: "A completion timeline (submit, gpu_complete): the GPU work that unbinds wait for.")
    var clock: String?

    @Flag(help: "Shrink pauses of more than 1 s between events to 0.1 s.")
    var compressGaps = false

    @Flag(help: "Bind without waiting too; jobs wait for the binds.")
    var asyncBinds = false

    @Option(name: .customLong("json"), help: "Write the figures as JSON; - is standard output.")
    var json: String?

    @Option(help: "Seed of the simulated schedule (default: 1).")
    var seed: UInt64?

    @Option(help: "Picoseconds to write or clear a page-table entry (default: \(CostModel().pagePicoseconds)).")
    var ptePs: UInt64?

    @Option(help: "Nanoseconds for a TLB invalidation (default: \(CostModel().tlbFlushNanoseconds)).")
    var tlbFlushNs: UInt64?

    @Option(help: "Nanoseconds to start a GPU command (default: \(CostModel().commandNanoseconds)).")
    var commandNs: UInt64?

    /// With --compress-gaps: what is a pause, and what it becomes.
    static let pauseLimit: UInt64 = 1_000_000_000
    static let pauseLength: UInt64 = 100_000_000
    /// Costs beyond this have no meaning, and could overflow the clock.
    static let costLimit: UInt64 = 1_000_000_000
    /// More jobs than this would take minutes.
    static let jobLimit: UInt64 = 20_000_000

    func validate() throws {
        guard max(ptePs ?? 0, tlbFlushNs ?? 0, commandNs ?? 0) <= ReplayCommand.costLimit else {
            throw ValidationError("A cost may be at most \(ReplayCommand.costLimit).")
        }
        if device != nil, (seed ?? ptePs ?? tlbFlushNs ?? commandNs) != nil {
            throw ValidationError("--seed and the costs are of virtual time, and there is none on a device.")
        }
        if let speed, device == nil || speed == 0 {
            throw ValidationError("--speed must be at least 1, and belongs to --device.")
        }
    }

    func run() throws {
        try reportingErrors {
            if file == "-" && clock == "-" {
                throw ToolError(message: "only one file can be standard input", exitCode: EX_USAGE)
            }
            let capture = try Capture(path: file)
            var plan = try device.map { try makePlan(of: capture, on: $0) } ?? Plan(capture)
            var settings = ReplaySettings(target: target, asyncBinds: asyncBinds)
            settings.clock = try clock.map { path throws(ToolError) in try CompletionClock(path: path) }
            let span = plan.duration
            let pauses =
                compressGaps
                ? plan.compressGaps(longerThan: ReplayCommand.pauseLimit, to: ReplayCommand.pauseLength) : nil
            try checkLength(plan, settings)
            let report = ReplayReport(
                file: file, plan: plan, settings: settings, span: span, pausesCompressed: pauses,
                device: try deviceText())
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

    /// A plan that a device can carry out, with as little memory as it takes.
    private func makePlan(of capture: Capture, on device: String) throws -> Plan {
        let limits = try DeviceStage.Limits(of: device)
        var plan = try Plan(capture, spaceSize: limits.spaceSize)
        guard limits.canSplit || !plan.hasBatches else {
            throw ToolError(
                message: "--device \"\(device)\": page-table updates need a device that has a buffer at several "
                    + "addresses and unbinds parts of mappings, and this one does not",
                exitCode: EX_UNAVAILABLE)
        }
        plan.compactMemory()
        return plan
    }

    private var target: ReplayTarget {
        if let device { return .device(selector: device, speed: speed ?? 1) }
        var costs = CostModel()
        costs.pagePicoseconds = ptePs ?? costs.pagePicoseconds
        costs.tlbFlushNanoseconds = tlbFlushNs ?? costs.tlbFlushNanoseconds
        costs.commandNanoseconds = commandNs ?? costs.commandNanoseconds
        return .virtualTime(seed: seed ?? 1, costs: costs)
    }

    private func deviceText() throws -> ReplayReport.DeviceText? {
        guard let device else { return nil }
        let gpu = device == "software" ? nil : try GPUInfo.selected(by: device, opensNodes: true)
        return ReplayReport.DeviceText(selector: device, speed: speed ?? 1, gpu: gpu)
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

    /// Runs the policies asked for, and in virtual time the synchronous one to compare with.
    private func measure(_ plan: Plan, _ settings: ReplaySettings) throws -> [ReplayReport.Result] {
        let wanted = policy?.policies ?? (device == nil ? PolicyChoice.all : .ranges).policies
        var policies = wanted
        if device == nil, !policies.contains(.sync) { policies.append(.sync) }
        let progress = ProgressBar("replay", total: plan.operations.count * policies.count)
        defer { progress.finish() }
        var measurements: [Measurement] = []
        for policy in policies {
            measurements.append(try ReplayRun(plan, policy: policy, settings).run(progress))
        }
        let reference = measurements.first { $0.policy == .sync }?.pageRuns
        return measurements.filter { wanted.contains($0.policy) }.map {
            // On a device none has any, and each run has been compared with the plan.
            ReplayReport.Result(measurement: $0, equalToSync: device != nil || $0.pageRuns == reference)
        }
    }

    private func check(_ results: [ReplayReport.Result]) throws {
        guard results.allSatisfy(\.equalToSync) else {
            throw ToolError.software("final page tables differ from those of the synchronous run")
        }
    }
}
