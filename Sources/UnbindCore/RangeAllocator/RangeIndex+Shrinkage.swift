// RangeIndex: taking a node out. Leaves and branches that are nearly empty are joined to their neighbours: nothing is
// allocated, and memory goes back to the cache.

/// Nodes that follow each other and are being taken out.
struct RangeRun {
    /// Of the next one.
    var leaf: RangeLeafPointer
    var position: Int
    /// How many are still there.
    var left: Int
    /// Of the hole behind the last that was taken out.
    var end: UInt64
    var bytes: UInt64 = 0
    /// Leaves that have lost some, with what lies before the run, and with what lies behind it.
    var firstLeaf: RangeLeafPointer?
    var lastLeaf: RangeLeafPointer?

    init(leaf: RangeLeafPointer, position: Int, left: Int, end: UInt64) {
        self.leaf = leaf
        self.position = position
        self.left = left
        self.end = end
    }
}

extension UnsafeMutablePointer where Pointee == RangeIndex {
    /// Fewer than this, and a leaf or branch joins a neighbour, if both fit into one with room to spare.
    private var fewest: Int { 5 }
    private var mostAfterJoin: Int { 12 }

    /// The node's hole is some other node's already.
    @inline(__always)
    func remove(_ place: RangeSlot, at position: Int) {
        let leaf = place.leaf
        leaf.remove(place.slot, at: position)
        if position == 0 || leaf.count < fewest { settle(leaf, firstHasChanged: position == 0) }
    }

    /// Takes the nodes of a run out that are in one leaf, and moves on to the next. A leaf that this leaves empty goes
    /// at once, the others stay as they are until `settle`.
    func takeOut(_ run: inout RangeRun) {
        let leaf = run.leaf
        let position = run.position
        let count = Swift.min(run.left, leaf.count &- position)
        invariant(count > 0, "a run of ranges goes on behind the last")
        let (ends, holes) = (leaf.ends, leaf.holes)
        let shift = UInt64(truncatingIfNeeded: position &* 4)
        var order = leaf.pointee.order &>> shift
        var used = leaf.pointee.used
        for _ in 0..<count {
            let slot = Int(truncatingIfNeeded: order & 15)
            let node = leaf.nodes[slot].unsafelyUnwrapped
            invariant(node.pointee.isAllocated, "a range was removed that is not taken")
            node.pointee.isAllocated = false
            run.bytes &+= node.pointee.size
            run.end = ends[slot] &+ holes[slot]
            ends[slot] = .max
            holes[slot] = 0
            used &= ~(1 &<< UInt32(truncatingIfNeeded: slot))
            order = order &>> 4
        }
        leaf.pointee.used = used
        leaf.pointee.order = leaf.pointee.order & ((1 &<< shift) &- 1) | order &<< shift
        leaf.pointee.base.count &-= Int32(truncatingIfNeeded: count)
        run.left &-= count
        if let next = leaf.pointee.next { run.leaf = next }
        run.position = 0
        if leaf.count == 0 {
            free(leaf)
        } else if position > 0 {
            run.firstLeaf = leaf
        } else {
            run.lastLeaf = leaf
        }
    }

    /// After the last of a run: only at its ends can there be leaves that are nearly empty.
    func settle(_ run: RangeRun) {
        if let leaf = run.lastLeaf { settle(leaf, firstHasChanged: true) }
        // May have taken in the other one.
        if let leaf = run.firstLeaf, leaf.count < fewest { settle(leaf, firstHasChanged: false) }
    }

    @inline(never)
    private func settle(_ leaf: RangeLeafPointer, firstHasChanged: Bool) {
        if leaf.count == 0 {
            free(leaf)
            return
        }
        if firstHasChanged { updateKey(of: leaf.base, to: leaf.ends[leaf.slot(at: 0)]) }
        if leaf.count >= fewest { return }
        if let next = leaf.pointee.next, leaf.count &+ next.count <= mostAfterJoin {
            join(leaf, next)
        } else if let previous = leaf.pointee.previous, leaf.count &+ previous.count <= mostAfterJoin {
            join(previous, leaf)
        }
    }

    private func join(_ leaf: RangeLeafPointer, _ next: RangeLeafPointer) {
        move(from: next, behind: 0, to: leaf)
        raiseBounds(of: leaf.base, to: capacity(of: leaf))
        free(next)
    }

    /// Of an empty leaf, which is not the first.
    private func free(_ leaf: RangeLeafPointer) {
        guard let previous = leaf.pointee.previous else { panic("a range index lost its first leaf") }
        previous.pointee.next = leaf.pointee.next
        leaf.pointee.next?.pointee.previous = previous
        removeChild(leaf.base)
        leaf.deinitialize(count: 1)
        pointee.cache.give(UnsafeMutableRawPointer(leaf))
    }

    private func removeChild(_ child: RangeChildPointer) {
        guard let parent = child.pointee.parent else { panic("the root of a range index is empty") }
        let index = Int(child.pointee.index)
        let count = parent.count &- 1
        for index in index..<count { parent.copyChild(index &+ 1, to: index, of: parent) }
        parent.clearBounds(count)
        parent.pointee.base.count &-= 1
        if count == 0 {
            free(parent)
            return
        }
        if index == 0 { updateKey(of: parent.base, to: parent.keys[0]) }
        if count >= fewest { return }
        guard let above = parent.pointee.base.parent else {
            dropIdleRoots()
            return
        }
        let place = Int(parent.pointee.base.index)
        if place &+ 1 < above.count, above.child(place &+ 1).asBranch.count &+ count <= mostAfterJoin {
            join(parent, above.child(place &+ 1).asBranch)
        } else if place > 0, above.child(place &- 1).asBranch.count &+ count <= mostAfterJoin {
            join(above.child(place &- 1).asBranch, parent)
        }
    }

    private func join(_ branch: RangeBranchPointer, _ next: RangeBranchPointer) {
        move(from: next, behind: 0, to: branch)
        raiseBounds(of: branch.base, to: capacity(of: branch))
        free(next)
    }

    /// Of an empty branch, which is not the root.
    private func free(_ branch: RangeBranchPointer) {
        removeChild(branch.base)
        branch.deinitialize(count: 1)
        pointee.cache.give(UnsafeMutableRawPointer(branch))
    }

    /// A root with one child only is none.
    private func dropIdleRoots() {
        while let root = pointee.root, root.count == 1 {
            let child = root.child(0)
            child.pointee.parent = nil
            pointee.root = root.pointee.hasLeaves ? nil : child.asBranch
            root.deinitialize(count: 1)
            pointee.cache.give(UnsafeMutableRawPointer(root))
        }
    }

    /// Tells the branches above that the first node below `child` is another.
    private func updateKey(of child: RangeChildPointer, to key: UInt64) {
        var child = child
        while let parent = child.pointee.parent {
            parent.keys[Int(child.pointee.index)] = key
            if child.pointee.index != 0 { return }
            child = parent.base
        }
    }
}
