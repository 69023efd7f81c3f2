// Jobs: random commands on the VMAs of a VM, ordered so that their outcome is determined, and a few that stray.
//
// A job that writes a buffer waits for all jobs that used it before on other queues, one that reads it for the last
// writer; on the same queue the order is the queue's. So the naive memory can take each job's effect when its fence
// signals.

import CUnbind
import Glibc

extension Simulation {
    func submitSomething() throws {
        guard let queue = random.pickOptional(liveQueues) else { return }
        if queue.space.isClosed {
            var submit = makeHeaderStruct(unbind_submit())
            let status = unbind_queue_submit(queue.handle, &submit, nil)
            try require(status == -ENOENT, "submit on a closed VM gave \(status)")
            return
        }
        if queue.space.isSuspended {
            var submit = makeHeaderStruct(unbind_submit())
            let status = unbind_queue_submit(queue.handle, &submit, nil)
            try require(status == -EAGAIN, "submit on a suspended VM gave \(status)")
            return
        }
        var bindings = queue.space.bindings
        random.shuffle(&bindings)
        try submit(on: queue, using: Array(bindings.prefix(random.below(4))))
    }

    /// A job that only takes time: what keeps VMAs busy in a calm program.
    func submitDelay(on queue: SimulationQueue) throws -> SimulationFence {
        try submit(queue, [.delay(random.next() % 200_000)], [], [:], [])
    }

    private enum Use { case read, write }

    private func submit(on queue: SimulationQueue, using bindings: [SimulationBinding]) throws {
        var commands: [SimulationCommand] = []
        var uses: [ObjectIdentifier: (buffer: SimulationBuffer, use: Use)] = [:]
        func use(_ buffer: SimulationBuffer, _ use: Use) {
            if use == .write || uses[ObjectIdentifier(buffer)] == nil {
                uses[ObjectIdentifier(buffer)] = (buffer, use)
            }
        }
        let writable = bindings.filter { !$0.isReadOnly }
        for index in 0..<random.below(5) {
            switch random.below(7) {
            case 0, 1:
                guard let to = random.pickOptional(writable) else { continue }
                let (place, size) = pickPlace(in: to, unit: 4, limit: 0x4000)
                use(to.vma.buffer, .write)
                commands.append(.fill(place, size: size, value: UInt32(truncatingIfNeeded: random.next())))
            case 2:
                guard let to = random.pickOptional(writable), let from = random.pickOptional(bindings),
                    to.vma.buffer !== from.vma.buffer
                else { continue }
                let (source, most) = pickPlace(in: from, unit: 4, limit: 0x3000)
                let (target, room) = pickPlace(in: to, unit: 4, limit: 0x3000)
                let size = min(most, room)
                use(to.vma.buffer, .write)
                use(from.vma.buffer, .read)
                commands.append(.copy(to: target, from: source, size: size))
            case 3:
                guard let to = random.pickOptional(writable) else { continue }
                use(to.vma.buffer, .write)
                commands.append(.store(pickPlace(in: to, unit: 8, limit: 8).0, value: random.next()))
            case 4:
                guard let from = random.pickOptional(bindings) else { continue }
                use(from.vma.buffer, .read)
                commands.append(.load(pickPlace(in: from, unit: 8, limit: 8).0, slot: index))
            case 5:
                commands.append(.delay(random.next() % 100_000))
            default:
                let candidates = fences.filter { $0.handle != nil && $0.kind != .bind }
                if !plan.isCalm, let fence = random.pickOptional(candidates) { commands.append(.wait(fence)) }
            }
        }
        if random.chance(8), let stray = makeStray(in: queue.space, bindings) { commands.append(stray) }
        try submit(queue, commands, bindings, uses.mapValues { ($0.buffer, $0.use == .write) }, pickWaits())
    }

    private func pickPlace(in binding: SimulationBinding, unit: Int, limit: Int) -> (SimulationPlace, Int) {
        let (start, size) = pickPiece(of: binding.vma)
        var length = min(unit * (1 + random.below(limit / unit)), size)
        length = length / unit * unit
        let offset = start + random.below((size - length) / unit + 1) * unit
        let place = SimulationPlace(
            buffer: binding.vma.buffer, offset: Int(binding.vma.bufferOffset(of: UInt64(offset))!),
            address: binding.start + UInt64(offset), generation: binding.generation)
        return (place, length)
    }

    /// A run of a view's pages that are neighbours in the buffer, too.
    private func pickPiece(of vma: SimulationVMA) -> (start: Int, size: Int) {
        guard let pages = vma.view?.pages else { return (0, vma.buffer.size) }
        let first = random.pick(pages.indices.filter { pages[$0] != nil })
        var count = 1
        while first + count < pages.count, pages[first + count] == pages[first]! + count { count += 1 }
        return (first * 0x1000, count * 0x1000)
    }

    private func pickWaits() -> [SimulationFence] {
        if plan.isCalm || !random.chance(25) { return [] }
        let candidates = fences.filter { $0.handle != nil && $0.kind != .bind }
        return (0..<1 + random.below(2)).compactMap { _ in random.pickOptional(candidates) }
    }

    /// A command that must fault, or may: see SimulationCommand.stray.
    private func makeStray(in space: SimulationSpace, _ bindings: [SimulationBinding]) -> SimulationCommand? {
        let kind = random.below(3)
        if kind == 0, let binding = random.pickOptional(bindings.filter(\.vma.isReadOnly)) {
            return .stray(
                address: binding.start, isWrite: true, kinds: [UInt32(UNBIND_FAULT_READ_ONLY)], mayPass: false,
                over: binding)
        }
        if kind == 1, !plan.isCalm, let vma = random.pickOptional(space.vmas) {
            // Not listed: it may be there, be gone, or be gone from the tables only.
            let start = unbind_vma_address(vma.handle)
            if start == UInt64.max { return nil }
            return .stray(
                address: start, isWrite: false, kinds: [UInt32(UNBIND_FAULT_UNMAPPED), UInt32(UNBIND_FAULT_STALE)],
                mayPass: true, over: nil)
        }
        // Nothing is ever put in the middle of the space by hand, and automatic placement does not get there.
        let address = space.size / 2 + 0x4_0000
        if space.size < 1 << 32 { return nil }
        return .stray(
            address: address, isWrite: random.chance(50), kinds: [UInt32(UNBIND_FAULT_UNMAPPED)], mayPass: false,
            over: nil)
    }

    // MARK: Submitting

    @discardableResult
    private func submit(
        _ queue: SimulationQueue, _ commands: [SimulationCommand], _ bindings: [SimulationBinding],
        _ uses: [ObjectIdentifier: (buffer: SimulationBuffer, isWrite: Bool)], _ extraWaits: [SimulationFence]
    ) throws -> SimulationFence {
        let waits = extraWaits + hazards(of: uses, on: queue)
        let results = UnsafeMutablePointer<UInt64>.allocate(capacity: 8)
        results.initialize(repeating: SimulationJob.canary, count: 8)
        let native = commands.map { encode($0, results) }
        let listed = bindings.map { binding in
            let isWritten = uses[ObjectIdentifier(binding.vma.buffer)]?.isWrite == true && !binding.isReadOnly
            let use = isWritten ? UNBIND_USE_READ | UNBIND_USE_WRITE : UNBIND_USE_READ
            return unbind_submit_vma(vma: binding.vma.handle, use: UInt32(use), reserved: 0)
        }
        let waitHandles = waits.map(\.handle)
        var handle: OpaquePointer?
        let status = try withFailures("submit") {
            native.withUnsafeBufferPointer { native in
                listed.withUnsafeBufferPointer { listed in
                    waitHandles.withUnsafeBufferPointer { waitHandles in
                        var submit = makeHeaderStruct(unbind_submit())
                        submit.commands = native.baseAddress
                        submit.command_count = UInt32(native.count)
                        submit.vmas = listed.baseAddress
                        submit.vma_count = UInt32(listed.count)
                        submit.wait_fences = waitHandles.baseAddress
                        submit.wait_fence_count = UInt32(waitHandles.count)
                        return unbind_queue_submit(queue.handle, &submit, &handle)
                    }
                }
            }
        }
        say("submit on queue \(queue.id): \(commands.count) commands, \(bindings.count) vmas, \(waits.count) waits")
        if status != 0 { results.deallocate() }
        try require(status == 0 && handle != nil, "submit on queue \(queue.id) gave \(status)")
        queue.submitted += 1
        // A WAIT may never be reached: that it was kept is checked with the job's effect.
        var reached: [SimulationFence] = []
        for case .wait(let fence) in commands { reached.append(fence) }
        let must = waits + bindings.map(\.bind) + (queue.last.map { [$0] } ?? [])
        let fence = try record(.job, handle, must: must, may: reached)
        let job = SimulationJob(
            queue: queue, fence: fence, commands: commands, waits: waits, bindings: bindings, results: results)
        queue.last = fence
        jobs.append(job)
        say("  is \(fence.name)")
        for binding in bindings { binding.users.append(fence) }
        for (buffer, isWrite) in uses.values {
            if isWrite {
                buffer.writer = job
                buffer.readers = []
            } else {
                buffer.readers.append(job)
            }
        }
        return fence
    }

    /// The fences of earlier jobs that this one must not run beside.
    private func hazards(
        of uses: [ObjectIdentifier: (buffer: SimulationBuffer, isWrite: Bool)], on queue: SimulationQueue
    ) -> [SimulationFence] {
        var earlier: [SimulationJob] = []
        for (buffer, isWrite) in uses.values {
            if let writer = buffer.writer { earlier.append(writer) }
            if isWrite { earlier += buffer.readers }
        }
        var waits: [SimulationFence] = []
        for job in earlier where job.queue !== queue && !waits.contains(where: { $0 === job.fence }) {
            waits.append(job.fence)
        }
        return waits.sorted { $0.id < $1.id }
    }

    private func encode(_ command: SimulationCommand, _ results: UnsafeMutablePointer<UInt64>) -> unbind_command {
        var native = unbind_command()
        switch command {
        case .fill(let place, let size, let value):
            native.op = UInt32(UNBIND_COMMAND_FILL)
            native.address = place.address
            native.size = UInt64(size)
            native.value = UInt64(value)
        case .copy(let target, let source, let size):
            native.op = UInt32(UNBIND_COMMAND_COPY)
            native.address = target.address
            native.source = source.address
            native.size = UInt64(size)
        case .store(let place, let value):
            native.op = UInt32(UNBIND_COMMAND_STORE)
            native.address = place.address
            native.value = value
        case .load(let place, let slot):
            native.op = UInt32(UNBIND_COMMAND_LOAD)
            native.address = place.address
            native.result = results + slot
        case .delay(let time):
            native.op = UInt32(UNBIND_COMMAND_DELAY)
            native.value = time
        case .wait(let fence):
            native.op = UInt32(UNBIND_COMMAND_WAIT)
            native.fence = fence.handle
        case .stray(let address, let isWrite, _, _, _):
            native.op = UInt32(isWrite ? UNBIND_COMMAND_STORE : UNBIND_COMMAND_LOAD)
            native.address = address
            if !isWrite { native.result = results + 7 }
        }
        return native
    }
}
