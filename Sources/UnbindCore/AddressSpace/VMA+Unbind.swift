// Unbinding (i915_vma_unbind_async, __i915_vma_evict and i915_vma_resource_unbind).
//
// The order is the kernel's, and each step needs the one before: lock the buffer's reservation, whose slot
// was reserved at bind; lock the VM; hang the unbind on all that uses the binding; decide between immediate and
// deferred; publish a deferred one among the pending unbinds; hand the range back; commit the gate; unlock; put the
// fence in the reservation. After "publish" nothing can fail, and nothing before it allocates.
//
// Immediate means that there was nothing to wait for when it was looked at, no GPU work and no TLB invalidation that
// takes the device's time: the entries are cleared and the TLB invalidated under the VM's lock, as the range must not
// have a new owner before that. The decision is made before the gate is committed: an unbind whose last dependency
// ends in between is finished by the drain like any deferred one.

import Synchronization

extension UnsafeMutablePointer where Pointee == VMA {
    /// Takes the binding away. The unbind fence, with a reference; nil if there was no binding.
    ///
    /// - Locking: nothing may be held.
    func unbindWithoutWaiting() -> FencePointer? {
        switch unbindUnlessBusy(blockers: .ignored) {
        case .unbound: return nil
        case .scheduled(let fence): return fence
        case .busy: panic("an unbind that waits for nothing was kept waiting")
        }
    }

    /// As the VM's policy says: waiting only under the sync policy. The unbind fence, with a reference; nil if there
    /// was no binding, or the unbind is over.
    func unbindUnderPolicy() throws(Status) -> FencePointer? {
        guard pointee.vm.pointee.options.policy == .sync else { return unbindWithoutWaiting() }
        return try unbindWaiting(interruptible: false)
    }

    /// Waits for the GPU, then unbinds, then waits for the unbind's own end. A failure leaves the VMA bound.
    func unbindAndWait(interruptible: Bool) throws(Status) {
        try unbindWaiting(interruptible: interruptible)?.drop()
    }

    /// The unbind fence, which has signalled, with a reference; nil if there was no binding.
    private func unbindWaiting(interruptible: Bool) throws(Status) -> FencePointer? {
        let device = pointee.vm.pointee.device
        while true {
            switch unbindUnlessBusy(blockers: .respected) {
            case .unbound: return nil
            case .busy(let blocker):
                defer { blocker.drop() }
                try device.wait(for: blocker, interruptible: interruptible)
            case .scheduled(let fence):
                // Nothing of the caller's is left to wait for: this ends by itself.
                do throws(Status) {
                    try device.wait(for: fence)
                } catch {
                    fence.drop()
                    throw error
                }
                return fence
            }
        }
    }

    fileprivate enum Blockers { case ignored, respected }

    fileprivate enum Outcome {
        case unbound
        case scheduled(FencePointer)
        /// Not unbound: this fence, with a reference, is to be waited for first.
        case busy(FencePointer)
    }

    fileprivate func unbindUnlessBusy(blockers: Blockers) -> Outcome {
        let vm = pointee.vm
        let device = vm.pointee.device
        let reservation = pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        vm.pointee.lock.acquire()
        vm.pointee.pending.reap()
        guard node.pointee.isAllocated, let resource = pointee.resource else {
            vm.pointee.lock.release()
            reservation.pointee.lock.release()
            return .unbound
        }
        if blockers == .respected, let blocker = firstBlocker() {
            vm.pointee.lock.release()
            reservation.pointee.lock.release()
            return .busy(blocker)
        }
        let schedule = resource.schedule(detachFrom: self)
        vm.pointee.lock.release()
        // An immediate unbind that nobody holds is over when this returns: nobody needs to find its fence.
        if case .immediate = schedule, resource.pointee.holds.load(ordering: .relaxed) == 1 {
            reservation.unreserve(1)
        } else {
            reservation.add(resource.fence, usage: .bookkeep)
        }
        reservation.pointee.lock.release()

        switch schedule {
        case .immediate(let entries):
            // Time passes for the caller: it has done the backend's work itself.
            device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: entries))
            resource.dropHold(at: device.now)
        case .ready: vm.pointee.drain.makeReady(resource)
        case .deferred: break
        }
        return .scheduled(resource.fence)
    }

    /// What a caller that is willing to wait waits for before the unbind is scheduled, with a reference.
    private func firstBlocker() -> FencePointer? {
        var next = pointee.users
        while let user = next {
            if !user.pointee.fence.isSignalled {
                user.pointee.fence.retain()
                return user.pointee.fence
            }
            next = user.pointee.next
        }
        let vm = pointee.vm
        if vm.pointee.options.policy == .timeline, let last = vm.pointee.pending.pointee.lastScheduled,
            !last.isSignalled
        {
            last.retain()
            return last
        }
        return nil
    }
}

/// How an unbind was scheduled.
private enum UnbindSchedule {
    /// Its entries are cleared and the TLB is invalidated; the fence has not signalled yet.
    case immediate(entries: UInt64)
    /// What it awaited has ended meanwhile: it goes to the drain.
    case ready
    case deferred
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// Schedules the unbind and hands its range back. The VMA's reference is now the caller's.
    /// - Locking: the VM's lock and the reservation's are held.
    fileprivate func schedule(detachFrom vma: VMAPointer) -> UnbindSchedule {
        let vm = pointee.vm
        invariant(!pointee.isScheduled, "a binding was unbound twice")
        pointee.isScheduled = true
        // The chain's own reference: dropped when the completed unbind is reaped.
        fence.retain()
        awaitUsers(of: vma)
        if vm.pointee.options.policy == .timeline { awaitLastScheduled() }

        let now = vm.pointee.device.now
        let binding = pointee.binding
        vm.pointee.history.record(
            .unbindScheduled, start: binding.start, size: binding.size, boID: pointee.boID, time: now)
        vm.pendingUnbindBegan()
        let stats = vm.pointee.stats
        // A TLB invalidation that takes time is something to wait for, too: then the drain does it, for many at once.
        let isImmediate = pointee.gate.isIdle && vm.pointee.device.pointee.gpu.invalidationCost == 0
        var entries: UInt64 = 0
        if isImmediate {
            stats.pointee.unbindsImmediate &+= 1
            entries = clear(at: now)
            vm.invalidate(start: binding.start, size: binding.size)
        } else {
            stats.pointee.unbindsDeferred &+= 1
            let pending = UInt64(vm.pointee.pendingCount.load(ordering: .relaxed))
            stats.pointee.pendingPeak = max(stats.pointee.pendingPeak, pending)
            pointee.order = stats.pointee.unbindsDeferred
            vm.pointee.pending.publish(self)
        }
        vma.detachBinding()
        // Immediate: nothing was awaited, so that committing opens the gate; there is nobody else who could.
        let isOpen = pointee.gate.commit()
        if isImmediate { return .immediate(entries: entries) }
        return isOpen ? .ready : .deferred
    }

    /// Turns the VMA's users into edges to this unbind.
    private func awaitUsers(of vma: VMAPointer) {
        var next = vma.pointee.users
        vma.pointee.users = nil
        while let user = next {
            next = user.pointee.next
            user.pointee.next = nil
            hangUp(user)
        }
    }

    private func awaitLastScheduled() {
        let vm = pointee.vm
        let memory = pointee.timelineAwait!
        pointee.timelineAwait = nil
        if let last = vm.pointee.pending.pointee.lastScheduled, !last.isSignalled {
            last.retain()
            let edge = memory.bindMemory(to: Await.self, capacity: 1)
            edge.initialize(to: Await(fence: last, function: unbindAwaitFired, context: nil))
            hangUp(edge)
        } else {
            vm.pointee.device.cache(.await).give(memory)
        }
        vm.pointee.pending.setLastScheduled(fence)
    }

    private func hangUp(_ edge: AwaitPointer) {
        edge.pointee.callback.context = UnsafeMutableRawPointer(self)
        pointee.gate.await()
        if !edge.arm() {
            let isOpen = pointee.gate.complete(error: edge.pointee.fence.error)
            invariant(!isOpen, "an unbind's gate opened before it was committed")
            pointee.vm.pointee.device.free(edge)
        }
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// The binding is the resource's alone now; the range is free.
    fileprivate func detachBinding() {
        pointee.vm.pointee.ranges.remove(node)
        pointee.resource = nil
        pointee.bindFence?.drop()
        pointee.bindFence = nil
        pointee.address.store(pointee.options.fixedAddress ?? VMA.noAddress, ordering: .relaxed)
    }
}

/// Something that a scheduled unbind awaited has signalled. An error it carries does not keep the unbind from
/// happening.
func unbindAwaitFired(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let resource = edge.pointee.callback.context!.assumingMemoryBound(to: VMAResource.self)
    let vm = resource.pointee.vm
    let error = edge.pointee.fence.error
    vm.pointee.device.free(edge)
    if resource.pointee.gate.complete(error: error) { vm.pointee.drain.makeReady(resource) }
}
