// Moves of buffers between memory regions, and unbinds of whole buffers.

import CUnbind
import Glibc

extension Simulation {
    // MARK: Moving

    func moveSomething() throws {
        let likely = liveBuffers.filter { $0.wrapped == nil && !$0.moves.isLost }
        guard let buffer = random.pickOptional(random.chance(10) ? liveBuffers : likely) else { return }
        let isStaying = random.chance(10)
        var flags: UInt32 = 0
        if !plan.isCalm, random.chance(35) { flags |= UInt32(UNBIND_BO_MIGRATE_NO_CPU_COPY) }
        if random.chance(20) { flags |= UInt32(UNBIND_BO_MIGRATE_AFTER_UNBIND) }
        try move(buffer, toLocal: buffer.isLocal == isStaying, flags)
    }

    private func bindings(of buffer: SimulationBuffer) -> [SimulationBinding] {
        spaces.flatMap(\.bindings).filter { $0.vma.buffer === buffer }
    }

    private func predictedStatus(
        ofMoving buffer: SimulationBuffer, toLocal: Bool, _ bindings: [SimulationBinding]
    ) -> [Int32] {
        if buffer.wrapped != nil { return [-EOPNOTSUPP] }
        if buffer.moves.isLost { return [-EIO] }
        var expected: [Int32] = bindings.contains { $0.vma.pins > 0 } ? [-EAGAIN] : [0]
        if toLocal == buffer.isLocal { expected = [0] }
        if toLocal, !buffer.isLocal, hasLittleLocalMemory { expected.append(-ENOMEM) }
        return expected + (buffer.moves.mayBeLost ? [-EIO] : [])
    }

    private func move(_ buffer: SimulationBuffer, toLocal: Bool, _ flags: UInt32, mayFail: Bool = true) throws {
        let bound = bindings(of: buffer)
        let pending = spaces.flatMap(\.pending).filter { $0.binding.vma.buffer === buffer }
        let users = (bound + pending.map(\.binding)).flatMap(\.users)
        let expected = predictedStatus(ofMoving: buffer, toLocal: toLocal, bound)
        let isFailing = mayFail && startFailing()
        let isUnguarded = flags & UInt32(UNBIND_BO_MIGRATE_NO_CPU_COPY) != 0
        let wantsFence = isFailing || isUnguarded || random.chance(60)
        let region = UInt32(toLocal ? UNBIND_REGION_LOCAL : UNBIND_REGION_SYSTEM)
        var handle: OpaquePointer?
        let status = wantsFence
            ? unbind_bo_migrate(buffer.handle, region, flags, &handle)
            : unbind_bo_migrate(buffer.handle, region, flags, nil)
        let isRefused = isFailing && memory.stopFailing() > 0
        let name = "move of bo \(buffer.index)"
        say("\(name) to \(region), flags \(flags), refused \(isRefused): \(status)")
        try require((handle != nil) == (wantsFence && status == 0), "\(name): out_fence")
        try drainSignals()
        let gone = bound.filter { unbind_vma_state($0.vma.handle) == Int32(UNBIND_VMA_UNBOUND) }
        if status != 0 {
            if status == -EIO { buffer.moves.isLost = true }
            if isRefused, status != -EIO {
                return try moveAgain(buffer, toLocal: toLocal, flags, status, users, bound, gone, expected)
            }
            try require(expected.contains(status), "\(name) gave \(status), not one of \(expected)")
            // Without memory for the move, it is what the call waited for that tells of the loss.
            if isRefused, status == -EIO { return _ = try scheduleGone(gone) }
            try require(gone.isEmpty, "\(name) failed and has unbound")
            return
        }
        try require(expected.contains(0), "\(name) gave 0, not one of \(expected)")
        try require(unbind_bo_region(buffer.handle) == region, "\(name): region")
        if toLocal == buffer.isLocal {
            try require(gone.isEmpty, "\(name) to where it is has unbound")
            let fence = try record(.move, handle, must: buffer.moves.last.map { [$0] } ?? [])
            noteMemory(of: fence, buffer)
            return
        }
        try require(gone.count == bound.count, "\(name) has left it bound")
        let unbinds = try scheduleGone(gone)
        // Without memory for the move it is made within the call, if the CPU may, and has no fence of its own. One that has
        // signalled is perhaps that of the move before, if nobody kept it; or a queued copy's that was over within the call.
        let isSurelyByCPU = isRefused && (handle == buffer.moves.last?.handle || isStub(handle))
        let isByCPU = isSurelyByCPU || isRefused && !isUnguarded && unbind_fence_is_signaled(handle) == 1
        if isByCPU, !isSurelyByCPU { perhapsQueuedCopies += 1 }
        let copy = try isByCPU
            ? noteCPUCopy(users, unbinds, name)
            : queueCopy(users, unbinds, waits: flags & UInt32(UNBIND_BO_MIGRATE_AFTER_UNBIND) != 0)
        let last = buffer.moves.last.map { [$0] } ?? []
        // What is over is vouched for by a fence that signalled some time ago.
        let whole = try record(.move, handle, must: isByCPU ? [] : [copy] + unbinds + last)
        let willFail = isByCPU ? false : failingCopies.map { $0 > 0 }
        if !isByCPU { failingCopies = failingCopies.map { max(0, $0 - 1) } }
        buffer.moves.append(copy: copy, whole: whole, isUnguarded: isUnguarded && !isByCPU, willFail: willFail)
        noteMemory(of: whole, buffer)
        buffer.isLocal = toLocal
        guard let cpu = unbind_bo_cpu_pointer(buffer.handle) else { throw SimulationFailure("\(name): no CPU pointer") }
        buffer.cpu = cpu
        outcome.coverage.migrations += 1
    }

    private func isStub(_ fence: OpaquePointer?) -> Bool {
        var stub: OpaquePointer?
        if unbind_fence_get_stub(device, &stub) != 0 { return false }
        unbind_fence_unref(stub)
        return fence == stub
    }

    private func noteMemory(of fence: SimulationFence, _ buffer: SimulationBuffer) {
        fence.buffer = buffer
        fence.generation = buffer.moves.generation
    }

    /// Refused for want of memory; if the CPU was to copy instead, what it had to wait for may have been in the way.
    private func moveAgain(
        _ buffer: SimulationBuffer, toLocal: Bool, _ flags: UInt32, _ status: Int32, _ users: [SimulationFence],
        _ bound: [SimulationBinding], _ gone: [SimulationBinding], _ expected: [Int32]
    ) throws {
        let name = "move of bo \(buffer.index)"
        switch status {
        case -ENOMEM: try require(gone.isEmpty, "\(name) gave -ENOMEM and has unbound")
        case -EDEADLK:
            let unbinds = spaces.flatMap(\.pending).filter { $0.binding.vma.buffer === buffer }.map(\.fence)
            // An earlier copy of it may be behind one of another buffer.
            let blockers = users + unbinds + bound.flatMap(\.dependencies) + (buffer.moves.last.map { [$0] } ?? [])
            let isHeldUp = blockers.contains { $0.isBlocked() } || spaces.contains { space in
                space.policy == UNBIND_POLICY_TIMELINE && space.pending.contains { $0.fence.isBlocked() }
            }
            try require(isHeldUp, "\(name): -EDEADLK, yet nothing blocks")
        default: try require(expected.contains(status), "\(name) gave \(status), not one of \(expected)")
        }
        _ = try scheduleGone(gone)
        try noteRefusal()
        if status == -ENOMEM { try move(buffer, toLocal: toLocal, flags, mayFail: false) }
    }

    /// All was over when the call returned.
    private func noteCPUCopy(
        _ users: [SimulationFence], _ unbinds: [SimulationFence], _ name: String
    ) throws -> SimulationFence {
        for unbind in unbinds {
            try require(unbind.couldBeDone, "\(name): its fence has signalled before \(unbind.name)")
            unbind.isInferredDone = true
        }
        for user in users { try require(user.couldBeDone, "\(name): the CPU copied before \(user.name) signalled") }
        let copy = try record(.copy, nil, must: users)
        copy.isInferredDone = true
        outcome.coverage.cpuMoves += 1
        return copy
    }

    private func queueCopy(
        _ users: [SimulationFence], _ unbinds: [SimulationFence], waits: Bool
    ) throws -> SimulationFence {
        let before = lastCopy.map { [$0] } ?? []
        let copy = try record(.copy, nil, must: users + before + (waits ? unbinds : []))
        lastCopy = copy
        queuedCopies += 1
        return copy
    }

    // MARK: Unbinding

    func unbindBuffer() throws {
        guard let buffer = random.pickOptional(liveBuffers) else { return }
        let mayRefuse = !plan.isCalm
        var flags: UInt32 = 0
        for (flag, percent) in [(UNBIND_BO_UNBIND_ACTIVE, 60), (UNBIND_BO_UNBIND_BARRIER, 60)]
        where !mayRefuse || random.chance(percent) { flags |= UInt32(flag) }
        if random.chance(50) { flags |= UInt32(UNBIND_BO_UNBIND_ASYNC) }
        if random.chance(20) { flags |= UInt32(UNBIND_BO_UNBIND_VM_TRYLOCK) }
        if mayRefuse, random.chance(15) { flags |= UInt32(UNBIND_BO_UNBIND_TEST) }
        let bound = bindings(of: buffer)
        let isInUse = bound.map { binding in
            let ordered = binding.vma.space.policy == UNBIND_POLICY_TIMELINE ? binding.vma.space.pending : []
            return (binding.users + [binding.bind] + ordered.map(\.fence)).contains { $0.isDone != true }
        }
        let status = withoutMemory { unbind_bo_unbind(buffer.handle, flags) }
        say("bo_unbind bo \(buffer.index), flags \(flags): \(status)")
        try drainSignals()
        let gone = bound.filter { unbind_vma_state($0.vma.handle) == Int32(UNBIND_VMA_UNBOUND) }
        let rest = bound.filter { binding in !gone.contains { $0 === binding } }
        try require(!gone.contains { $0.vma.pins > 0 }, "bo_unbind of bo \(buffer.index) has unbound a pinned vma")
        if flags & UInt32(UNBIND_BO_UNBIND_TEST) != 0 {
            try require(status == (bound.isEmpty ? 0 : -EBUSY) && gone.isEmpty, "test of bo \(buffer.index): \(status)")
            return
        }
        // What was unbound a moment ago, where unbinds finish in order.
        func earlier(_ binding: SimulationBinding) -> [SimulationFence] {
            let space = binding.vma.space
            if space.policy != UNBIND_POLICY_TIMELINE { return [] }
            return gone.filter { $0.vma.space === space }.flatMap(\.dependencies)
        }
        func waits(_ binding: SimulationBinding) -> Bool {
            flags & UInt32(UNBIND_BO_UNBIND_ASYNC) == 0 || binding.vma.view != nil
                || binding.vma.space.policy == UNBIND_POLICY_SYNC
        }
        let isExpected =
            switch status {
            case 0: rest.isEmpty
            case -EAGAIN: rest.contains { $0.vma.pins > 0 }
            case -EBUSY:
                flags & UInt32(UNBIND_BO_UNBIND_ACTIVE) == 0
                    && zip(bound, isInUse).contains { pair in
                        let (binding, isUsed) = pair
                        return waits(binding) && (isUsed || !earlier(binding).isEmpty) && rest.contains { $0 === binding }
                    }
            case -EDEADLK:
                bound.contains { binding in
                    waits(binding)
                        && (binding.dependencies + binding.vma.space.pending.map(\.fence) + earlier(binding))
                            .contains { $0.isBlocked() }
                }
            default: false
            }
        try require(isExpected, "bo_unbind of bo \(buffer.index) gave \(status), \(rest.count) are bound")
        for (binding, fence) in zip(gone, try scheduleGone(gone)) where waits(binding) {
            // The last one may be held.
            if status == -EDEADLK, binding.isHeld { continue }
            try require(fence.couldBeDone, "bo_unbind of bo \(buffer.index) returned before \(fence.name) signalled")
            fence.isInferredDone = true
        }
        outcome.coverage.objectUnbinds += gone.count
        for space in spaces { space.forgetFinished() }
    }
}
