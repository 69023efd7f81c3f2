// Binds and unbinds, each with what the interface promises about its result.

import CUnbind
import Glibc

extension Simulation {
    // MARK: Bind

    func bindSomething() throws {
        // Mostly one that can be bound, now and then any.
        let wantsAny = random.chance(20)
        let likely = liveVMAs.filter { $0.binding == nil && !$0.space.isClosed }
        guard let vma = random.pickOptional(wantsAny ? liveVMAs : likely) else { return }
        var request = SimulationRequest()
        request.isReadOnly = random.chance(15)
        try chooseEviction(&request, isPlaced: vma.fixed != nil)
        try bind(vma, request, isAsync: random.chance(70))
    }

    /// Binds or pins, and compares with what the interface promises.
    func bind(
        _ vma: SimulationVMA, _ request: SimulationRequest, isAsync: Bool, mayFail: Bool = true
    ) throws {
        let space = vma.space
        let expected = predictedStatus(of: vma, request)
        let before = spaceStats(space.handle)
        let copy = vma.buffer.moves.pendingCopy
        let blockers = (vma.binding.map(\.dependencies) ?? []) + (copy.map { [$0] } ?? [])
        let others = space.pending.map(\.fence) + (request.evicts ? space.bindings.flatMap(\.dependencies) : [])
        let wantsFence = isAsync && random.chance(75)
        var handle: OpaquePointer?
        // Whom an eviction that spares the used finds depends on what has finished; that changes while memory is lacking.
        let isFailing = mayFail && !request.sparesUsed && startFailing()
        let status = call(vma, request, isAsync: isAsync, wantsFence: wantsFence, &handle)
        let isRefused = isFailing && memory.stopFailing() > 0
        let name = "\(request.pins ? "pin" : "bind")\(isAsync ? "_async" : "") of vma \(vma.index)"
        say("\(name) \(request): \(status)")
        if !isAsync || isRefused { try drainSignals() }
        try require((handle != nil) == (wantsFence && status == 0), "\(name): out_fence")
        if isRefused, status == -ENOMEM || (status == -EDEADLK && isAsync) {
            try require(
                status == -ENOMEM || (blockers + others).contains { $0.isBlocked() }, "\(name): -EDEADLK, nothing blocks")
            try noteRefusal()
            return try bind(vma, request, isAsync: isAsync, mayFail: false)
        }
        if status == -EDEADLK, !isAsync, expected.contains(0) {
            try require((blockers + others).contains { $0.isBlocked() }, "\(name): -EDEADLK, yet nothing blocks")
            try require(evicted(in: space, for: vma).isEmpty, "\(name) failed and evicted")
            return
        }
        try require(expected.contains(status), "\(name) gave \(status), not one of \(expected)")
        if status == -EIO { vma.buffer.moves.isLost = true }
        guard status == 0 else {
            try require(evicted(in: space, for: vma).isEmpty, "\(name) failed and evicted")
            return
        }
        if request.pins {
            vma.pins += 1
            outcome.coverage.pins += 1
        }
        if let binding = vma.binding, !request.isMisplaced(binding) {
            try noteStillBound(binding, request, isAsync: isAsync, handle)
            return
        }
        try scheduleEvicted(in: space, for: vma, request)
        if isAsync { try drainSignals() }
        let start = try checkAddress(of: vma, request)
        let awaited = space.awaited(start - vma.guardSize, start + vma.size + vma.guardSize)
        if isAsync {
            // Under `sync` nobody promised that it does not wait for more.
            let forTables = space.maybeAwaited(start, start + vma.size)
            let may = space.policy == UNBIND_POLICY_SYNC ? space.pending.map(\.fence) : forTables.map(\.fence)
            let fence = try record(.bind, handle, must: awaited.map(\.fence) + (copy.map { [$0] } ?? []), may: may)
            noteMemory(of: vma, fence)
            vma.binding = makeBinding(vma, request, start: start, bind: fence)
            let counts = isRefused ? nil : before
            try checkWaiting(of: vma.binding!, copy, awaited: awaited, forTables: forTables, before: counts)
        } else {
            try checkWaited(for: awaited, by: vma)
            try require(copy?.couldBeDone != false, "vma \(vma.index) was bound before its memory was moved")
            copy?.isInferredDone = true
            let fence = try record(.bind, nil)
            fence.isInferredDone = true
            vma.binding = makeBinding(vma, request, start: start, bind: fence)
            vma.binding!.isBound = true
        }
        space.binds += 1
    }

    /// An error of the bind's is one of the memory's.
    private func noteMemory(of vma: SimulationVMA, _ bind: SimulationFence) {
        bind.buffer = vma.buffer
        bind.generation = vma.buffer.moves.generation
    }

    private func makeBinding(
        _ vma: SimulationVMA, _ request: SimulationRequest, start: UInt64, bind: SimulationFence
    ) -> SimulationBinding {
        SimulationBinding(vma, start: start, bind: bind, isReadOnly: vma.isReadOnly || request.isReadOnly)
    }

    private func call(
        _ vma: SimulationVMA, _ request: SimulationRequest, isAsync: Bool, wantsFence: Bool,
        _ handle: inout OpaquePointer?
    ) -> Int32 {
        if request.pins {
            return withUnsafeMutablePointer(to: &handle) { out in
                var options = request.options
                if isAsync { options.flags |= UInt32(UNBIND_PIN_ASYNC) }
                if wantsFence { options.out_fence = out }
                return unbind_vma_pin(vma.handle, &options)
            }
        }
        let flags = request.bindFlags
        if !isAsync { return unbind_vma_bind(vma.handle, flags) }
        return wantsFence
            ? unbind_vma_bind_async(vma.handle, flags, &handle) : unbind_vma_bind_async(vma.handle, flags, nil)
    }

    /// The VMA keeps its binding, which may have got write access.
    private func noteStillBound(
        _ binding: SimulationBinding, _ request: SimulationRequest, isAsync: Bool, _ handle: OpaquePointer?
    ) throws {
        let upgrades = binding.isReadOnly && !binding.vma.isReadOnly && !request.isReadOnly
        let fence = try record(.bind, handle, must: binding.isBound ? [] : [binding.bind])
        noteMemory(of: binding.vma, fence)
        if upgrades {
            binding.isReadOnly = false
            binding.isUpgraded = true
            outcome.coverage.upgrades += 1
        }
        if isAsync {
            if upgrades { binding.bind = fence }
            return
        }
        let state = unbind_vma_state(binding.vma.handle)
        try require(state == Int32(UNBIND_VMA_BOUND), "vma \(binding.vma.index): state \(state) after bind")
        try require(binding.bind.couldBeDone, "vma \(binding.vma.index): bind returned before \(binding.bind.name)")
        if binding.bind.handle == nil { binding.bind.isInferredDone = true }
        fence.isInferredDone = true
        if upgrades { binding.bind = fence }
    }

    private func checkAddress(of vma: SimulationVMA, _ request: SimulationRequest) throws -> UInt64 {
        let start = unbind_vma_address(vma.handle)
        let space = vma.space
        if let fixed = request.fixed ?? vma.fixed {
            try require(start == fixed, "vma \(vma.index): bound at \(start), not at \(fixed)")
        } else {
            let alignment = space.alignment(of: vma)
            try require(start % alignment == 0, "vma \(vma.index): \(start) is not aligned")
            try require(start >= request.lowest, "vma \(vma.index): \(start) is too low")
            try require(start <= space.size - vma.size, "vma \(vma.index): \(start) is outside the VM")
        }
        try require(
            !space.isTaken(start - vma.guardSize, start + vma.size + vma.guardSize, color: vma.color),
            "vma \(vma.index): \(start) was not free")
        return start
    }

    private func checkWaited(for awaited: [SimulationUnbind], by vma: SimulationVMA) throws {
        let state = unbind_vma_state(vma.handle)
        try require(state == Int32(UNBIND_VMA_BOUND), "vma \(vma.index): state \(state) after bind")
        for unbind in awaited {
            try require(
                unbind.fence.couldBeDone, "vma \(vma.index) was bound before \(unbind.fence.name) signalled")
            unbind.fence.isInferredDone = unbind.fence.handle == nil
            try require(
                unbind.fence.isDone == true, "vma \(vma.index) was bound before \(unbind.fence.name) signalled")
        }
    }

    private func checkWaiting(
        of binding: SimulationBinding, _ copy: SimulationFence?, awaited: [SimulationUnbind],
        forTables: [SimulationUnbind], before: unbind_vm_stats?
    ) throws {
        let vma = binding.vma
        let state = unbind_vma_state(vma.handle)
        let unfinished = UInt64(awaited.count { $0.fence.isDone == false })
        if unfinished > 0 {
            try require(
                state == Int32(UNBIND_VMA_BINDING), "vma \(vma.index): state \(state) with unbinds to wait for")
            try require(binding.bind.position == nil, "vma \(vma.index): bind fence signalled before its unbinds")
        } else if awaited.isEmpty, forTables.isEmpty, copy == nil, costsNothing {
            try require(
                state == Int32(UNBIND_VMA_BOUND), "vma \(vma.index): state \(state) with nothing to wait for")
            try require(binding.bind.isDone != false, "vma \(vma.index): bind fence with nothing to wait for")
        }
        guard let before, vma.space.policy != UNBIND_POLICY_SYNC else { return }
        let after = spaceStats(vma.space.handle)
        let counted = after.awaited - before.awaited
        try require(
            counted >= unfinished && counted <= UInt64(awaited.count + forTables.count),
            "vma \(vma.index): \(counted) unbinds awaited, expected \(unfinished)...\(awaited.count)")
    }

    // MARK: Unbind

    func unbindSomething() throws {
        let wantsAny = random.chance(15)
        guard let vma = random.pickOptional(wantsAny ? liveVMAs : liveVMAs.filter { $0.binding != nil }) else { return }
        if random.chance(85) { try unbindAsync(vma) } else { try unbindSync(vma) }
    }

    /// Records that a binding's unbind was scheduled.
    @discardableResult
    func schedule(
        _ binding: SimulationBinding, handle: OpaquePointer?, previous: SimulationFence?,
        others: [SimulationFence] = []
    ) throws -> SimulationFence {
        let space = binding.vma.space
        var must = binding.dependencies
        if space.policy == UNBIND_POLICY_TIMELINE, let previous { must.append(previous) }
        let fence = try record(.unbind, handle, must: must, may: others)
        var unbind = SimulationUnbind(binding: binding, fence: fence, wasBound: binding.isBound)
        if binding.isHeld {
            outcome.coverage.heldUnbinds += 1
            unbind.wasImmediate = wasImmediate(binding, previous, others)
        }
        if space.isSuspended { unbind.lose() }
        space.pending.append(unbind)
        space.unbinds += 1
        binding.vma.binding = nil
        return fence
    }

    /// Whether the unbind of a held binding is sure to have cleared its entries within the call; nil: perhaps.
    private func wasImmediate(
        _ binding: SimulationBinding, _ previous: SimulationFence?, _ others: [SimulationFence]
    ) -> Bool? {
        if flushTakesTime { return false }
        var awaited = binding.users + [binding.bind]
        if binding.vma.space.policy == UNBIND_POLICY_TIMELINE, let previous { awaited.append(previous) }
        if awaited.contains(where: { $0.isDone == false }) { return false }
        // What signalled within the call may have done so after the unbind was scheduled.
        if awaited.contains(where: { ($0.position ?? -1) >= signalledBeforeStep }) { return nil }
        return others.isEmpty && awaited.allSatisfy { $0.isDone == true } ? true : nil
    }

    private func unbindAsync(_ vma: SimulationVMA) throws {
        let space = vma.space
        let wantsFence = random.chance(80)
        let statsBefore = spaceStats(space.handle)
        let deviceBefore = deviceStats(device)
        let timeBefore = unbind_device_now(device)
        var handle: OpaquePointer?
        let status =
            wantsFence ? unbind_vma_unbind_async(vma.handle, 0, &handle) : unbind_vma_unbind_async(vma.handle, 0, nil)
        say("unbind_async vma \(vma.index): \(status)")
        try require((handle != nil) == (wantsFence && status == 0), "unbind_async: out_fence")
        guard let binding = vma.binding else {
            try require(status == 0, "unbind_async of an unbound vma gave \(status)")
            let fence = try record(.unbind, handle)
            try require(!wantsFence || fence.position != nil, "unbind_async of an unbound vma: fence not signalled")
            return
        }
        if vma.pins > 0 || vma.view != nil {
            let expected = vma.pins > 0 ? -EAGAIN : -EBUSY
            try require(status == expected, "unbind_async of vma \(vma.index) gave \(status), not \(expected)")
            return
        }
        if space.policy == UNBIND_POLICY_SYNC {
            try finishSyncUnbind(binding, status, handle)
            return
        }
        try require(status == 0, "unbind_async of vma \(vma.index) gave \(status)")
        let deviceAfter = deviceStats(device)
        try require(
            deviceBefore.allocations == deviceAfter.allocations
                && deviceBefore.slab_allocations == deviceAfter.slab_allocations,
            "unbind_async of vma \(vma.index) allocated memory")
        if costsNothing {
            try require(unbind_device_now(device) == timeBefore, "unbind_async of vma \(vma.index) took virtual time")
        }
        // Whatever it had to wait for was decided by the state at the call.
        let dependencies =
            binding.users + [binding.bind]
            + (space.policy == UNBIND_POLICY_TIMELINE ? space.pending.map(\.fence) : [])
        let fence = try schedule(binding, handle: handle, previous: space.pending.last?.fence)
        let after = spaceStats(space.handle)
        let immediate = after.unbinds_immediate - statsBefore.unbinds_immediate
        let deferred = after.unbinds_deferred - statsBefore.unbinds_deferred
        try require(immediate + deferred == 1, "unbind_async counted \(immediate) + \(deferred)")
        let isHeld = binding.isHeld
        if isHeld { space.pending[space.pending.count - 1].wasImmediate = immediate == 1 }
        if immediate == 1, !isHeld { fence.isInferredDone = true }
        if flushTakesTime {
            try require(deferred == 1, "unbind_async of vma \(vma.index) did not leave the TLB to the executor")
        } else if dependencies.allSatisfy({ $0.isDone == true }) {
            try require(immediate == 1, "unbind_async of idle vma \(vma.index) was deferred")
            try require(
                !wantsFence || (fence.position != nil) != isHeld, "unbind_async of idle vma \(vma.index): fence not signalled")
        } else if dependencies.contains(where: { $0.isDone == false }) {
            try require(deferred == 1, "unbind_async of busy vma \(vma.index) was immediate")
            try require(fence.position == nil, "unbind_async of busy vma \(vma.index): fence signalled")
        }
    }

    private func unbindSync(_ vma: SimulationVMA) throws {
        let status = withoutMemory { unbind_vma_unbind(vma.handle, 0) }
        say("unbind vma \(vma.index): \(status)")
        guard let binding = vma.binding else {
            try require(status == 0, "unbind of an unbound vma gave \(status)")
            return
        }
        if vma.pins > 0 {
            try require(status == -EAGAIN, "unbind of pinned vma \(vma.index) gave \(status)")
            return
        }
        try finishSyncUnbind(binding, status, nil)
    }

    private func finishSyncUnbind(_ binding: SimulationBinding, _ status: Int32, _ handle: OpaquePointer?) throws {
        let vma = binding.vma
        let earlier = vma.space.pending.map(\.fence)
        try drainSignals()
        if status == -EDEADLK, unbind_vma_state(vma.handle) == Int32(UNBIND_VMA_UNBOUND) {
            try require(binding.isHeld, "unbind of vma \(vma.index): -EDEADLK, it is unbound and not held")
            try schedule(binding, handle: nil, previous: vma.space.pending.last?.fence)
            return
        }
        if status == -EDEADLK {
            let ordered = vma.space.policy == UNBIND_POLICY_TIMELINE ? earlier : []
            let blockers = binding.users + [binding.bind] + ordered
            try require(
                blockers.contains { $0.isBlocked() }, "unbind of vma \(vma.index): -EDEADLK, yet nothing blocks")
            return
        }
        try require(status == 0, "unbind of vma \(vma.index) gave \(status)")
        let fence = try schedule(binding, handle: handle, previous: vma.space.pending.last?.fence)
        try require(fence.couldBeDone, "unbind of vma \(vma.index) returned before its users were done")
        try require(handle == nil || fence.position != nil, "unbind of vma \(vma.index): fence not signalled")
        fence.isInferredDone = true
        vma.space.forgetFinished()
    }
}
