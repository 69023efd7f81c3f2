// RangeAllocator: who has an address, and the nodes in order.

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    /// The node whose range the address is in.
    /// - Complexity: O(log n).
    func node(containing address: UInt64) -> RangeNodePointer? {
        guard let node = firstNode(endingAfter: address), node.pointee.start <= address else { return nil }
        return node
    }

    /// The lowest node that has anything at or above the address: where to start to visit what overlaps a range.
    /// - Complexity: O(log n).
    func firstNode(endingAfter address: UInt64) -> RangeNodePointer? {
        if pointee.count == 0 { return nil }
        let node = lastNode(startingUpTo: address)
        return node.pointee.isAllocated && node.pointee.end > address ? node : next(after: node)
    }

    /// The node with the next higher addresses.
    /// - Complexity: O(log n); O(1) on average over a whole walk.
    func next(after node: RangeNodePointer) -> RangeNodePointer? {
        HolesByAddress.links(of: node).neighbor(.right).map(HolesByAddress.node(of:))
    }

    /// The highest node that starts at or below the address; the head if there is none. The head must be in the tree.
    /// - Complexity: O(log n).
    func lastNode(startingUpTo address: UInt64) -> RangeNodePointer {
        var found = head
        var place = pointee.byAddress.root
        while let links = place {
            let node = HolesByAddress.node(of: links)
            // The head comes before a node that starts where it does.
            if node.pointee.start <= address {
                found = node
                place = links.pointee.right
            } else {
                place = links.pointee.left
            }
        }
        return found
    }
}
