// ReplayRun: carries a plan out under one policy.
//
// One thread, virtual time. Before each event the device runs up to the event's time; a caller that
// is late because a call blocked goes on at once. GPU work of the clock is submitted in between, by
// the same caller.

import Unbind

/// How to run plans; the same for all policies.
struct ReplaySettings {
    var seed: UInt64 = 1
    var costs = CostModel()
    var asyncBinds = false
    /// The GPU work that runs beside the capture, or gives its submissions their lengths.
    var clock: CompletionClock?
}

/// One run of a plan.
final class ReplayRun {
    private let plan: Plan
    private let settings: ReplaySettings
    private let device: Device
    private let backing: Backing
    private var spaces: [AddressSpace] = []
    private var slots: [VMA?]
    /// Batches: memory whose address is known, and other.
    private var memories: [BufferObject] = []
    /// One for each stream of the clock, and one for each address space that submits.
    private var streams: [Queue] = []
    private var submitters: [Queue] = []
    /// The last job of each stream.
    private var inFlight: [Fence?] = []
    private var background: JobSequence?
    private var submissions: JobSequence?
    private var result: Measurement

    init(_ plan: Plan, policy: AddressSpace.Policy, _ settings: ReplaySettings) throws {
        self.plan = plan
        self.settings = settings
        result = Measurement(policy: policy)
        slots = Array(repeating: nil, count: plan.slots.count)
        let largest = plan.operations.reduce(plan.slots.reduce(0) { max($0, $1.size) }) {
            guard case .batch(_, let changes) = $1.action else { return $0 }
            return changes.reduce($0) { max($0, $1.size) }
        }
        backing = try Backing(size: plan.hasBatches ? Plan.memorySpan + largest : largest)
        device = try Device(
            .init(
                executor: .simulated(seed: settings.seed), systemMemoryBytes: 1 << 46, costModel: settings.costs))
        for _ in plan.spaces { spaces.append(try AddressSpace(of: device, .init(policy: policy))) }
        if plan.hasBatches {
            let memory = backing.memory(size: Plan.memorySpan + largest, for: 0)
            memories = [
                try BufferObject(of: device, wrapping: memory), try BufferObject(of: device, wrapping: memory),
            ]
        }
        if plan.hasSubmissions {
            for space in spaces { submitters.append(try Queue(in: space)) }
            submissions = settings.clock.map(JobSequence.init)
        } else {
            let clock = settings.clock ?? .builtIn
            for _ in 0..<clock.streamCount { streams.append(try Queue(in: spaces[0])) }
            inFlight = Array(repeating: nil, count: clock.streamCount)
            background = JobSequence(clock)
        }
    }

    /// Runs the whole plan and takes everything down again.
    func run(_ progress: ProgressBar) throws -> Measurement {
        result.blocked.reserveCapacity(plan.operations.count)
        for operation in plan.operations {
            do throws(UnbindError) {
                try submitBackground(until: operation.time)
                try device.run(until: operation.time)
                try perform(operation.action)
            } catch {
                throw ToolError.software("line \(operation.line), \(describe(operation.action)): \(error)")
            }
            progress.step()
        }
        try device.waitIdle()
        try takeFigures()
        try takeDown()
        return result
    }

    private func perform(_ action: Plan.Action) throws(UnbindError) {
        switch action {
        case .bind(let index): try bind(index)
        case .unbind(let index, let drop): try unbind(index, drop: drop)
        case .use(let index):
            if let vma = slots[index] { try attachWork(to: vma) }
        case .submit(let space, let indexes):
            let uses = indexes.compactMap { slots[$0] }.map { (vma: $0, use: Queue.Use.read) }
            let length = submissions?.next().length ?? Plan.submissionLength
            try submitters[space].submit([delay(length)], using: uses)
        case .batch(let space, let changes): try change(spaces[space], changes)
        }
    }

    /// Unmaps wait for the GPU work in flight, and nobody for them but what overlaps. The caller waits for what it maps.
    private func change(_ space: AddressSpace, _ changes: [Plan.PageTableChange]) throws(UnbindError) {
        let isMap = changes[0].place != nil
        let operations = changes.map { change in
            guard let place = change.place else {
                return AddressSpace.BatchOperation.unmap(at: change.start, size: change.size)
            }
            return .map(memories[place.isKnown ? 0 : 1], offset: place.offset, at: change.start, size: change.size)
        }
        let fences = isMap ? [] : inFlight.compactMap { $0 }.filter { !$0.isSignaled }
        let begin = device.now
        let fence = try space.submit(operations, mode: .async, after: fences)
        if isMap && !settings.asyncBinds { try fence.wait() }
        result.blocked.append(device.now - begin)
        if isMap { result.binds += changes.count } else { result.unbinds += changes.count }
    }

    private func bind(_ index: Int) throws(UnbindError) {
        let vma: VMA
        if let existing = slots[index] {
            vma = existing
        } else {
            let slot = plan.slots[index]
            let buffer = try BufferObject(of: device, wrapping: backing.memory(size: slot.size, for: slot.start))
            vma = try VMA(buffer, in: spaces[slot.space], .init(.fixed(slot.start)))
            slots[index] = vma
        }
        let begin = device.now
        if settings.asyncBinds { try vma.bindAsync() } else { try vma.bind() }
        result.blocked.append(device.now - begin)
        result.binds += 1
    }

    private func unbind(_ index: Int, drop: Bool) throws(UnbindError) {
        guard let vma = slots[index] else { return }
        try attachWork(to: vma)
        let begin = device.now
        try vma.unbindAsync()
        result.blocked.append(device.now - begin)
        result.unbinds += 1
        if drop { slots[index] = nil }
    }

    /// The GPU work submitted so far uses the VMA: its unbind waits for the last job of each stream.
    private func attachWork(to vma: VMA) throws(UnbindError) {
        for fence in inFlight {
            if let fence, !fence.isSignaled { try vma.addUser(fence) }
        }
    }

    /// Submits the clock's jobs whose time has come.
    private func submitBackground(until time: UInt64) throws(UnbindError) {
        while let next = background?.nextTime, next <= time, let job = background?.next() {
            try device.run(until: next)
            inFlight[job.stream] = try streams[job.stream].submit([delay(job.length)])
        }
    }

    /// A command that keeps its queue busy for so long, with what a command costs by itself.
    private func delay(_ length: UInt64) -> Queue.Command {
        let cost = settings.costs.commandNanoseconds
        return .delay(nanoseconds: length > cost ? length - cost : 0)
    }

    private func takeFigures() throws(UnbindError) {
        for (index, space) in spaces.enumerated() {
            result.add(try space.statistics())
            if plan.hasBatches { result.add(try space.batchStatistics()) }
            result.pageRuns += try PageRun.all(of: space, number: index)
        }
        let statistics = try device.statistics()
        result.jobs = statistics.jobs
        result.scheduleDigest = statistics.scheduleDigest
        result.end = device.now
        result.blocked.sort()
    }

    private func takeDown() throws {
        slots = []
        memories = []
        inFlight = []
        streams = []
        submitters = []
        spaces = []
        try device.waitIdle()
        guard try device.close().isClean else {
            throw ToolError.software("objects were left when the device was closed")
        }
    }

    private func describe(_ action: Plan.Action) -> String {
        func range(_ index: Int) -> String {
            "0x\(String(plan.slots[index].start, radix: 16)) of \(plan.slots[index].size) bytes"
        }
        return switch action {
        case .bind(let index): "bind at \(range(index))"
        case .unbind(let index, _): "unbind at \(range(index))"
        case .use(let index): "use at \(range(index))"
        case .submit: "submission"
        case .batch(_, let changes): "batch of \(changes.count)"
        }
    }
}
