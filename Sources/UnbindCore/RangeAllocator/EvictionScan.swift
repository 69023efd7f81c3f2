// EvictionScan: what to evict to make room for a range (drm_mm_scan in drivers/gpu/drm/drm_mm.c).
//
// When `insert` finds no hole, its caller offers ranges that it could do without, the least recently used first. The
// scan counts each as free, and says when the free space around one of them has room for the request. Then the caller
// takes every range back, in any order, and learns of each whether it must go. With these removed, `reserve` takes
// `place`, whatever the colors of the neighbours that stay.
//
// Only marks in the nodes change, and the marks of neighbours that were offered are joined to runs, each end of which
// knows the other. So an offer costs O(1), however many neighbours were offered before it.
//
// - Locking: as for the allocator, from the first offer until the last range is taken back. Until then nothing can be
//   taken or removed.

struct EvictionScan {
    private let allocator: UnsafeMutablePointer<RangeAllocator>
    private let request: RangeRequest
    private let placement: Placement
    private var isOver = false

    /// Where the request fits, once there is room.
    private(set) var place: UInt64?

    /// Begins a scan. The arguments are those of `insert`, and valid.
    ///
    /// `low` and `high` take the lowest and the highest place in the first run that has room, whatever that evicts.
    /// `best` takes the place for which the fewest have to go, and of such the lowest.
    init(
        _ allocator: UnsafeMutablePointer<RangeAllocator>, size: UInt64, alignment: UInt64, color: UInt32,
        placement: Placement, from lowest: UInt64, to limit: UInt64
    ) {
        invariant(size > 0 && isPowerOfTwo(alignment), "a scan for what to evict has a bad request")
        self.allocator = allocator
        self.placement = placement
        request = RangeRequest(
            size: size, alignment: alignment, color: color, start: max(lowest, allocator.pointee.start),
            end: min(limit, allocator.pointee.end), fromTop: placement == .high)
    }

    /// Counts the node's range as free. True if that makes room for the request: nothing more can be offered then.
    /// - Complexity: O(1); O(number of neighbours offered) for the one that makes room, with `best`.
    mutating func add(_ node: RangeNodePointer) -> Bool {
        invariant(node.pointee.isAllocated && !node.pointee.isCandidate, "a scan was offered what it cannot evict")
        invariant(place == nil && !isOver, "a scan for what to evict was offered more after it was over")
        let before = allocator.previous(before: node)
        let after = allocator.next(after: node)
        var first = node
        var last = node
        if before.pointee.isCandidate { first = before.pointee.otherEnd! }
        if let after, after.pointee.isCandidate { last = after.pointee.otherEnd! }
        first.pointee.otherEnd = last
        last.pointee.otherEnd = first
        node.pointee.isCandidate = true
        allocator.pointee.candidates &+= 1

        let left = first == node ? before : allocator.previous(before: first)
        let right = last == node ? after : allocator.next(after: last)
        place = allocator.position(between: left, and: right, for: request)
        if place != nil && placement == .best { place = cheapestPlace(between: left, and: right) }
        return place != nil
    }

    /// Something that was added has not been taken back.
    var hasCandidates: Bool { allocator.pointee.candidates != 0 }

    /// Takes the node out of the scan again. True if it has to go to make room.
    /// - Complexity: O(1).
    mutating func remove(_ node: RangeNodePointer) -> Bool {
        invariant(node.pointee.isCandidate, "a range was taken back from a scan that does not have it")
        isOver = true
        node.pointee.isCandidate = false
        allocator.pointee.candidates &-= 1
        guard let place else { return false }
        let isApart = allocator.pointee.coloring && node.pointee.color != request.color
        let gap = isApart ? RangeAllocator.colorGap : 0
        return node.pointee.start < (place &+ request.size).addingSaturating(gap)
            && node.pointee.end.addingSaturating(gap) > place
    }

    /// Of all pairs of nodes with room between them, one with the fewest others in between.
    private func cheapestPlace(between first: RangeNodePointer, and last: RangeNodePointer?) -> UInt64? {
        var cheapest: UInt64?
        var fewest = Int.max
        var left = first
        var right = allocator.next(after: left)
        var between = 0
        while true {
            // What has room between them has it between `left` and any node further to the right.
            while true {
                if let place = allocator.position(between: left, and: right, for: request) {
                    if between < fewest { (cheapest, fewest) = (place, between) }
                    break
                }
                guard right != last, let node = right else { return cheapest }
                right = allocator.next(after: node)
                between &+= 1
            }
            guard let next = allocator.next(after: left), next != last else { return cheapest }
            left = next
            if right == left {
                right = allocator.next(after: left)
            } else {
                between &-= 1
            }
        }
    }
}
