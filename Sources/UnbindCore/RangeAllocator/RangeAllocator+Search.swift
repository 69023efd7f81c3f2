// RangeAllocator: the search for a hole.
//
// `low` and `high` walk through the holes in order of addresses, upwards or downwards, `best` in order of sizes. The
// bounds in the RangeIndex let a walk by addresses pass by all holes that are too small at an alignment of 1, 64 KiB or
// 2 MiB. What they do not know is alignments between these and the colors of neighbours; the order of sizes does not
// know alignments and where a hole lies, either.
//
// Guarantees:
//   - A hole is found if there is one.
//   - Without coloring, and with an alignment of up to a unit (all ranges being made of units), 64 KiB or 2 MiB, `low`
//     and `high` take O(log n) and give the lowest and the highest place within any limits. With an alignment of up to
//     a unit, `best` gives the smallest hole within the whole space, and takes O(1), or O(log n) if that is large.
//   - Otherwise the same, if it is among the first 64 holes that the walk comes to. If not, the walk goes on to the
//     next hole that fits for certain, whatever its colors and alignment, which may not be the very best place. When
//     `best` finds none of these within its limits among 64, it takes the lowest place. Only when no hole fits for
//     certain does a walk by addresses try one by one all that may fit.

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

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    /// How many holes a walk tries before it settles for one that fits for certain.
    private var patience: Int { 64 }

    @inline(__always)
    func findHole(for request: RangeRequest, placement: Placement) -> (owner: RangeSlot, start: UInt64)? {
        guard request.start < request.end, request.end &- request.start >= request.size else { return nil }
        if placement == .best {
            switch findSmallest(for: request) {
            case .found(let owner, let start): return (owner, start)
            case .none: return nil
            case .gaveUp: break
            }
        }
        guard case .found(let owner, let start) = findOutermost(for: request) else { return nil }
        return (owner, start)
    }

    /// The lowest (`fromTop`: highest) place for the request in the hole behind `owner`.
    @inline(__always)
    func position(after owner: RangeSlot, for request: RangeRequest) -> UInt64? {
        if owner.hole < request.size { return nil }
        if !pointee.coloring { return place(from: owner.end, to: owner.holeEnd, for: request) }
        return position(between: owner.node, and: owner.next?.node, for: request)
    }

    /// The same where all that lies between two nodes, or between one and an end of the space, is counted as free.
    func position(between before: RangeNodePointer, and after: RangeNodePointer?, for request: RangeRequest) -> UInt64?
    {
        var start = before.pointee.end
        var end = after?.pointee.start ?? pointee.end
        if pointee.coloring {
            if before.pointee.isAllocated && before.pointee.color != request.color {
                start = start.addingSaturating(RangeAllocator.colorGap)
            }
            if let after, after.pointee.color != request.color {
                end = end.subtractingSaturating(RangeAllocator.colorGap)
            }
        }
        return place(from: start, to: end, for: request)
    }

    @inline(__always)
    private func place(from start: UInt64, to end: UInt64, for request: RangeRequest) -> UInt64? {
        let start = max(start, request.start)
        let end = min(end, request.end)
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
        case found(RangeSlot, UInt64)
        case none
        case gaveUp
    }

    // MARK: By size

    @inline(__always)
    private func findSmallest(for request: RangeRequest) -> Outcome {
        let shift = pointee.unitShift
        guard let first = bins.first(from: request.size &>> shift, unitShift: shift) else { return .none }
        let owner = RangeSlot(of: first)
        if let start = position(after: owner, for: request) { return .found(owner, start) }
        return findSmallest(for: request, behind: first)
    }

    @inline(never)
    private func findSmallest(for request: RangeRequest, behind first: RangeNodePointer) -> Outcome {
        let shift = pointee.unitShift
        let second = bins.next(after: first, unitShift: shift)
        let outcome = tryHoles(bySizeFrom: second, for: request, limit: patience &- 1)
        guard case .gaveUp = outcome else { return outcome }
        let unit: UInt64 = 1 << shift
        let certain = HoleFilter(sufficientFor: request, coloring: pointee.coloring, unit: unit)
        // Whatever the alignment of its start, a hole of so many units more has an aligned one.
        let bytes = certain.size.addingSaturating(certain.alignment.bytes.subtractingSaturating(unit))
        let units = bytes.addingSaturating(unit &- 1) >> shift
        let last = tryHoles(
            bySizeFrom: bins.first(from: units, unitShift: shift), for: request, limit: patience)
        if case .found = last { return last }
        return .gaveUp
    }

    private func tryHoles(
        bySizeFrom first: RangeNodePointer?, for request: RangeRequest, limit: Int
    ) -> Outcome {
        var tries = 0
        var next = first
        while let node = next {
            let owner = RangeSlot(of: node)
            if let start = position(after: owner, for: request) { return .found(owner, start) }
            tries &+= 1
            if tries == limit { return .gaveUp }
            next = bins.next(after: node, unitShift: pointee.unitShift)
        }
        return .none
    }

    // MARK: By address

    @inline(__always)
    private func findOutermost(for request: RangeRequest) -> Outcome {
        var nearest: RangeSlot?
        if request.fromTop ? request.end < pointee.end : request.start > pointee.start {
            // The one hole that the nearer limit may cut, then all behind it.
            let owner = index.last(endingUpTo: request.fromTop ? request.end &- 1 : request.start)
            if let start = position(after: owner, for: request) { return .found(owner, start) }
            nearest = owner
        }
        var walk = HoleWalk(index, from: nearest, upwards: !request.fromTop)
        let necessary = HoleFilter(necessaryFor: request)
        guard let first = walk.next(passing: necessary) else { return .none }
        if let start = position(after: first, for: request) { return .found(first, start) }
        if isBeyond(first, request) { return .none }
        return findOutermost(on: walk, passing: necessary, for: request)
    }

    @inline(never)
    private func findOutermost(
        on walk: HoleWalk, passing necessary: HoleFilter, for request: RangeRequest
    ) -> Outcome {
        var walk = walk
        let first = tryHoles(on: &walk, passing: necessary, for: request, limit: patience &- 1)
        guard case .gaveUp = first else { return first }
        // What passes the stricter filter passes the other one as well: none of it has been tried.
        let sufficient = HoleFilter(
            sufficientFor: request, coloring: pointee.coloring, unit: 1 << pointee.unitShift)
        var certain = walk
        let second = tryHoles(on: &certain, passing: sufficient, for: request, limit: patience)
        if case .found = second { return second }
        return tryHoles(on: &walk, passing: necessary, for: request, limit: .max)
    }

    private func tryHoles(
        on walk: inout HoleWalk, passing filter: HoleFilter, for request: RangeRequest, limit: Int
    ) -> Outcome {
        var tries = 0
        while let owner = walk.next(passing: filter) {
            if let start = position(after: owner, for: request) { return .found(owner, start) }
            if isBeyond(owner, request) { return .none }
            tries &+= 1
            if tries == limit { return .gaveUp }
        }
        return .none
    }

    /// True if the hole lies outside the limits of the request, and so does every further one.
    private func isBeyond(_ owner: RangeSlot, _ request: RangeRequest) -> Bool {
        request.fromTop ? owner.holeEnd <= request.start : owner.end >= request.end
    }
}
