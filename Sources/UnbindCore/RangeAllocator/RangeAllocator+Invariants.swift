// RangeAllocator: the check of the whole structure. For tests.

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    /// The nodes in order fill the space with no overlap, every hole is owned and indexed, colors keep their distance.
    /// - Complexity: O(n log n).
    func checkInvariants() {
        let nodes = byAddress.checkInvariants()
        let holes = bySize.checkInvariants()
        if nodes == 0 {
            invariant(pointee.count == 0 && holes == 0, "a range allocator has nodes but no head")
            return
        }
        invariant(
            byAddress.leftmostNode() == HolesByAddress.links(of: head), "the head of a range allocator is not first")
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
            invariant(node.pointee.end >= node.pointee.start, "a range wraps")
            invariant(node.pointee.holeEnd >= node.pointee.end, "a hole wraps")
            invariant(
                node.pointee.holeEnd == next?.pointee.start ?? pointee.end, "a hole does not end at the next node")
            let hasHole = node.pointee.holeSize > 0
            invariant(hasHole == HolesBySize.links(of: node).isLinked, "a hole is not indexed, or an empty one is")
            if hasHole { holesSeen += 1 }
            if pointee.coloring, node != head, let next, next.pointee.color != node.pointee.color {
                invariant(
                    node.pointee.holeSize >= RangeAllocator.colorGap, "neighbours of different color are too near")
            }
            place = next
        }
        invariant(count == pointee.count && count + 1 == nodes, "a range allocator counted its nodes wrongly")
        invariant(bytes == pointee.allocatedBytes, "a range allocator counted its bytes wrongly")
        invariant(holesSeen == holes, "a range allocator indexes a hole that is not there")
    }
}
