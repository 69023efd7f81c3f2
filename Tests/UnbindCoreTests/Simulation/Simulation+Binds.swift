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
        if random.chance(70) { try bindAsync(vma) } else { try bindSync(vma) }
    }

    /// What a bind must give, as far as the address space decides it.
    private func predictedStatus(of vma: SimulationVMA) -> Int32 {
        if vma.space.isClosed { return -ENOENT }
        if vma.binding != nil { return 0 }
        if let fixed = vma.fixed {
            return vma.space.isTaken(fixed, fixed + vma.size, color: vma.color) ? -ENOSPC : 0
        }
        return vma.space.hasRoom(for: vma) ? 0 : -ENOSPC
    }

    private func checkAddress(of vma: SimulationVMA) throws -> UInt64 {
        let start = unbind_vma_address(vma.handle)
        if let fixed = vma.fixed {
            try require(start == fixed, "vma \(vma.index): bound at \(start), not at its fixed address")
            return start
        }
        let space = vma.space
        let alignment = vma.alignment == 0 ? space.largestPage(fitting: vma.size) : vma.alignment
        try require(start % max(alignment, space.smallestPage) == 0, "vma \(vma.index): \(start) is not aligned")
        try require(start <= space.size - vma.size, "vma \(vma.index): \(start) is outside the VM")
        try require(
            !space.isTaken(start, start + vma.size, color: vma.color), "vma \(vma.index): \(start) was not free")
        return start
    }

    private func bindAsync(_ vma: SimulationVMA) throws {
        let space = vma.space
        let expected = predictedStatus(of: vma)
        let before = spaceStats(space.handle)
        let wantsFence = random.chance(75)
        var handle: OpaquePointer?
        let status =
            wantsFence ? unbind_vma_bind_async(vma.handle, 0, &handle) : unbind_vma_bind_async(vma.handle, 0, nil)
        say("bind_async vma \(vma.index): \(status)")
        try require(status == expected, "bind_async of vma \(vma.index) gave \(status), not \(expected)")
        try require((handle != nil) == (wantsFence && status == 0), "bind_async: out_fence")
        guard status == 0 else { return }
        if let binding = vma.binding {
            try record(.bind, handle, must: binding.isBound ? [] : [binding.bind])
            return
        }
        try drainSignals()
        let start = try checkAddress(of: vma)
        let awaited = space.awaited(start, start + vma.size)
        // Under `sync` nobody promised that it does not wait for more.
        let forTables = space.awaitedForTables(start, start + vma.size)
        let may = space.policy == UNBIND_POLICY_SYNC ? space.pending.map(\.fence) : forTables.map(\.fence)
        let bind = try record(.bind, handle, must: awaited.map(\.fence), may: may)
        let binding = SimulationBinding(vma, start: start, bind: bind)
        vma.binding = binding
        space.binds += 1
        try checkWaiting(of: binding, awaited: awaited, forTables: forTables, before: before)
    }

    private func checkWaiting(
        of binding: SimulationBinding, awaited: [SimulationUnbind], forTables: [SimulationUnbind],
        before: unbind_vm_stats
    ) throws {
        let vma = binding.vma
        let state = unbind_vma_state(vma.handle)
        let unfinished = UInt64(awaited.count { $0.fence.isDone == false })
        if unfinished > 0 {
            try require(
                state == Int32(UNBIND_VMA_BINDING), "vma \(vma.index): state \(state) with unbinds to wait for")
            try require(binding.bind.position == nil, "vma \(vma.index): bind fence signalled before its unbinds")
        } else if awaited.isEmpty, forTables.isEmpty, costsNothing {
            try require(
                state == Int32(UNBIND_VMA_BOUND), "vma \(vma.index): state \(state) with nothing to wait for")
            try require(binding.bind.isDone != false, "vma \(vma.index): bind fence with nothing to wait for")
        }
        guard vma.space.policy != UNBIND_POLICY_SYNC else { return }
        let after = spaceStats(vma.space.handle)
        let counted = after.awaited - before.awaited
        try require(
            counted >= unfinished && counted <= UInt64(awaited.count + forTables.count),
            "vma \(vma.index): \(counted) unbinds awaited, expected \(unfinished)...\(awaited.count)")
    }

    private func bindSync(_ vma: SimulationVMA) throws {
        let space = vma.space
        let expected = predictedStatus(of: vma)
        let wasBinding = vma.binding
        let before = space.pending.map(\.fence)
        let status = unbind_vma_bind(vma.handle, 0)
        say("bind vma \(vma.index): \(status)")
        try drainSignals()
        if status == -EDEADLK, expected == 0 {
            let blockers = wasBinding.map { [$0.bind] } ?? before
            try require(blockers.contains { $0.isBlocked() }, "bind of vma \(vma.index): -EDEADLK, yet nothing blocks")
            return
        }
        try require(status == expected, "bind of vma \(vma.index) gave \(status), not \(expected)")
        guard status == 0 else { return }
        let state = unbind_vma_state(vma.handle)
        try require(state == Int32(UNBIND_VMA_BOUND), "vma \(vma.index): state \(state) after bind")
        if wasBinding != nil { return }
        let start = try checkAddress(of: vma)
        for unbind in space.awaited(start, start + vma.size) {
            try require(
                unbind.fence.couldBeDone, "vma \(vma.index) was bound before \(unbind.fence.name) signalled")
            unbind.fence.isInferredDone = unbind.fence.handle == nil
            try require(unbind.fence.isDone == true, "vma \(vma.index) was bound before \(unbind.fence.name) signalled")
        }
        let bind = try record(.bind, nil)
        bind.isInferredDone = true
        vma.binding = SimulationBinding(vma, start: start, bind: bind)
        vma.binding!.isBound = true
        space.binds += 1
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
        var must = binding.users + [binding.bind]
        if space.policy == UNBIND_POLICY_TIMELINE, let previous { must.append(previous) }
        let fence = try record(.unbind, handle, must: must, may: others)
        var unbind = SimulationUnbind(binding: binding, fence: fence, wasBound: binding.isBound)
        if space.isSuspended { unbind.lose() }
        space.pending.append(unbind)
        space.unbinds += 1
        binding.vma.binding = nil
        return fence
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
        if immediate == 1 { fence.isInferredDone = true }
        if flushTakesTime {
            try require(deferred == 1, "unbind_async of vma \(vma.index) did not leave the TLB to the executor")
        } else if dependencies.allSatisfy({ $0.isDone == true }) {
            try require(immediate == 1, "unbind_async of idle vma \(vma.index) was deferred")
            try require(
                !wantsFence || fence.position != nil, "unbind_async of idle vma \(vma.index): fence not signalled")
        } else if dependencies.contains(where: { $0.isDone == false }) {
            try require(deferred == 1, "unbind_async of busy vma \(vma.index) was immediate")
            try require(fence.position == nil, "unbind_async of busy vma \(vma.index): fence signalled")
        }
    }

    private func unbindSync(_ vma: SimulationVMA) throws {
        let status = unbind_vma_unbind(vma.handle, 0)
        say("unbind vma \(vma.index): \(status)")
        guard let binding = vma.binding else {
            try require(status == 0, "unbind of an unbound vma gave \(status)")
            return
        }
        try finishSyncUnbind(binding, status, nil)
    }

    private func finishSyncUnbind(_ binding: SimulationBinding, _ status: Int32, _ handle: OpaquePointer?) throws {
        let vma = binding.vma
        let earlier = vma.space.pending.map(\.fence)
        try drainSignals()
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
