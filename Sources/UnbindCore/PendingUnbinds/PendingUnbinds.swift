// PendingUnbinds: the unbinds of one address space that have not finished (i915_address_space.pending_unbind).
//
// An unbind is published here before its range is handed out again, under the VM's lock, and a bind looks here under
// the same lock: that is all the order there is between an old and a new owner of a range. Leaving is different: a
// completed unbind is pushed on a list without any lock, and the next lookup takes it out. So completion never waits
// for a thread that holds the lock (P31), and a lookup must tolerate fences that have signalled (P15).
//
// - Locking: the VM's lock, but for `push`.

import Synchronization

struct PendingUnbinds: ~Copyable {
    fileprivate var index = IntervalIndex()
    /// The unbind scheduled last, with a reference: under the timeline policy the next one awaits it.
    fileprivate(set) var lastScheduled: FencePointer?
    /// Completed and still in the index; newest first. Each with the chain's reference.
    fileprivate let completed = Atomic<ResourcePointer?>(nil)

    init() {}
}

extension UnsafeMutablePointer where Pointee == PendingUnbinds {
    fileprivate var index: UnsafeMutablePointer<IntervalIndex> {
        // The index is the first member.
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: IntervalIndex.self)
    }

    /// From now on binds that overlap find it.
    func publish(_ resource: ResourcePointer) {
        resource.pointee.isPublished = true
        index.insert(resource.node)
    }

    /// The unbind that a later one is to come after, under the timeline policy.
    func setLastScheduled(_ fence: FencePointer?) {
        fence?.retain()
        pointee.lastScheduled?.drop()
        pointee.lastScheduled = fence
    }

    /// Hands over a completed unbind. Any thread, no lock.
    func push(_ resource: ResourcePointer) {
        var head = pointee.completed.load(ordering: .relaxed)
        while true {
            resource.pointee.next = head
            let result = pointee.completed.weakCompareExchange(
                expected: head, desired: resource, successOrdering: .releasing, failureOrdering: .relaxed)
            if result.exchanged { return }
            head = result.original
        }
    }

    /// Takes completed unbinds out of the index.
    func reap() {
        if pointee.completed.load(ordering: .relaxed) == nil { return }
        var next = pointee.completed.exchange(nil, ordering: .acquiring)
        while let resource = next {
            next = resource.pointee.next
            index.remove(resource.node)
            resource.fence.drop()
        }
    }

    /// At the end: everything has completed.
    func reapAll() {
        reap()
        setLastScheduled(nil)
        invariant(index.count == 0, "an address space was freed with unbinds in its index")
    }

    /// Calls body with each unfinished unbind that overlaps the range, until it answers false.
    func forEachUnfinished(overlapping range: ClosedRange<UInt64>, _ body: (ResourcePointer) -> Bool) {
        index.forEachOverlap(start: range.lowerBound, last: range.upperBound) { node in
            let resource = ResourcePointer(containing: node)
            return resource.fence.isSignalled ? true : body(resource)
        }
    }

    func firstUnfinished(overlapping range: ClosedRange<UInt64>) -> ResourcePointer? {
        var found: ResourcePointer?
        forEachUnfinished(overlapping: range) { resource in
            found = resource
            return false
        }
        return found
    }

    /// How many unfinished unbinds overlap the range, and the one that is sure to finish last, if there is such a one.
    ///
    /// That is the one scheduled last, if its own range covers the whole: what was bound there came after each of the
    /// others had been unbound, its bind waited for them, and its unbind waits for its bind. So a range that is bound
    /// again and again while the GPU stalls costs one edge each time, and not one for every unbind before.
    func unfinished(in range: ClosedRange<UInt64>) -> (count: UInt64, lastOfAll: ResourcePointer?) {
        var count: UInt64 = 0
        var latest: ResourcePointer?
        forEachUnfinished(overlapping: range) { resource in
            count += 1
            if latest == nil || resource.pointee.order > latest!.pointee.order { latest = resource }
            return true
        }
        guard let latest else { return (0, nil) }
        let node = latest.node.pointee
        let isCovering = node.start <= range.lowerBound && node.last >= range.upperBound
        return (count, isCovering ? latest : nil)
    }

    /// Unbinds in the index, finished or not.
    var publishedCount: Int { index.count }
}
