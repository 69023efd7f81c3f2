// PendingUnbinds: the unbinds of one address space that have not finished (i915_address_space.pending_unbind).
//
// An unbind is published here before its range is handed out again, under the VM's lock, and a bind looks here under
// the same lock: that is all the order there is between an old and a new owner of a range. Leaving is different: a
// completed unbind is put on a list without that lock, and the next thread that holds it takes it out. So completion
// never waits for a thread that holds the lock (P31), and a lookup must tolerate fences that have signalled (P15).
//
// - Locking: the VM's lock, but for `push`. The list of the completed belongs to the history's lock.

import Synchronization

struct PendingUnbinds: ~Copyable {
    fileprivate var index: IntervalIndex
    /// The unbind scheduled last, with a reference: under the timeline policy the next one awaits it.
    fileprivate(set) var lastScheduled: FencePointer?
    /// Completed and still in the index; newest first. Each with the chain's reference.
    fileprivate let completed = Atomic<ResourcePointer?>(nil)
    fileprivate let history: HistoryPointer
    #if DEBUG
        /// Somebody relies on the chain's references.
        fileprivate var isLent = false
    #endif

    init(memory: UnsafeMutablePointer<Memory>, history: HistoryPointer) {
        index = IntervalIndex(memory: memory)
        self.history = history
    }
}

/// Unbinds that have completed and do not count as such yet.
struct CompletedUnbinds {
    fileprivate(set) var count = 0
    /// Of them, those in the index, newest first. Each with the chain's reference.
    private var first: ResourcePointer?
    private var last: ResourcePointer?

    @inline(__always)
    init() {}

    /// Takes over the chain's reference.
    @inline(__always)
    mutating func add(_ resource: ResourcePointer) {
        count &+= 1
        if !resource.pointee.isPublished { return resource.fence.drop() }
        resource.setNext(first)
        if first == nil { last = resource }
        first = resource
    }

    @inline(__always)
    fileprivate func put(on list: borrowing Atomic<ResourcePointer?>) {
        guard let last else { return }
        last.setNext(list.load(ordering: .relaxed))
        list.store(first, ordering: .releasing)
    }
}

extension UnsafeMutablePointer where Pointee == PendingUnbinds {
    fileprivate var index: UnsafeMutablePointer<IntervalIndex> {
        // The index is the first member.
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: IntervalIndex.self)
    }

    /// From now on the caller relies on the chain's references: nothing may be reaped until `endLending`.
    @inline(__always)
    func lend() {
        #if DEBUG
            pointee.isLent = true
        #endif
    }

    @inline(__always)
    func endLending() {
        #if DEBUG
            pointee.isLent = false
        #endif
    }

    /// Makes sure that one more unbind can be published. False, and nothing changes, if there is no memory.
    @inline(__always)
    func reserve() -> Bool {
        // Those that have completed have reservations still.
        if index.isFullyReserved { reap() }
        return index.reserve()
    }

    /// One that was reserved will not be published.
    @inline(__always)
    func unreserve() { index.unreserve() }

    /// From now on binds that overlap the range find it. Was reserved.
    func publish(_ resource: ResourcePointer, _ range: ClosedRange<UInt64>) {
        resource.set(.isPublished)
        index.insert(resource.node, start: range.lowerBound, last: range.upperBound)
    }

    /// The unbind that a later one is to come after, under the timeline policy.
    func setLastScheduled(_ fence: FencePointer?) {
        fence?.retain()
        pointee.lastScheduled?.drop()
        pointee.lastScheduled = fence
    }

    /// Hands over completed unbinds.
    /// - Locking: the history's lock is held; no other is needed.
    @inline(__always)
    func push(_ unbinds: CompletedUnbinds) { unbinds.put(on: pointee.completed) }

    /// Takes completed unbinds out of the index.
    func reap() {
        if pointee.completed.load(ordering: .relaxed) == nil { return }
        remove(pointee.history.withLock { takeCompleted() })
    }

    /// As reap, when a record is made: one hold of the history's lock is enough for both.
    @inline(__always)
    func reap(
        recording operation: HistoryOperation, of binding: Binding, boID: UInt64, time: UInt64,
        isApproximate: Bool = false
    ) {
        let history = pointee.history
        let completed = history.withLock {
            history.recordLocked(
                operation, start: binding.start, size: binding.size, boID: boID, time: time,
                isApproximate: isApproximate)
            return takeCompleted()
        }
        remove(completed)
    }

    /// - Locking: the history's lock is held.
    @inline(__always)
    private func takeCompleted() -> ResourcePointer? {
        let first = pointee.completed.load(ordering: .relaxed)
        if first != nil { pointee.completed.store(nil, ordering: .relaxed) }
        return first
    }

    @inline(__always)
    private func remove(_ completed: ResourcePointer?) {
        #if DEBUG
            invariant(!pointee.isLent, "unbinds were reaped while a bind relied on their references")
        #endif
        var next = completed
        while let resource = next {
            next = resource.pointee.next
            index.remove(resource.node)
            index.unreserve()
            resource.dropLocked()
        }
    }

    /// At the end: everything has completed.
    func reapAll() {
        reap()
        setLastScheduled(nil)
        invariant(index.count == 0, "an address space was freed with unbinds in its index")
    }

    /// Gives the memory back. After reapAll.
    func dispose() { index.dispose() }

    /// Calls body with each unfinished unbind that overlaps the range, and whether it covers all of that, until it
    /// answers false. In no order that means anything, but in the same one every time.
    @inline(__always)
    func forEachUnfinished(
        overlapping range: ClosedRange<UInt64>, _ body: (ResourcePointer, _ covers: Bool) -> Bool
    ) {
        index.forEachOverlap(start: range.lowerBound, last: range.upperBound) { node, covers in
            let resource = ResourcePointer(containing: node)
            return resource.fence.isSignalled ? true : body(resource, covers)
        }
    }

    func firstUnfinished(overlapping range: ClosedRange<UInt64>) -> ResourcePointer? {
        var found: ResourcePointer?
        forEachUnfinished(overlapping: range) { resource, _ in
            found = resource
            return false
        }
        return found
    }

    /// The unfinished unbinds that a bind of the range has to come after.
    @inline(__always)
    func unfinished(in range: ClosedRange<UInt64>) -> UnfinishedUnbinds {
        var unbinds = UnfinishedUnbinds(range: range)
        forEachUnfinished(overlapping: range) { resource, covers in
            unbinds.add(resource, covers: covers)
            return true
        }
        return unbinds
    }

    /// Calls body with each unbind that has to be awaited for all of them to be.
    @inline(__always)
    func forEachToAwait(of unbinds: borrowing UnfinishedUnbinds, _ body: (ResourcePointer) -> Void) {
        let first = unbinds.firstToAwait
        if unbinds.count > UnfinishedUnbinds.capacity {
            forEachUnfinished(overlapping: unbinds.range) { resource, _ in
                if resource.pointee.order >= first { body(resource) }
                return true
            }
            return
        }
        for place in 0..<unbinds.count {
            if first != 0, unbinds[place].pointee.order < first { continue }
            body(unbinds[place])
        }
    }

    /// Unbinds in the index, finished or not.
    var publishedCount: Int { index.count }
}
