// The end of an unbind: its holds go, with the last one its fence signals, its pages are let go, and it stops counting as
// pending. The order of these is what keeps the VM, whose last reference may be that of the pending unbinds.
//
// - Locking: holds, counts and the list of the completed belong to the history's lock. Ending never takes the VM's.
// - Signalling: all of it.

import Synchronization

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// Keeps the binding's pages and delays its unbind fence until `unhold`, for whoever wants to read what is bound
    /// there. False if the unbind has completed: there is nothing to look at any more.
    /// - Locking: the VM's lock, under which the resource was found.
    func hold() -> Bool {
        pointee.vm.pointee.history.withLock {
            let count = pointee.holds.load(ordering: .relaxed)
            if count == 0 { return false }
            pointee.holds.store(count + 1, ordering: .relaxed)
            return true
        }
    }

    /// Whether somebody holds an installed binding.
    /// - Locking: the VM's lock.
    var isHeld: Bool { pointee.holds.load(ordering: .acquiring) != 1 }

    /// Ends a hold. The last one completes the unbind, on this thread.
    /// - Locking: nothing may be held.
    func unhold() { _ = dropHold(at: pointee.vm.pointee.device.now, power: .later) }

    /// Scheduled, and not completed.
    var isUnbinding: Bool {
        let vm = pointee.vm
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        return pointee.isScheduled && !fence.isSignalled
    }

    /// The entries are cleared and no translation is left, or a hold has ended.
    /// True if that left the caller with a power reference to give back, when no lock is held and no signalling
    /// section is open.
    func dropHold(at time: UInt64, power: VMAResource.PowerEnd) -> Bool {
        if !endHold(at: time) { return false }
        let isCallers = pointee.holdsPower && power == .toCaller
        // First: the end of the unbind lets a close go on.
        if pointee.holdsPower, !isCallers { pointee.vm.power?.putLater() }
        complete(at: time)
        return isCallers
    }

    /// The last hold is gone: tells everybody, lets go of the pages, and leaves the index to the next lookup. The
    /// chain's reference goes with the index entry, so that no lookup meets freed memory (P15, P22).
    private func complete(at time: UInt64) {
        let vm = pointee.vm
        var completed = CompletedUnbinds()
        finish(at: time)
        completed.add(self)
        vm.pendingUnbindsEnded(completed)
    }

    /// True if it was the last hold; then the unbind counts as completed, and the history says so.
    @inline(__always)
    private func endHold(at time: UInt64) -> Bool {
        pointee.vm.pointee.history.withLock { endHoldLocked(at: time) }
    }

    /// - Locking: the history's lock is held.
    @inline(__always)
    private func endHoldLocked(at time: UInt64) -> Bool {
        let left = pointee.holds.load(ordering: .relaxed) - 1
        pointee.holds.store(left, ordering: .releasing)
        if left != 0 { return false }
        // Before the fence signals: whoever has seen that finds it counted.
        pointee.vm.pointee.stats.pointee.completed.add(1)
        recordLocked(.unbindCompleted, at: time)
        return true
    }

    /// The binding's own hold goes. If somebody else holds it, and with `recordsStart`, this is when the unbind started.
    /// - Locking: the history's lock is held.
    @inline(__always)
    fileprivate func endLocked(at time: UInt64, recordsStart: Bool) -> UnbindEnd {
        if recordsStart, pointee.holds.load(ordering: .relaxed) != 1 { recordLocked(.unbindStarted, at: time) }
        if !endHoldLocked(at: time) { return .isHeld }
        return endUnawaited(at: time) ? .isOver : .isUnfinished
    }

    /// The end of an unbind for which nobody waits: nobody has to be told, so it may be at once, with the history's
    /// lock held anyway. If false, `finish` is still to come.
    @inline(__always)
    private func endUnawaited(at time: UInt64) -> Bool {
        if !pointee.isPublished || pointee.vm.pointee.stream != nil || pointee.writtenIn == VMAResource.lost {
            return false
        }
        return fence.signalUnawaited(at: time) && pointee.pages.dropUnlessLast()
    }

    @inline(__always)
    fileprivate func finish(at time: UInt64) {
        let vm = pointee.vm
        let pages = pointee.pages
        if let stream = vm.pointee.stream, pointee.isPublished { stream.recordUnbindDone(self, at: time) }
        fence.signal(error: pointee.writtenIn == VMAResource.lost ? Status.lost.raw : 0, at: time)
        pages.drop()
    }

    /// The end of an unbind that was never pending: nobody holds it.
    /// - Locking: as dropHold; the caller keeps the VM.
    func completeAtOnce(at time: UInt64) {
        record(.unbindCompleted, at: time)
        let pages = pointee.keepsPages ? pointee.pages : nil
        fence.signalUnfound(at: time)
        pages?.drop()
    }

    private func record(_ operation: HistoryOperation, at time: UInt64) {
        pointee.vm.pointee.history.record(
            operation, start: pointee.start, size: pointee.size, boID: pointee.boID, time: time)
    }

    @inline(__always)
    private func recordLocked(_ operation: HistoryOperation, at time: UInt64) {
        pointee.vm.pointee.history.recordLocked(
            operation, start: pointee.start, size: pointee.size, boID: pointee.boID, time: time)
    }
}

/// What became of an unbind that let go of its own hold.
private enum UnbindEnd {
    /// The last hold completes it.
    case isHeld
    /// Completed; it still counts as pending.
    case isOver
    /// `finish` is to follow, with no lock held: somebody has to be told, or its pages end with it.
    case isUnfinished
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// The first pending unbind keeps the VM for all of them, and is work under way for all of them: what is the
    /// device's, all its threads share.
    /// - Parameter count: that of all pending unbinds now.
    @inline(__always)
    func pendingUnbindBegan(_ count: Int) {
        if count != 1 { return }
        pointee.device.workBegan()
        retain()
    }

    /// Ends unbinds whose entries are cleared and of which no translation is left, in this order; those that are held end
    /// later. For a device without power. With `recordsStart` those that are held start now.
    ///
    /// Ending one is a few instructions, and taking the history's lock from another thread as much again, several times
    /// over: so one hold of it is for some, up to the next that has something to do without it.
    ///
    /// The VM may be gone after this: whatever has not ended keeps it.
    /// - Locking: nothing may be held: callbacks run here.
    func endUnbinds(_ first: ResourcePointer?, at time: UInt64, recordsStart: Bool) {
        let history = pointee.history
        var completed = CompletedUnbinds()
        var next = first
        var left = 1
        while next != nil {
            var unfinished: ResourcePointer?
            history.withLock {
                var count = 0
                while let resource = next, unfinished == nil, count < UnbindDrain.unbindsAtOnce {
                    count &+= 1
                    next = resource.pointee.next
                    switch resource.endLocked(at: time, recordsStart: recordsStart) {
                    case .isHeld: break
                    case .isOver: completed.add(resource)
                    case .isUnfinished: unfinished = resource
                    }
                }
                if completed.count > 0 { left = countLocked(completed) }
            }
            completed = CompletedUnbinds()
            guard let unfinished else { continue }
            unfinished.finish(at: time)
            completed.add(unfinished)
        }
        if completed.count > 0 { return pendingUnbindsEnded(completed) }
        if left == 0 { lastPendingUnbindEnded() }
    }

    /// Whose fences have signalled. The VM may be gone after this.
    @inline(__always)
    fileprivate func pendingUnbindsEnded(_ completed: CompletedUnbinds) {
        if pointee.history.withLock({ countLocked(completed) }) == 0 { lastPendingUnbindEnded() }
    }

    /// They are pending no more. How many are still: if none, lastPendingUnbindEnded is to follow.
    /// - Locking: the history's lock is held.
    @inline(__always)
    private func countLocked(_ completed: CompletedUnbinds) -> Int {
        pointee.pending.push(completed)
        let left = pointee.pendingCount.load(ordering: .relaxed) &- completed.count
        pointee.pendingCount.store(left, ordering: .releasing)
        return left
    }

    @inline(never)
    private func lastPendingUnbindEnded() {
        let device = pointee.device
        drop()
        device.workEnded()
    }
}
