// ReplayRun: carries a plan out under one policy.
//
// One thread. Before each event it waits for the event's time, on the clock of the stage; a caller that
// is late because a call blocked goes on at once. GPU work of the clock is submitted in between, by
// the same caller.

import Unbind

/// How to run plans; the same for all policies.
struct ReplaySettings {
    var target: ReplayTarget
    var asyncBinds = false
    /// The GPU work that runs beside the capture, or gives its submissions their lengths.
    var clock: CompletionClock?
}

/// One run of a plan.
final class ReplayRun {
    private let plan: Plan
    private let settings: ReplaySettings
    private let stage: any ReplayStage
    private var device: Device { stage.device }
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
    /// What a device's kernel may still be about when the executor has nothing to do.
    private var unfinished: [Fence] = []
    /// At so many the finished ones among them are dropped.
    private var sweepAt = 4096
    private var result: Measurement

    init(_ plan: Plan, policy: AddressSpace.Policy, _ settings: ReplaySettings) throws {
        self.plan = plan
        self.settings = settings
        result = Measurement(policy: policy)
        slots = Array(repeating: nil, count: plan.slots.count)
        stage =
            switch settings.target {
            case .virtualTime(let seed, let costs): try VirtualStage(plan, seed: seed, costs: costs)
            case .device(let selector, let speed): try DeviceStage(plan, on: selector, speed: speed)
            }
        for _ in plan.spaces { spaces.append(try AddressSpace(of: stage.device, .init(policy: policy))) }
        if plan.hasBatches { memories = try stage.makeMemories() }
        if plan.hasSubmissions {
            for space in spaces { submitters.append(try Queue(in: space)) }
            submissions = settings.clock.map(JobSequence.init)
        } else {
            let clock = settings.clock ?? .builtIn
            streams = try stage.makeStreams(clock.streamCount, beside: spaces[0])
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
                try stage.wait(until: operation.time)
                try perform(operation.action)
            } catch {
                throw ToolError.software("line \(operation.line), \(describe(operation.action)): \(error)")
            }
            progress.step()
        }
        try finishAll()
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
            let used = indexes.compactMap { number in slots[number].map { (number: number, vma: $0) } }
            let length = submissions?.next().length ?? Plan.submissionLength
            try submit(stage.job(using: used, length: length), on: submitters[space])
        case .batch(let space, let changes): try change(spaces[space], changes)
        }
    }

    /// Unmaps wait for the GPU work in flight, nobody waits for them but what overlaps. The caller waits for maps.
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
        keep(fence)
        if isMap { result.binds += changes.count } else { result.unbinds += changes.count }
    }

    private func bind(_ index: Int) throws(UnbindError) {
        let vma: VMA
        if let existing = slots[index] {
            vma = existing
        } else {
            let slot = plan.slots[index]
            vma = try VMA(try stage.makeBuffer(for: index), in: spaces[slot.space], .init(.fixed(slot.start)))
            slots[index] = vma
        }
        let begin = device.now
        var fence: Fence?
        if settings.asyncBinds { fence = try vma.bindAsync() } else { try vma.bind() }
        result.blocked.append(device.now - begin)
        if let fence { keep(fence) }
        result.binds += 1
    }

    private func unbind(_ index: Int, drop: Bool) throws(UnbindError) {
        guard let vma = slots[index] else { return }
        try attachWork(to: vma)
        let begin = device.now
        let fence = try vma.unbindAsync()
        result.blocked.append(device.now - begin)
        keep(fence)
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
            try stage.wait(until: next)
            inFlight[job.stream] = try submit(
                stage.job(ofStream: job.stream, length: job.length), on: streams[job.stream])
        }
    }

    @discardableResult
    private func submit(_ job: ReplayJob, on queue: Queue) throws(UnbindError) -> Fence {
        let fence = try queue.submit(job.commands, using: job.uses)
        keep(fence)
        return fence
    }

    private func keep(_ fence: Fence) {
        unfinished.append(fence)
        guard unfinished.count >= sweepAt else { return }
        unfinished.removeAll { $0.isSignaled }
        sweepAt = max(4096, 2 * unfinished.count)
    }

    private func finishAll() throws(UnbindError) {
        try device.waitIdle()
        for fence in unfinished { try fence.wait() }
        unfinished = []
        try device.waitIdle()
    }

    private func takeFigures() throws {
        for space in spaces {
            result.add(try space.statistics())
            if plan.hasBatches { result.add(try space.batchStatistics()) }
        }
        result.jobs = try device.statistics().jobs
        result.blocked.sort()
        try stage.finish(ReplayEnd(spaces: spaces, slots: slots, memories: memories), &result)
    }

    private func takeDown() throws {
        slots = []
        memories = []
        inFlight = []
        streams = []
        submitters = []
        spaces = []
        stage.takeDown()
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
