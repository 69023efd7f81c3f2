// UnbindDrain: the one piece of work that finishes the deferred unbinds of an address space.
//
// An unbind whose gate opens is pushed on a list; the first one submits the work item. When it runs, it takes all
// that are ready, clears their entries, invalidates the TLB once for all of them, and completes each. So neighbours
// in time share an invalidation, and one worker is enough for any number of pending unbinds.
//
// The steps take the time that the cost model says: clear -> (entries written) -> invalidate -> (TLB flushed) ->
// complete. On real time with costs of 0 they follow each other within one call.
//
// - Locking: takes the page-table and engine locks, never the VM's.
// - Signalling: all of it.

import Synchronization

struct UnbindDrain: ~Copyable {
    fileprivate enum Step { case take, clear, invalidate, complete }

    /// First, and plain; the VM outlives its drain.
    let vm: VMPointer
    fileprivate var item: WorkItem
    /// Only the running work item uses these: the batch in hand, oldest first, and which of it became ready last.
    fileprivate var step = Step.take
    fileprivate var batch: ResourcePointer?
    fileprivate var newest: ResourcePointer?
    /// Of the batch: an engine may remember a translation, or a table may be freed.
    fileprivate var needsInvalidation = false
    /// What is not needed is counted all the same, once for each batch.
    fileprivate var isInvalidationCounted = false
    /// Ready and not yet completed; newest first. Nil: the work item is at rest, and whoever pushes onto that submits it.
    /// What it takes stays at the end of the list until it rests: it finds those that came meanwhile before that. One
    /// word for all, so that no thread is ever seen between handing an unbind over and saying so.
    /// Onto nil only under the executor's lock, which submitting takes anyway.
    fileprivate let ready = Atomic<ResourcePointer?>(nil)

    /// Unbinds under one hold of a lock that other threads want, too.
    static var unbindsAtOnce: Int { 16 }
    /// Entries cleared under one, unless one unbind has more.
    fileprivate static var entriesAtOnce: Int { 2048 }

    static var itemOffset: Int { MemoryLayout<VMPointer>.size }

    init(vm: VMPointer) {
        self.vm = vm
        item = WorkItem(
            label: vm.pointee.id << 8 | WorkLabel.drain, context: UnsafeMutableRawPointer(vm.pointee.drain),
            function: vm.pointee.backendSpace == nil ? runDrain : feedBackend)
    }
}

/// The low byte of the label of the engine's work items, for the schedule's digest.
enum WorkLabel {
    static var drain: UInt64 { 1 }
    static var bind: UInt64 { 2 }
    /// Of a VM whose page tables a backend has.
    static var update: UInt64 { 5 }
    /// Of a buffer's, not a VM's.
    static var move: UInt64 { 3 }
    /// Of the device: no VM has the id 0.
    static var power: UInt64 { 4 }
    static var events: UInt64 { 5 }
}

extension UnsafeMutablePointer where Pointee == UnbindDrain {
    fileprivate var item: WorkItemPointer { memberPointer(of: self, at: UnbindDrain.itemOffset, as: WorkItem.self) }

    /// The unbind awaits nothing any more, as of `time`. Any thread; any lock below the executor's may be held.
    func makeReady(_ resource: ResourcePointer, at time: UInt64) {
        // Once it is on the list it may be completed, and all this be gone.
        while true {
            let head = pointee.ready.load(ordering: .relaxed)
            if head == nil {
                let executor = pointee.vm.pointee.device.pointee.executor
                if executor.submit(item, asOf: time, if: { pushFirst(resource) }) { return }
                continue
            }
            resource.setNext(head)
            let result = pointee.ready.weakCompareExchange(
                expected: head, desired: resource, successOrdering: .acquiringAndReleasing, failureOrdering: .relaxed)
            if result.exchanged { return }
        }
    }

    /// False if something is on the list already.
    /// - Locking: the executor's lock is held.
    @inline(__always)
    private func pushFirst(_ resource: ResourcePointer) -> Bool {
        if pointee.ready.load(ordering: .acquiring) != nil { return false }
        // The pending unbinds hold the VM. To give back power references the drain needs it longer.
        if pointee.vm.power != nil { pointee.vm.retain() }
        resource.setNext(nil)
        pointee.ready.store(resource, ordering: .releasing)
        return true
    }

    fileprivate func run(at time: UInt64) {
        let vm = pointee.vm
        let executor = vm.pointee.device.pointee.executor
        let gpu = vm.pointee.device.pointee.gpu
        let recordsStart = !gpu.hasUnbindCost
        #if DEBUG
            let isFlawed = vm.pointee.flaw == .signalsBeforeInvalidation
        #endif
        SignallingSection.begin()
        var time = time
        while true {
            var cost: UInt64 = 0
            switch pointee.step {
            case .take:
                takeBatch(after: nil)
                fallthrough
            case .clear:
                vm.pointee.stats.pointee.batches.add(1)
                let entries = clearBatch(at: time)
                cost = gpu.cost(ofEntries: entries)
                pointee.step = .invalidate
            case .invalidate:
                #if DEBUG
                    if isFlawed {
                        vm.retain()
                        pointee.newest!.fence.retain()
                        let batch = pointee.batch
                        pointee.batch = nil
                        vm.endUnbinds(batch, at: time, recordsStart: recordsStart)
                    }
                #endif
                cost = gpu.invalidationCost
                pointee.step = .complete
            case .complete:
                invalidateBatch()
                let batch = pointee.batch
                #if DEBUG
                    let newest = pointee.newest
                #endif
                // Rests before the batch is completed, so that the unbinds in it keep the VM, and none of them is at the
                // end of the list when it is gone. From here on another thread may run the drain; it has nothing to do
                // with this batch.
                let isAtRest = comesToRest()
                if vm.power != nil {
                    completeWithPower(batch, at: time)
                    if isAtRest {
                        SignallingSection.end()
                        vm.drop()
                        return
                    }
                } else {
                    vm.endUnbinds(batch, at: time, recordsStart: recordsStart)
                    #if DEBUG
                        if isFlawed {
                            newest!.fence.drop()
                            vm.drop()
                        }
                    #endif
                    if isAtRest {
                        SignallingSection.end()
                        return
                    }
                }
            }
            if cost > 0 {
                time = time.addingSaturating(cost)
                SignallingSection.end()
                executor.submit(item, at: time)
                return
            }
        }
    }

    /// What became ready after `previous`, the newest of the batch before, if there was one.
    @inline(__always)
    private func takeBatch(after previous: ResourcePointer?) {
        let newest = pointee.ready.load(ordering: .acquiring)
        pointee.newest = newest
        pointee.batch = inOrder(newest, after: previous)
    }

    /// A list of those that became ready, oldest first.
    @inline(__always)
    private func inOrder(_ newest: ResourcePointer?, after previous: ResourcePointer?) -> ResourcePointer? {
        var next = newest
        var batch: ResourcePointer?
        while let resource = next, resource != previous {
            next = resource.pointee.next
            resource.setNext(batch)
            batch = resource
        }
        return batch
    }

    /// True if nothing was made ready meanwhile: then whoever makes something ready submits the work item, and nothing
    /// here is ours any more. Else the next batch is in hand.
    private func comesToRest() -> Bool {
        let newest = pointee.newest
        pointee.step = .take
        pointee.batch = nil
        pointee.newest = nil
        let isAtRest = pointee.ready.compareExchange(
            expected: newest, desired: nil, successOrdering: .acquiringAndReleasing, failureOrdering: .relaxed
        ).exchanged
        if isAtRest { return true }
        takeBatch(after: newest)
        pointee.step = .clear
        return false
    }

    /// Changes with each that is made ready.
    var newestReady: ResourcePointer? { pointee.ready.load(ordering: .relaxed) }

    /// All that are ready, in the order in which they became so: for who goes on with them elsewhere. The work item is at
    /// rest then.
    func takeReady() -> ResourcePointer? {
        inOrder(pointee.ready.exchange(nil, ordering: .acquiringAndReleasing), after: nil)
    }

    @inline(__always)
    private func clearBatch(at time: UInt64) -> UInt64 {
        var entries: UInt64 = 0
        var needsInvalidation = false
        var next = pointee.batch
        let isOne = next?.pointee.next == nil
        // What takes no time has no beginning: unless it is held, only its end is recorded.
        let vm = pointee.vm
        let start = vm.pointee.device.pointee.gpu.hasUnbindCost || vm.power != nil ? time : nil
        let space = vm.pointee.space
        while next != nil {
            // One hold of the lock for several: passing it to and fro costs more than clearing a few entries.
            space.pointee.lock.acquire()
            var left = UnbindDrain.entriesAtOnce
            while let resource = next, left > 0 {
                let cleared = resource.clearLocked(startedAt: start, invalidatesNext: isOne)
                entries += cleared.entries
                left &-= Int(cleared.entries) &+ UnbindDrain.entriesAtOnce / UnbindDrain.unbindsAtOnce
                if cleared.needsInvalidation { needsInvalidation = true }
                next = resource.pointee.next
            }
            space.pointee.lock.release()
        }
        pointee.needsInvalidation = needsInvalidation
        pointee.isInvalidationCounted = isOne && !needsInvalidation
        return entries
    }

    private func invalidateBatch() {
        let vm = pointee.vm
        #if DEBUG
            if pointee.batch == nil { return vm.invalidate(start: 0, size: .max) }
        #endif
        if pointee.isInvalidationCounted { return }
        if !pointee.needsInvalidation { return vm.pointee.space.skipInvalidation() }
        var start = UInt64.max
        var end: UInt64 = 0
        var next = pointee.batch
        while let resource = next {
            start = min(start, resource.pointee.start)
            end = max(end, resource.pointee.start + resource.pointee.size)
            next = resource.pointee.next
        }
        vm.invalidate(start: start, size: end - start)
    }

    private func completeWithPower(_ batch: ResourcePointer?, at time: UInt64) {
        let vm = pointee.vm
        var powerReferences = 0
        var next = batch
        while let resource = next {
            next = resource.pointee.next
            if resource.dropHold(at: time, power: .toCaller) { powerReferences += 1 }
        }
        SignallingSection.end()
        for _ in 0..<powerReferences { vm.power?.put() }
        SignallingSection.begin()
    }
}

private func runDrain(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: UnbindDrain.self).run(at: time)
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// When this returns, no engine uses a translation that the page tables do not hold, and tables that were taken
    /// out of them before the call have been freed.
    func invalidate(start: UInt64, size: UInt64) {
        #if DEBUG
            if pointee.flaw == .dropsInvalidation { return }
        #endif
        pointee.device.pointee.gpu.invalidate(pointee.space, start: start, size: size)
        pointee.space.freeRetired()
    }
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// Takes the binding out of the page tables, or leaves it there if its VM is closed and nobody can walk them any
    /// more; if its entries were lost by a suspend, it is not there. Returns the number of entries cleared, and whether
    /// a TLB invalidation has to follow; one that is not needed is counted here, if it would come next.
    func clear(invalidatesNext: Bool) -> (entries: UInt64, needsInvalidation: Bool) {
        let space = pointee.vm.pointee.space
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        return clearLocked(startedAt: nil, invalidatesNext: invalidatesNext)
    }

    /// No time of the start: the unbind is over within the call.
    /// - Locking: the page tables' lock is held.
    @inline(__always)
    fileprivate func clearLocked(
        startedAt time: UInt64?, invalidatesNext: Bool
    ) -> (entries: UInt64, needsInvalidation: Bool) {
        let vm = pointee.vm
        if let time {
            vm.pointee.history.record(
                .unbindStarted, start: pointee.start, size: pointee.size, boID: pointee.boID, time: time)
        }
        // A closed VM takes no new job, so that 0 stays 0.
        if vm.isClosed, vm.pointee.jobsInFlight.load(ordering: .acquiring) == 0 {
            skipEntriesLocked()
            _ = vm.pointee.stats.pointee.skipped.wrappingAdd(1, ordering: .relaxed)
            return (0, true)
        }
        if let cleared = clearEntriesLocked(invalidatesNext: invalidatesNext) { return cleared }
        _ = vm.pointee.stats.pointee.skipped.wrappingAdd(1, ordering: .relaxed)
        return (0, true)
    }
}
