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
        switch tryUnbind(UnbindManner()) {
        case .unbound: return nil
        case .scheduled(let fence): return fence
        case .blocked, .refused: panic("an unbind that respects nothing was refused")
        }
    }

    /// As the VM's policy says: waiting only under the sync policy. The unbind fence, with a reference; nil if there
    /// was no binding, or the unbind is over.
    /// - Failure: again if the VMA is pinned; busy if its pages are not the buffer's own list (P10).
    func unbindUnderPolicy() throws(Status) -> FencePointer? {
        let power = pointee.vm.power
        power?.get()
        defer { power?.put() }
        if pointee.vm.pointee.options.policy == .sync {
            return try unbindWaiting(
                UnbindManner(respectsUsers: true, respectsPins: true, respectsViews: true), interruptible: false)
        }
        switch tryUnbind(UnbindManner(respectsPins: true, respectsViews: true)) {
        case .unbound: return nil
        case .scheduled(let fence): return fence
        case .refused(let status): throw status
        case .blocked: panic("an unbind that does not ask for users was kept waiting by one")
        }
    }

    /// Waits for the GPU, then unbinds, then waits for the unbind's own end. A failure leaves the VMA bound, but for a
    /// deadlock on a hold: that delays the end of an unbind which cannot be taken back.
    func unbindAndWait(interruptible: Bool) throws(Status) {
        let power = pointee.vm.power
        power?.get()
        defer { power?.put() }
        try unbindWaiting(interruptible: interruptible)?.drop()
    }

    /// The unbind fence, which has signalled, with a reference; nil if there was no binding.
    func unbindWaiting(
        _ manner: UnbindManner = UnbindManner(respectsUsers: true, respectsPins: true), interruptible: Bool
    ) throws(Status) -> FencePointer? {
        let device = pointee.vm.pointee.device
        while true {
            switch tryUnbind(manner) {
            case .unbound: return nil
            case .refused(let status): throw status
            case .blocked(let blocker):
                defer { blocker.drop() }
                if manner.refusesUsers { throw Status.busy }
                try device.wait(for: blocker, interruptible: interruptible)
            case .scheduled(let fence):
                // Nothing is left to wait for but holds: this ends by itself, or with the last of them.
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

    /// One try. The fences it gives come with a reference.
    ///
    /// - Locking: nothing may be held.
    func tryUnbind(_ manner: UnbindManner) -> UnbindOutcome {
        let vm = pointee.vm
        let reservation = pointee.bo.pointee.reservation
        // The unbind's own, never waking the device (P17). Before the locks: it may sleep.
        var power = vm.power
        if power?.getIfInUse() != true { power = nil }
        defer { power?.put() }
        reservation.pointee.lock.acquire()
        if !manner.triesLock {
            vm.pointee.lock.acquire()
        } else if !vm.pointee.lock.tryAcquire() {
            reservation.pointee.lock.release()
            return .refused(.busy)
        }
        vm.pointee.pending.reap()
        if let outcome = outcomeWithoutUnbinding(manner) {
            vm.pointee.lock.release()
            reservation.pointee.lock.release()
            return outcome
        }
        let resource = pointee.resource!
        resource.set(.holdsPower, power != nil)
        let schedule = scheduleUnbind(of: resource)
        vm.pointee.lock.release()
        leaveFence(of: resource, schedule)
        reservation.pointee.lock.release()
        if !resource.follow(schedule) { power = nil }
        return .scheduled(resource.fence)
    }

    /// What is left to do for an unbind that was scheduled without the reservation's lock. True if its power reference
    /// has become the caller's.
    /// - Locking: nothing may be held.
    func finishUnbind(of resource: ResourcePointer, _ schedule: UnbindSchedule) -> Bool {
        let reservation = pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        leaveFence(of: resource, schedule)
        reservation.pointee.lock.release()
        return resource.follow(schedule)
    }

    /// Puts the unbind's fence where whoever waits for the buffer finds it; nobody needs to if it is done at once.
    /// - Locking: the reservation's lock is held.
    private func leaveFence(of resource: ResourcePointer, _ schedule: UnbindSchedule) {
        let reservation = pointee.bo.pointee.reservation
        if case .atOnce = schedule {
            reservation.unreserve(1)
        } else {
            reservation.add(resource.fence, usage: .bookkeep)
        }
    }

    /// Schedules the unbind of the present binding, whose reference is the caller's then.
    /// - Locking: the VM's lock is held.
    @inline(__always)
    func scheduleUnbind(of resource: ResourcePointer, leavesInvalidation: Bool = false) -> UnbindSchedule {
        let users = pointee.users
        pointee.users = nil
        let range = node.pointee.start...(node.pointee.end &- 1)
        return resource.schedule(awaiting: users, range: range, leavesInvalidation: leavesInvalidation) {
            detachBinding()
        }
    }

    /// Nil if the binding can be taken away.
    /// - Locking: the VM's lock is held.
    private func outcomeWithoutUnbinding(_ manner: UnbindManner) -> UnbindOutcome? {
        if !node.pointee.isAllocated || pointee.resource == nil { return .unbound }
        if manner.respectsSuccess, !hasFailed { return .unbound }
        if manner.respectsPins, pointee.pinCount != 0 { return .refused(.again) }
        if manner.respectsViews, pointee.view != nil { return .refused(.busy) }
        if manner.respectsUsers, let blocker = firstBlocker() { return .blocked(blocker) }
        return nil
    }

    /// What a caller that is willing to wait waits for before the unbind is scheduled, with a reference.
    /// - Locking: the VM's lock is held.
    func firstBlocker() -> FencePointer? {
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

/// What an unbind stops at. By default at nothing, and so it cannot fail.
struct UnbindManner {
    /// At GPU work that still uses the binding: blocked.
    var respectsUsers = false
    /// Whoever meets GPU work does not wait for it either: -EBUSY.
    var refusesUsers = false
    /// At a pin: -EAGAIN.
    var respectsPins = false
    /// At pages that are not the buffer's own list: -EBUSY.
    var respectsViews = false
    /// At somebody else's use of the VM's lock: -EBUSY.
    var triesLock = false
    /// At a binding that has not failed: there is nothing to unbind.
    var respectsSuccess = false
}

enum UnbindOutcome {
    /// There was no binding.
    case unbound
    case scheduled(FencePointer)
    /// Not unbound: this is to be waited for first.
    case blocked(FencePointer)
    case refused(Status)
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// The binding is the resource's alone now; the range is free.
    func detachBinding() {
        pointee.vm.leaveByRecency(self)
        pointee.vm.pointee.ranges.remove(node)
        pointee.pinCount = 0
        if isMapping {
            pointee.bo.mappingEnds()
            pointee.vm.pointee.batches.mappingEnded()
        }
        pointee.resource = nil
        pointee.stateHint.store(VMAState.unbound.rawValue, ordering: .releasing)
        pointee.bindFence?.drop()
        pointee.bindFence = nil
        pointee.address.store(pointee.options.fixedAddress ?? VMA.noAddress, ordering: .relaxed)
    }
}
