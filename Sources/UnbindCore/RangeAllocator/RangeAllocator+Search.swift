// RangeAllocator: the search for a hole.
//
// All three placements are one walk: through the holes in order of addresses, upwards or downwards, or in order of
// sizes. The sums let the walk pass by all holes that are too small at an alignment of 1, 64 KiB or 2 MiB, in O(log n)
// a step. What they do not know is alignments between these, the colors of neighbours, and, in order of sizes, where a
// hole lies.
//
// Guarantees:
//   - A hole is found if there is one.
//   - Without coloring, and with an alignment of up to 4 KiB (all ranges being pages), 64 KiB or 2 MiB, `low` and
//     `high` take O(log n) and give the lowest and the highest place within any limits, and `best` gives the smallest
//     hole, and of these the lowest, within the whole space.
//   - Otherwise the same, if it is among the first 64 holes that the sums let pass. If not, the walk goes on to the
//     next hole that fits for certain, whatever its colors and alignment: O(log n), and maybe not the very best place.
//     `best` with narrow limits takes the lowest place then. Only when no hole fits for certain does the walk try one
//     by one all that may fit.

/// What a hole must hold. start..<end lies inside the space; empty if end is not above start.
struct RangeRequest {
    let size: UInt64
    let alignment: UInt64
    let color: UInt32
    let start: UInt64
    let end: UInt64
    /// Where in the hole: at its end.
    let fromTop: Bool
}

/// Lets pass the holes that have `size` bytes at an alignment.
struct HoleFilter {
    let alignment: HoleAlignment
    let size: UInt64

    /// Every hole that fits passes.
    init(necessaryFor request: RangeRequest) {
        size = request.size
        alignment =
            request.alignment >= HoleAlignment.pages2M.rawValue
            ? .pages2M : request.alignment >= HoleAlignment.pages64K.rawValue ? .pages64K : .none
    }

    /// Every hole that passes fits, if it lies within the limits.
    init(sufficientFor request: RangeRequest, coloring: Bool) {
        alignment =
            request.alignment <= pageSize
            ? .none : request.alignment <= HoleAlignment.pages64K.rawValue ? .pages64K : .pages2M
        // Coloring may cost a gap at both ends; at the start, that is a whole step of the alignment.
        let known = alignment.rawValue
        let gaps = coloring ? RangeAllocator.colorGap + max(known, RangeAllocator.colorGap) : 0
        size = request.size.addingSaturating(gaps).addingSaturating(request.alignment.subtractingSaturating(known))
    }
}

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    /// How many holes a walk tries before it settles for one that fits for certain.
    private var patience: Int { 64 }

    func findHole(for request: RangeRequest, placement: Placement) -> (owner: RangeNodePointer, start: UInt64)? {
        guard request.start < request.end, request.end &- request.start >= request.size else { return nil }
        if placement == .best {
            var walk = HoleWalk<HolesBySize>(root: pointee.bySize.root, from: nil, towards: .right)
            switch findFirst(on: &walk, for: request, exhaustive: false) {
            case .found(let owner, let start): return (owner, start)
            case .none: return nil
            case .gaveUp: break
            }
        }
        // The one hole that the nearer limit may cut, then all behind it.
        let nearest = lastNode(startingUpTo: request.fromTop ? request.end &- 1 : request.start)
        if let start = position(after: nearest, for: request) { return (nearest, start) }
        var walk = HoleWalk<HolesByAddress>(
            root: pointee.byAddress.root, from: HolesByAddress.links(of: nearest),
            towards: request.fromTop ? .left : .right)
        guard case .found(let owner, let start) = findFirst(on: &walk, for: request, exhaustive: true) else {
            return nil
        }
        return (owner, start)
    }

    /// The lowest (`fromTop`: highest) place for the request in the hole behind `owner`.
    func position(after owner: RangeNodePointer, for request: RangeRequest) -> UInt64? {
        if owner.pointee.holeSize < request.size { return nil }
        let next = pointee.coloring ? next(after: owner) : nil
        return position(
            between: owner.pointee.end, owner, and: owner.pointee.holeEnd, next, for: request)
    }

    /// The same where all that lies between two nodes, or between one and an end of the space, is counted as free.
    func position(between before: RangeNodePointer, and after: RangeNodePointer?, for request: RangeRequest) -> UInt64?
    {
        position(
            between: before.pointee.end, before, and: after?.pointee.start ?? pointee.end, after, for: request)
    }

    @inline(__always)
    private func position(
        between holeStart: UInt64, _ before: RangeNodePointer, and holeEnd: UInt64, _ after: RangeNodePointer?,
        for request: RangeRequest
    ) -> UInt64? {
        var start = holeStart
        var end = holeEnd
        if pointee.coloring {
            if before.pointee.isAllocated && before.pointee.color != request.color {
                start = start.addingSaturating(RangeAllocator.colorGap)
            }
            if let after, after.pointee.color != request.color {
                end = end.subtractingSaturating(RangeAllocator.colorGap)
            }
        }
        start = max(start, request.start)
        end = min(end, request.end)
        guard start < end, end &- start >= request.size else { return nil }
        let last = end &- request.size
        if request.fromTop {
            let place = roundDown(last, to: request.alignment)
            return place >= start ? place : nil
        }
        let place = roundUp(start, to: request.alignment)
        // Below start: rounding up wrapped.
        return place >= start && place <= last ? place : nil
    }

    private enum Outcome {
        case found(RangeNodePointer, UInt64)
        case none
        case gaveUp
    }

    private func findFirst<Rule: HoleTreeRule>(
        on walk: inout HoleWalk<Rule>, for request: RangeRequest, exhaustive: Bool
    ) -> Outcome {
        let necessary = HoleFilter(necessaryFor: request)
        let sufficient = HoleFilter(sufficientFor: request, coloring: pointee.coloring)
        let first = tryHoles(on: &walk, passing: necessary, for: request, limit: patience)
        guard case .gaveUp = first else { return first }
        // What passes the stricter filter passes the other one as well: none of it has been tried.
        var certain = walk
        let second = tryHoles(on: &certain, passing: sufficient, for: request, limit: patience)
        if case .found = second { return second }
        return exhaustive ? tryHoles(on: &walk, passing: necessary, for: request, limit: .max) : .gaveUp
    }

    private func tryHoles<Rule: HoleTreeRule>(
        on walk: inout HoleWalk<Rule>, passing filter: HoleFilter, for request: RangeRequest, limit: Int
    ) -> Outcome {
        var tries = 0
        while let owner = walk.next(passing: filter) {
            if let start = position(after: owner, for: request) { return .found(owner, start) }
            if Rule.isBeyond(owner, request) { return .none }
            tries += 1
            if tries == limit { return .gaveUp }
        }
        return .none
    }
}

/// A walk over the holes that pass a filter, in the order of a tree.
struct HoleWalk<Rule: HoleTreeRule> {
    private let root: TreeLinksPointer?
    private var place: TreeLinksPointer?
    private let side: TreeSide

    /// The walk begins behind `place`; nil: with the outermost.
    init(root: TreeLinksPointer?, from place: TreeLinksPointer?, towards side: TreeSide) {
        self.root = root
        self.place = place
        self.side = side
    }

    /// - Complexity: O(log n).
    mutating func next(passing filter: HoleFilter) -> RangeNodePointer? {
        let found = place == nil ? first(below: root, filter) : following(place!, filter)
        guard let found else { return nil }
        place = found
        return Rule.node(of: found)
    }

    private func following(_ place: TreeLinksPointer, _ filter: HoleFilter) -> TreeLinksPointer? {
        if let found = first(below: place.child(side), filter) { return found }
        var node = place
        while let parent = node.parent {
            if parent.child(side.opposite) == node {
                if passes(parent, filter) { return parent }
                if let found = first(below: parent.child(side), filter) { return found }
            }
            node = parent
        }
        return nil
    }

    private func first(below root: TreeLinksPointer?, _ filter: HoleFilter) -> TreeLinksPointer? {
        guard var node = root, hasAny(node, filter) else { return nil }
        while true {
            if let near = node.child(side.opposite), hasAny(near, filter) {
                node = near
            } else if passes(node, filter) {
                return node
            } else {
                guard let far = node.child(side) else { panic("the sums of a range allocator are out of date") }
                node = far
            }
        }
    }

    @inline(__always)
    private func passes(_ links: TreeLinksPointer, _ filter: HoleFilter) -> Bool {
        let node = Rule.node(of: links)
        let start = node.pointee.end
        let end = node.pointee.holeEnd
        return HoleCapacity.bytes(from: start, to: end, alignment: filter.alignment.rawValue) >= filter.size
    }

    @inline(__always)
    private func hasAny(_ links: TreeLinksPointer, _ filter: HoleFilter) -> Bool {
        Rule.capacity(of: Rule.node(of: links)).bytes(at: filter.alignment) >= filter.size
    }
}
