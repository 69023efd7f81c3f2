// RangeAllocator: taking a range and giving it back (drm_mm_insert_node_in_range, drm_mm_reserve_node,
// drm_mm_remove_node).

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    /// Takes `size` bytes at a multiple of `alignment`, wholly inside lowest..<limit, and fills the node in. The node
    /// must not be allocated.
    /// - Failure: .invalid if size is 0, alignment no power of two, or limit below lowest; .noSpace if no hole fits;
    ///   .noMemory. Nothing has changed then.
    /// - Complexity: see RangeAllocator+Search.
    func insert(
        _ node: RangeNodePointer, size: UInt64, alignment: UInt64, color: UInt32, placement: Placement,
        from lowest: UInt64, to limit: UInt64
    ) throws(Status) {
        guard size > 0, isPowerOfTwo(alignment), lowest <= limit else { throw Status.invalid }
        enterHead()
        if placement == .best && !pointee.usesBins { startBins() }
        let request = RangeRequest(
            size: size, alignment: alignment, color: color, start: max(lowest, pointee.start),
            end: min(limit, pointee.end), fromTop: placement == .high)
        guard let found = findHole(for: request, placement: placement) else { throw Status.noSpace }
        let hole = found.owner.hole
        try take(node, start: found.start, size: size, color: color, after: found.owner)
        // The search for a place comes back here soon.
        if placement != .best { index.lowerBound(of: RangeSlot(of: node).leaf, afterLosing: hole) }
    }

    /// Takes exactly the bytes start..<start + size. The node must not be allocated.
    /// - Failure: .invalid if size is 0; .noSpace if any of it is taken, outside the space, or too near to a neighbour
    ///   of another color; .noMemory. Nothing has changed then.
    /// - Complexity: O(log n).
    func reserve(_ node: RangeNodePointer, start: UInt64, size: UInt64, color: UInt32) throws(Status) {
        guard size > 0 else { throw Status.invalid }
        let (end, overflow) = start.addingReportingOverflow(size)
        guard !overflow, start >= pointee.start, end <= pointee.end else { throw Status.noSpace }
        enterHead()
        let owner = index.last(endingUpTo: start)
        let request = RangeRequest(size: size, alignment: 1, color: color, start: start, end: end, fromTop: false)
        guard position(after: owner, for: request) != nil else { throw Status.noSpace }
        try take(node, start: start, size: size, color: color, after: owner)
    }

    /// Makes sure that the next `reserve` or `insert` does not fail with .noMemory, whatever is removed before it.
    /// - Failure: .noMemory.
    func reserveInsertion() throws(Status) { try index.reserveInsertions(1) }

    /// The same for the next so many; what is left over is given back by `endInsertions`.
    /// - Failure: .noMemory.
    func reserveInsertions(_ count: Int) throws(Status) { try index.reserveInsertions(count) }

    func endInsertions() { index.dropStandby() }

    /// Where `insert` would put a range; nil if there is no room.
    func freePlace(for request: RangeRequest, placement: Placement) -> UInt64? {
        enterHead()
        return findHole(for: request, placement: placement)?.start
    }

    /// Before it is freed, and when nothing is allocated.
    func dispose() { index.dropStandby() }

    /// Gives the node's range back.
    /// - Complexity: O(1) on average, O(log n) at most; as for a hole of HoleBins if it is large.
    func remove(_ node: RangeNodePointer) {
        invariant(node.pointee.isAllocated, "a range was removed that is not taken")
        invariant(pointee.candidates == 0, "a range was removed during a scan for what to evict")
        let place = RangeSlot(of: node)
        let position = place.position
        // The head comes before every other node.
        let owner =
            position > 0
            ? RangeSlot(place.leaf, place.leaf.slot(at: position &- 1)) : place.previous.unsafelyUnwrapped
        let (before, behind) = (owner.hole, place.hole)
        let size = node.pointee.size
        let hole = before &+ size &+ behind
        owner.leaf.holes[owner.slot] = hole
        if pointee.usesBins {
            let ownerNode = owner.node
            if behind > 0 { bins.remove(node, units: behind &>> pointee.unitShift) }
            if before > 0 { bins.remove(ownerNode, units: before &>> pointee.unitShift) }
            bins.insert(ownerNode, units: hole &>> pointee.unitShift)
        }
        // Not read from the leaf, whose ends may not be in the cache.
        let start = node.pointee.start &- before
        let capacity = HoleCapacity(from: start, to: start &+ hole, unitShift: pointee.unitShift)
        index.raiseBounds(of: owner.leaf.base, to: capacity)
        index.remove(place, at: position)
        node.pointee.isAllocated = false
        pointee.count &-= 1
        pointee.allocatedBytes &-= size
    }

    /// Gives the ranges of so many nodes back that follow each other.
    /// - Complexity: O(count) and a few instructions a node; else as `remove`.
    func removeRun(from first: RangeNodePointer, count: Int) {
        invariant(pointee.candidates == 0, "a range was removed during a scan for what to evict")
        let place = RangeSlot(of: first)
        // The head comes before every other node.
        let owner = place.previous.unsafelyUnwrapped
        let ownerNode = owner.node
        var run = RangeRun(leaf: place.leaf, position: place.position, left: count, end: owner.end)
        if pointee.usesBins, owner.hole > 0 { bins.remove(ownerNode, units: owner.hole &>> pointee.unitShift) }
        while run.left > 0 {
            if pointee.usesBins { removeHoles(of: run) }
            index.takeOut(&run)
        }
        let hole = run.end &- owner.end
        owner.leaf.holes[owner.slot] = hole
        if pointee.usesBins, hole > 0 { bins.insert(ownerNode, units: hole &>> pointee.unitShift) }
        let capacity = HoleCapacity(from: owner.end, to: run.end, unitShift: pointee.unitShift)
        index.raiseBounds(of: owner.leaf.base, to: capacity)
        index.settle(run)
        pointee.count &-= count
        pointee.allocatedBytes &-= run.bytes
    }

    /// Of those of the run that are in one leaf.
    private func removeHoles(of run: RangeRun) {
        for position in run.position..<Swift.min(run.position &+ run.left, run.leaf.count) {
            let place = RangeSlot(run.leaf, run.leaf.slot(at: position))
            if place.hole > 0 { bins.remove(place.node, units: place.hole &>> pointee.unitShift) }
        }
    }

    /// Only here is it certain that the allocator stays where it is.
    @inline(__always)
    private func enterHead() {
        if head.pointee.place != 0 { return }
        index.firstLeaf.insert(head, at: 0, end: pointee.start, hole: pointee.end &- pointee.start)
    }

    /// From the first search by size on, the bins know all holes. The present ones enter in order of addresses.
    @inline(never)
    private func startBins() {
        pointee.usesBins = true
        var next: RangeSlot? = RangeSlot(of: head)
        while let place = next {
            if place.hole > 0 { bins.insert(place.node, units: place.hole &>> pointee.unitShift) }
            next = place.next
        }
    }

    /// The range lies in the hole behind `owner`.
    @inline(__always)
    private func take(
        _ node: RangeNodePointer, start: UInt64, size: UInt64, color: UInt32, after owner: RangeSlot
    ) throws(Status) {
        invariant(!node.pointee.isAllocated, "a range was taken with a node that has one")
        invariant(pointee.candidates == 0, "a range was taken during a scan for what to evict")
        let end = start &+ size
        var (leaf, slot, position) = (owner.leaf, owner.slot, owner.position &+ 1)
        var ownerLeaf = leaf
        let isSplit = leaf.count == RangeLeaf.capacity
        if isSplit {
            let ownerNode = owner.node
            (leaf, position) = try index.makeRoom(behind: ownerNode, end: end)
            (ownerLeaf, slot) = (RangeSlot(of: ownerNode).leaf, RangeSlot(of: ownerNode).slot)
        }
        let hole = ownerLeaf.holes[slot]
        let before = start &- ownerLeaf.ends[slot]
        let behind = hole &- before &- size
        let ownerNode = ownerLeaf.nodes[slot].unsafelyUnwrapped
        if pointee.usesBins { bins.remove(ownerNode, units: hole &>> pointee.unitShift) }
        ownerLeaf.holes[slot] = before
        node.pointee.start = start
        node.pointee.size = size
        node.pointee.color = color
        node.pointee.isAllocated = true
        leaf.insert(node, at: position, end: end, hole: behind)
        if pointee.usesBins {
            if before > 0 { bins.insert(ownerNode, units: before &>> pointee.unitShift) }
            if behind > 0 { bins.insert(node, units: behind &>> pointee.unitShift) }
        }
        if isSplit {
            // The leaf is a new one, maybe; other holes only shrank.
            index.raiseBounds(
                of: leaf.base, to: HoleCapacity(from: end, to: end &+ behind, unitShift: pointee.unitShift))
        }
        pointee.count &+= 1
        pointee.allocatedBytes &+= size
    }
}
