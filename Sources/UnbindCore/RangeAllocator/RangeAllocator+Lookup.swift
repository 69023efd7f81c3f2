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
        if address < pointee.start { return next(after: head) }
        return index.last(endingUpTo: address).next?.node
    }

    /// All that is free around an address of the space that no node has.
    /// - Complexity: O(log n).
    func hole(around address: UInt64) -> Range<UInt64> {
        if pointee.count == 0 { return pointee.start..<pointee.end }
        let owner = index.last(endingUpTo: address)
        return owner.end..<owner.holeEnd
    }

    /// The node with the next higher addresses.
    /// - Complexity: O(1).
    func next(after node: RangeNodePointer) -> RangeNodePointer? { RangeSlot(of: node).next?.node }

    /// The node with the next lower addresses; of the first one, the head.
    /// - Complexity: O(1).
    func previous(before node: RangeNodePointer) -> RangeNodePointer {
        guard let previous = RangeSlot(of: node).previous else {
            panic("a range lies before the head of its allocator")
        }
        return previous.node
    }

    /// What has anything in start..<end, in order of addresses.
    func nodes(from start: UInt64, to end: UInt64) -> RangeNodes {
        RangeNodes(allocator: self, next: firstNode(endingAfter: start), end: end)
    }

    /// Visits the nodes that are in the way of a range of that color: what has to go before `reserve` can take it.
    func nodesInTheWay(of start: UInt64, size: UInt64, color: UInt32) -> RangeNodes {
        let end = start.addingSaturating(size)
        if !pointee.coloring { return nodes(from: start, to: end) }
        let gap = RangeAllocator.colorGap
        return RangeNodes(
            allocator: self, next: firstNode(endingAfter: start.subtractingSaturating(gap)),
            end: end.addingSaturating(gap), request: RangeNodes.Request(start: start, end: end, color: color))
    }
}

/// Nodes in order of addresses. The one that `next` answered may be removed before the next call.
struct RangeNodes {
    struct Request {
        let start: UInt64
        let end: UInt64
        let color: UInt32
    }

    fileprivate let allocator: UnsafeMutablePointer<RangeAllocator>
    fileprivate var next: RangeNodePointer?
    fileprivate let end: UInt64
    /// Leaves out what does not reach into it and has its color.
    fileprivate var request: Request?

    /// - Complexity: O(1).
    mutating func nextNode() -> RangeNodePointer? {
        while let node = next, node.pointee.start < end {
            next = allocator.next(after: node)
            guard let request, node.pointee.color == request.color else { return node }
            if node.pointee.start < request.end && node.pointee.end > request.start { return node }
        }
        return nil
    }
}
