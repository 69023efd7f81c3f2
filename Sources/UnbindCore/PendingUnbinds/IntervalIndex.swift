// IntervalIndex: which unfinished unbinds overlap a range (lib/interval_tree.c, include/linux/interval_tree_generic.h).
//
// A B+-tree of closed intervals of whole pages, below 2^48, by where they start; each inner node knows the greatest end
// below each of its children, so that a search passes by every subtree that ends too early. Intervals may overlap, nest
// and be equal. The nodes are wide (IndexNode), because a million pending unbinds are a matter of memory latency.
//
// What is in the index embeds an IntervalNode, which says where: so removing needs no search. Inserting cannot fail:
// the nodes that it may need are reserved before (IndexNodePool), removing needs none. An index may not be moved.
//
// - Locking: the caller holds the VM lock, for lookups too.

typealias IntervalNodePointer = UnsafeMutablePointer<IntervalNode>

/// What is embedded in the owner of an interval. 8 bytes, at an address that is a multiple of 8. It must not move while
/// it is in an index.
struct IntervalNode {
    /// The leaf's address, and the slot in its lower bits; 0 in no index.
    var place: UInt = 0

    static var slotMask: UInt { UInt(IndexNode.alignment - 1) }
}

struct IntervalIndex: ~Copyable {
    /// Nil before the first insertion.
    var root: IndexNodePointer?
    /// How many intervals are in it.
    fileprivate(set) var count = 0
    var pool: IndexNodePool

    init(memory: UnsafeMutablePointer<Memory>) { pool = IndexNodePool(memory: memory) }
}

extension UnsafeMutablePointer where Pointee == IntervalNode {
    /// Whether it is in an index.
    var isInserted: Bool { pointee.place != 0 }

    /// The whole pages that it was inserted for. It must be in an index.
    var range: ClosedRange<UInt64> {
        invariant(isInserted, "a node that is in no interval index was asked for its range")
        let leaf = IndexNodePointer(bitPattern: pointee.place & ~IntervalNode.slotMask).unsafelyUnwrapped
        let words = leaf[slot: Int(pointee.place & IntervalNode.slotMask)]
        return IndexWords.page(words.start) * pageSize...(IndexWords.page(words.last) + 1) * pageSize - 1
    }
}

extension UnsafeMutablePointer where Pointee == IntervalIndex {
    var count: Int { pointee.count }

    // MARK: Reserving

    /// Makes sure that one more interval can be inserted. False, and nothing changes, if there is no memory.
    /// - Signalling: allocates.
    @inline(__always)
    func reserve() -> Bool { pointee.pool.reserve() }

    /// The next reservation needs memory.
    @inline(__always)
    var isFullyReserved: Bool { pointee.pool.isFullyReserved }

    /// Takes a reservation back; its interval must not be in the index (any more).
    @inline(__always)
    func unreserve() { pointee.pool.unreserve() }

    /// Gives all memory back; everything must have been removed.
    func dispose() {
        invariant(pointee.count == 0, "an interval index was disposed of with intervals in it")
        pointee.pool.dispose()
    }

    // MARK: Changing

    /// The node must be in no index, reserved for, and stay where it is until it is removed.
    /// - Complexity: O(log n).
    func insert(_ node: IntervalNodePointer, start: UInt64, last: UInt64) {
        let (startPage, lastPage) = (start / pageSize, last / pageSize)
        invariant(start <= last && lastPage <= IndexWords.lastPage, "an interval is upside down, or out of all range")
        invariant(!node.isInserted, "a node was inserted into an interval index while it was in one")
        invariant(pointee.count < pointee.pool.reserved, "an interval was inserted that was not reserved")
        let words = IndexWords(startPage: startPage, lastPage: lastPage, of: UnsafeMutableRawPointer(node))
        invariant(words.pointer == UnsafeMutableRawPointer(node), "a node is where an interval index cannot point to")
        var place = pointee.root ?? makeRoot()
        let below = IndexWords.word(page: startPage + 1)
        while !place.isLeaf {
            // The first child starts where its parent does, so that there is always one.
            place = place.child(place.countStarting(below: below) - 1)
        }
        if place.isFull { place = split(place, toInsertAt: startPage) }
        if place.put(words) { raiseGreatestLast(from: place) }
        pointee.count &+= 1
    }

    /// The node must be in this index.
    /// - Complexity: O(1) most of the time, O(log n) always.
    func remove(_ node: IntervalNodePointer) {
        invariant(node.isInserted, "a node was removed from an interval index while it was in none")
        let leaf = IndexNodePointer(bitPattern: node.pointee.place & ~IntervalNode.slotMask).unsafelyUnwrapped
        let slot = Int(node.pointee.place & IntervalNode.slotMask)
        let last = IndexWords.place(leaf.lasts[slot])
        node.pointee.place = 0
        leaf.clear(slot)
        pointee.count &-= 1
        if last == leaf.pointee.greatestLast { lowerGreatestLast(from: leaf) }
        if leaf.pointee.count < IndexNode.leastSlots { refill(leaf) }
    }

    private func makeRoot() -> IndexNodePointer {
        let root = pointee.pool.take()
        root.initialize(level: 0)
        pointee.root = root
        return root
    }

    /// Of a node that got a slot which ends later than all others in it.
    private func raiseGreatestLast(from start: IndexNodePointer) {
        var node = start
        let last = node.pointee.greatestLast
        while let parent = node.pointee.parent {
            parent.setLast(last, at: parent.slot(of: node))
            if parent.pointee.greatestLast >= last { return }
            parent.pointee.greatestLast = last
            node = parent
        }
    }

    /// Of a node that lost the slot which ended last.
    private func lowerGreatestLast(from start: IndexNodePointer) {
        var node = start
        while true {
            let last = node.computeGreatestLast()
            if last == node.pointee.greatestLast { return }
            node.pointee.greatestLast = last
            guard let parent = node.pointee.parent else { return }
            parent.setLast(last, at: parent.slot(of: node))
            node = parent
        }
    }
}
