// RangeAllocator: taking a range and giving it back (drm_mm_insert_node_in_range, drm_mm_reserve_node,
// drm_mm_remove_node).

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    /// Takes `size` bytes at a multiple of `alignment`, wholly inside lowest..<limit, and fills the node in. The node
    /// must not be allocated.
    /// - Failure: .invalid if size is 0, alignment no power of two, or limit below lowest; .noSpace if no hole fits.
    ///   Nothing has changed then.
    /// - Complexity: see RangeAllocator+Search.
    func insert(
        _ node: RangeNodePointer, size: UInt64, alignment: UInt64, color: UInt32, placement: Placement,
        from lowest: UInt64, to limit: UInt64
    ) throws(Status) {
        guard size > 0, isPowerOfTwo(alignment), lowest <= limit else { throw Status.invalid }
        enterHead()
        let request = RangeRequest(
            size: size, alignment: alignment, color: color, start: max(lowest, pointee.start),
            end: min(limit, pointee.end), fromTop: placement == .high)
        guard let found = findHole(for: request, placement: placement) else { throw Status.noSpace }
        take(node, start: found.start, size: size, color: color, after: found.owner)
    }

    /// Takes exactly the bytes start..<start + size. The node must not be allocated.
    /// - Failure: .invalid if size is 0; .noSpace if any of it is taken, outside the space, or too near to a neighbour
    ///   of another color. Nothing has changed then.
    /// - Complexity: O(log n).
    func reserve(_ node: RangeNodePointer, start: UInt64, size: UInt64, color: UInt32) throws(Status) {
        guard size > 0 else { throw Status.invalid }
        let (end, overflow) = start.addingReportingOverflow(size)
        guard !overflow, start >= pointee.start, end <= pointee.end else { throw Status.noSpace }
        enterHead()
        let owner = lastNode(startingUpTo: start)
        let request = RangeRequest(size: size, alignment: 1, color: color, start: start, end: end, fromTop: false)
        guard position(after: owner, for: request) != nil else { throw Status.noSpace }
        take(node, start: start, size: size, color: color, after: owner)
    }

    /// Gives the node's range back.
    /// - Complexity: O(log n).
    func remove(_ node: RangeNodePointer) {
        invariant(node.pointee.isAllocated, "a range was removed that is not taken")
        invariant(pointee.candidates == 0, "a range was removed during a scan for what to evict")
        let links = HolesByAddress.links(of: node)
        guard let before = links.neighbor(.left) else { panic("a range lies before the head of its allocator") }
        let owner = HolesByAddress.node(of: before)
        if node.pointee.holeSize > 0 { bySize.remove(HolesBySize.links(of: node)) }
        if owner.pointee.holeSize > 0 { bySize.remove(HolesBySize.links(of: owner)) }
        owner.pointee.holeSize = node.pointee.holeEnd &- owner.pointee.end
        bySize.insert(HolesBySize.links(of: owner))
        // One after the other: a tree expects all sums but one to be up to date.
        byAddress.refresh(from: before)
        byAddress.remove(links)
        node.pointee.isAllocated = false
        pointee.count &-= 1
        pointee.allocatedBytes &-= node.pointee.size
    }

    /// Only here is it certain that the allocator stays where it is.
    private func enterHead() {
        if pointee.byAddress.root != nil { return }
        byAddress.insert(HolesByAddress.links(of: head))
        if head.pointee.holeSize > 0 { bySize.insert(HolesBySize.links(of: head)) }
    }

    /// The range lies in the hole behind `owner`.
    private func take(
        _ node: RangeNodePointer, start: UInt64, size: UInt64, color: UInt32, after owner: RangeNodePointer
    ) {
        invariant(!node.pointee.isAllocated, "a range was taken with a node that has one")
        invariant(pointee.candidates == 0, "a range was taken during a scan for what to evict")
        let holeEnd = owner.pointee.holeEnd
        bySize.remove(HolesBySize.links(of: owner))
        node.pointee.start = start
        node.pointee.size = size
        node.pointee.color = color
        node.pointee.isAllocated = true
        node.pointee.holeSize = holeEnd &- node.pointee.end
        owner.pointee.holeSize = start &- owner.pointee.end
        if owner.pointee.holeSize > 0 { bySize.insert(HolesBySize.links(of: owner)) }
        if node.pointee.holeSize > 0 { bySize.insert(HolesBySize.links(of: node)) }
        byAddress.insert(HolesByAddress.links(of: node), after: HolesByAddress.links(of: owner))
        pointee.count &+= 1
        pointee.allocatedBytes &+= size
    }
}
