// IntervalIndex: the check of a whole index. For tests.

extension UnsafeMutablePointer where Pointee == IntervalIndex {
    /// Links, bounds, sums and fill of all nodes, and that there are enough of them.
    func checkInvariants() {
        var (intervals, nodes) = (0, 0)
        if let root = pointee.root {
            invariant(root.pointee.parent == nil, "the root of an interval index has a parent")
            invariant(root.isLeaf || root.count >= 2, "the root of an interval index has a single child")
            check(root, from: 0, through: IndexWords.lastPage, &intervals, &nodes)
        }
        invariant(intervals == pointee.count, "an interval index counted its intervals wrongly")
        invariant(nodes == pointee.pool.inUse, "an interval index lost one of its nodes")
        invariant(nodes <= pointee.count / (IndexNode.leastSlots - 1) + 1, "an interval index has too many nodes")
        pointee.pool.checkInvariants()
    }

    /// All of the node's intervals start at the page `first`... `through`.
    private func check(
        _ node: IndexNodePointer, from first: UInt64, through last: UInt64, _ intervals: inout Int, _ nodes: inout Int
    ) {
        nodes += 1
        invariant(node.count == node.pointee.used.nonzeroBitCount, "a node counted its slots wrongly")
        invariant(
            node.pointee.parent == nil || node.count >= IndexNode.leastSlots, "a node has too few of its slots in use")
        invariant(node.pointee.greatestLast == node.computeGreatestLast(), "a node's greatest end is out of date")
        for slot in 0..<IndexNode.slots {
            let words = node[slot: slot]
            if node.pointee.used & (1 << UInt32(slot)) == 0 {
                invariant(words.start == IndexWords.free.start && words.last == 0, "a free slot is not marked as free")
                continue
            }
            let page = IndexWords.page(words.start)
            invariant(first <= page && page <= last, "a slot lies outside of its node's pages")
            if node.isLeaf {
                intervals += 1
                invariant(IndexWords.page(words.last) >= page, "an interval in an index is upside down")
                let place = UInt(bitPattern: node) | UInt(slot)
                invariant(node.interval(slot).pointee.place == place, "an interval does not know where it is")
                continue
            }
            let child = node.child(slot)
            invariant(slot > 0 || page == first, "a first child does not start where its parent does")
            invariant(slot < node.count, "the children of a node are not side by side")
            invariant(child.pointee.parent == node, "a child has another parent")
            invariant(child.pointee.level + 1 == node.pointee.level, "the leaves of an index are not level")
            let greatest = IndexWords.place(words.last)
            invariant(child.pointee.greatestLast == greatest, "a child's greatest end is out of date")
            let end = slot + 1 < node.count ? IndexWords.page(node.starts[slot + 1]) : last
            check(child, from: page, through: end, &intervals, &nodes)
        }
    }
}

extension IndexNodePool {
    /// There are as many nodes as the reservations need.
    func checkInvariants() {
        invariant(reserved == 0 || total > reserved / (IndexNode.leastSlots - 1), "a pool of nodes is too small")
        invariant(inUse <= total, "a pool gave away nodes that it does not have")
    }
}
