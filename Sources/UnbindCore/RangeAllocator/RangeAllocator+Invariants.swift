// RangeAllocator: the check of the whole structure. For tests.

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    /// The nodes in order fill the space with no overlap, every hole is owned and indexed, colors keep their distance.
    /// - Complexity: O(n log n).
    func checkInvariants() {
        let holes = bins.checkInvariants(unitShift: pointee.unitShift)
        if head.pointee.place == 0 {
            invariant(pointee.count == 0 && holes == 0, "a range allocator has nodes but no head")
            return
        }
        let nodes = index.checkInvariants()
        invariant(
            RangeSlot(of: head).leaf == index.firstLeaf && RangeSlot(of: head).position == 0,
            "the head of a range allocator is not first")
        invariant(head.pointee.start == pointee.start && head.pointee.size == 0, "the head of a range allocator moved")
        var count = 0
        var bytes: UInt64 = 0
        var holesSeen = 0
        var place: RangeNodePointer? = head
        while let node = place {
            let next = next(after: node)
            if node != head {
                count += 1
                bytes += node.pointee.size
                invariant(node.pointee.isAllocated && node.pointee.size > 0, "a node in a range allocator has no range")
            }
            let slot = RangeSlot(of: node)
            invariant(slot.node == node && slot.end == node.pointee.end, "the slot of a node is another's")
            invariant(node.pointee.end >= node.pointee.start, "a range wraps")
            invariant(slot.holeEnd >= slot.end, "a hole wraps")
            invariant(slot.holeEnd == next?.pointee.start ?? pointee.end, "a hole does not end at the next node")
            invariant(next == nil || previous(before: next!) == node, "the nodes of a range allocator are out of order")
            if slot.hole > 0 { holesSeen += 1 }
            if pointee.coloring, node != head, let next, next.pointee.color != node.pointee.color {
                invariant(slot.hole >= RangeAllocator.colorGap, "neighbours of different color are too near")
            }
            place = next
        }
        invariant(count == pointee.count && count + 1 == nodes, "a range allocator counted its nodes wrongly")
        invariant(bytes == pointee.allocatedBytes, "a range allocator counted its bytes wrongly")
        invariant(holes == (pointee.usesBins ? holesSeen : 0), "a hole is not in its bin, or an empty one is")
    }
}

extension UnsafeMutablePointer where Pointee == RangeIndex {
    /// Links, keys and counts agree, and no bound is too low.
    /// - Returns: how many nodes there are.
    func checkInvariants() -> Int {
        var nodes = 0
        var previous: RangeLeafPointer?
        var place: RangeLeafPointer? = firstLeaf
        while let leaf = place {
            invariant(leaf.pointee.previous == previous, "the leaves of a range index are not linked")
            invariant(leaf.count > 0 && leaf.count == leaf.pointee.used.nonzeroBitCount, "a leaf counted wrongly")
            for slot in 0..<RangeLeaf.capacity where leaf.pointee.used >> UInt32(slot) & 1 == 0 {
                invariant(leaf.holes[slot] == 0 && leaf.ends[slot] == .max, "an unused slot is not empty")
            }
            nodes += leaf.count
            previous = leaf
            place = leaf.pointee.next
        }
        if let root = pointee.root {
            invariant(root.pointee.base.parent == nil && root.count > 1, "the root of a range index is none")
            var leaf = firstLeaf
            check(root, from: &leaf)
            invariant(leaf.pointee.next == nil, "a leaf of a range index has no branch")
        } else {
            invariant(firstLeaf.pointee.base.parent == nil && firstLeaf.pointee.next == nil, "a root is missing")
        }
        return nodes
    }

    /// `leaf`: the first below the branch, and then the last.
    private func check(_ branch: RangeBranchPointer, from leaf: inout RangeLeafPointer) {
        invariant(branch.count > 0, "a branch of a range index is empty")
        for number in 0..<RangeBranch.capacity {
            if number >= branch.count {
                invariant(
                    branch.bounds(.none)[number] == -1 && branch.bounds(.pages64K)[number] == -1
                        && branch.bounds(.pages2M)[number] == -1, "a child that is not there has bounds")
                continue
            }
            if number > 0 { leaf = leaf.pointee.next! }
            let child = branch.child(number)
            invariant(
                child.pointee.parent == branch && child.pointee.index == Int32(number), "a child has another parent")
            invariant(branch.keys[number] == leaf.ends[leaf.slot(at: 0)], "a branch has the key of another node")
            let capacity: HoleCapacity
            if branch.pointee.hasLeaves {
                invariant(child.asLeaf == leaf, "the leaves of a range index are out of order")
                capacity = self.capacity(of: leaf)
            } else {
                check(child.asBranch, from: &leaf)
                capacity = self.capacity(of: child.asBranch)
            }
            invariant(
                capacity.unaligned <= branch.bounds(.none)[number]
                    && capacity.aligned64K <= branch.bounds(.pages64K)[number]
                    && capacity.aligned2M <= branch.bounds(.pages2M)[number], "a bound is too low")
        }
    }
}
