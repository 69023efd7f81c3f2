// The unbind of one binding, from the locks on: hung on what it awaits, done at once or published among the pending ones
// (i915_vma_resource_unbind). Who may be unbound, and when a caller waits, is VMA+Unbind's matter.

import Synchronization

/// How an unbind was scheduled.
enum UnbindSchedule {
    /// Its entries are cleared and the TLB is invalidated; the fence has not signalled yet.
    case atOnce(entries: UInt64)
    /// The same, but somebody holds it, and so it is pending.
    case immediate(entries: UInt64)
    /// What it awaited has ended meanwhile: it goes to the drain.
    case ready
    case deferred
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// Schedules the unbind. `users` are the edges to what it waits for, `range` is what it takes of the address space,
    /// with guards and padding; `handRangeBack` is called once binds that overlap find it, and before its gate can open.
    /// With `leavesInvalidation` the caller invalidates the TLB before it lets go of the lock, if the entries were
    /// cleared within the call. The result is for `follow`.
    /// - Locking: the VM's lock is held.
    @inline(__always)
    func schedule(
        awaiting users: AwaitPointer?, range: ClosedRange<UInt64>, leavesInvalidation: Bool = false,
        handRangeBack: () -> Void
    ) -> UnbindSchedule {
        let vm = pointee.vm
        invariant(!pointee.isScheduled, "a binding was unbound twice")
        set(.isScheduled)
        var awaited = unsignalled(of: users)
        if vm.pointee.options.policy == .timeline { addLastScheduled(to: &awaited) }
        // A TLB invalidation that takes time is something to wait for, too: then the drain does it, for many at once.
        if awaited.count == 0, vm.pointee.device.pointee.gpu.invalidationCost == 0 {
            let schedule = scheduleImmediate(leavesInvalidation: leavesInvalidation)
            handRangeBack()
            return schedule
        }
        publish(range)
        handRangeBack()
        if let space = vm.pointee.backendSpace { return leave(to: space, awaited) }
        pointee.gate.commit(awaiting: awaited.count)
        return awaited.count == 0 || hangUp(awaited.first) ? .ready : .deferred
    }

    /// Where a kernel may be told of the unbind before what it awaits has ended.
    @inline(never)
    private func leave(to space: BackendSpacePointer, _ awaited: AwaitedEdges) -> UnbindSchedule {
        let offer = awaited.count == 0 ? nil : space.offer(self, awaiting: awaited.first)
        pointee.gate.commit(awaiting: awaited.count + (offer == nil ? 0 : 1))
        var isOpen = awaited.count == 0 || hangUp(awaited.first)
        if let offer, !space.take(offer), pointee.gate.complete() { isOpen = true }
        return isOpen ? .ready : .deferred
    }

    private func scheduleImmediate(leavesInvalidation: Bool) -> UnbindSchedule {
        let vm = pointee.vm
        let stats = vm.pointee.stats
        stats.pointee.unbindsImmediate &+= 1
        vm.pointee.pending.unreserve()
        if let stream = vm.pointee.stream { stream.recordUnbind(self, isPending: false) }
        let cleared = clear(invalidatesNext: !leavesInvalidation)
        if cleared.needsInvalidation, !leavesInvalidation {
            vm.invalidate(start: pointee.start, size: pointee.size)
        }
        // Nobody finds it any more to hold it; who does already, keeps it pending.
        if pointee.holds.load(ordering: .acquiring) == 1 {
            pointee.holds.store(0, ordering: .relaxed)
            stats.pointee.completedAtOnce &+= 1
            return .atOnce(entries: cleared.entries)
        }
        beginPending()
        return .immediate(entries: cleared.entries)
    }

    @inline(__always)
    private func publish(_ range: ClosedRange<UInt64>) {
        let vm = pointee.vm
        let stats = vm.pointee.stats
        beginPending()
        stats.pointee.unbindsDeferred &+= 1
        pointee.order = stats.pointee.unbindsDeferred
        vm.pointee.pending.publish(self, range)
        if let stream = vm.pointee.stream { stream.recordUnbind(self, isPending: true) }
    }

    @inline(__always)
    private func beginPending() {
        let vm = pointee.vm
        // The chain's own reference: dropped when the completed unbind is reaped.
        fence.retainByOwner()
        if !pointee.keepsPages { pointee.pages.retain() }
        let history = vm.pointee.history
        let now = vm.pointee.device.pointee.executor.approximateNow
        let pending = history.withLock {
            history.recordLocked(
                .unbindScheduled, start: pointee.start, size: pointee.size, boID: pointee.boID, time: now,
                isApproximate: true)
            let pending = vm.pointee.pendingCount.load(ordering: .relaxed) &+ 1
            vm.pointee.pendingCount.store(pending, ordering: .releasing)
            return pending
        }
        vm.pendingUnbindBegan(pending)
        vm.pointee.stats.pointee.pendingPeak = max(vm.pointee.stats.pointee.pendingPeak, UInt64(pending))
    }

    /// What is left to do for a scheduled unbind without the locks. The resource stays the caller's to drop. True if
    /// the unbind's power reference has become the caller's.
    /// - Locking: nothing may be held.
    @inline(__always)
    func follow(_ schedule: UnbindSchedule) -> Bool {
        let vm = pointee.vm
        let device = vm.pointee.device
        switch schedule {
        case .atOnce(let entries):
            // Time passes for the caller: it has done the backend's work itself.
            device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: entries))
            let holdsPower = pointee.holdsPower
            completeAtOnce(at: device.now)
            return holdsPower
        case .immediate(let entries):
            device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: entries))
            return dropHold(at: device.now, power: .toCaller)
        case .ready:
            vm.pointee.drain.makeReady(self, at: device.now)
            return false
        case .deferred: return false
        }
    }

    /// Of the edges to the users of the binding, those there is still something to wait for; the others go.
    @inline(__always)
    private func unsignalled(of users: AwaitPointer?) -> AwaitedEdges {
        var awaited = AwaitedEdges()
        var next = users
        while let user = next {
            next = user.pointee.next
            if user.pointee.fence.isSignalled {
                pointee.vm.pointee.device.free(user)
            } else {
                awaited.add(user)
            }
        }
        return awaited
    }

    private func addLastScheduled(to awaited: inout AwaitedEdges) {
        let vm = pointee.vm
        let memory = takeTimelineAwait()
        if let last = vm.pointee.pending.pointee.lastScheduled, !last.isSignalled {
            last.retain()
            let edge = memory.bindMemory(to: Await.self, capacity: 1)
            edge.initialize(to: Await(fence: last, function: unbindAwaitFired))
            awaited.add(edge)
        } else {
            vm.pointee.device.cache(.await).give(memory)
        }
        vm.pointee.pending.setLastScheduled(fence)
    }

    /// The gate counts all of them, so that it opens with the last. True if that was here: what it awaits has signalled
    /// meanwhile.
    @inline(__always)
    private func hangUp(_ edges: AwaitPointer?) -> Bool {
        var isOpen = false
        var next = edges
        while let edge = next {
            next = edge.pointee.next
            if edge.arm(for: UnsafeMutableRawPointer(self)) { continue }
            if pointee.gate.complete() { isOpen = true }
            pointee.vm.pointee.device.free(edge)
        }
        return isOpen
    }
}

/// What an unbind is going to await.
private struct AwaitedEdges {
    var first: AwaitPointer?
    var count: Int32 = 0

    @inline(__always)
    mutating func add(_ edge: AwaitPointer) {
        edge.pointee.next = first
        first = edge
        count &+= 1
    }
}

/// Something that a scheduled unbind awaited has signalled. An error it carries does not keep the unbind from
/// happening.
func unbindAwaitFired(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let resource = edge.pointee.waiter.assumingMemoryBound(to: VMAResource.self)
    let fence = fence.assumingMemoryBound(to: Fence.self)
    let vm = resource.pointee.vm
    // The work starts when what it awaited has signalled, which is now.
    let time = fence.pointee.timestamp
    vm.pointee.device.free(edge, on: fence)
    if resource.pointee.gate.complete() { vm.pointee.drain.makeReady(resource, at: time) }
}
