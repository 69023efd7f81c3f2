// HoleCapacity: how much fits into a hole, for the alignments that searches are quick for.

/// They are the page sizes of the GPU. The raw value is the number of the bounds in a RangeBranch.
enum HoleAlignment: Int {
    case none = 0
    case pages64K = 1
    case pages2M = 2

    var bytes: UInt64 {
        switch self {
        case .none: 1
        case .pages64K: 0x1_0000
        case .pages2M: 0x20_0000
        }
    }
}

/// The greatest sizes that fit into a hole or into any of several, in whole units of their allocator, and at most
/// Int32.max: a search compares the bounds of sixteen children at a time.
struct HoleCapacity: Equatable {
    var unaligned: Int32 = 0
    var aligned64K: Int32 = 0
    var aligned2M: Int32 = 0

    init() {}

    @inline(__always)
    init(from start: UInt64, to end: UInt64, unitShift: UInt64) {
        unaligned = HoleCapacity.units(end &- start, unitShift)
        aligned64K = HoleCapacity.units(
            HoleCapacity.bytes(from: start, to: end, alignment: HoleAlignment.pages64K.bytes), unitShift)
        aligned2M = HoleCapacity.units(
            HoleCapacity.bytes(from: start, to: end, alignment: HoleAlignment.pages2M.bytes), unitShift)
    }

    @inline(__always)
    mutating func formUnion(_ other: HoleCapacity) {
        unaligned = max(unaligned, other.unaligned)
        aligned64K = max(aligned64K, other.aligned64K)
        aligned2M = max(aligned2M, other.aligned2M)
    }

    @inline(__always)
    static func units(_ bytes: UInt64, _ unitShift: UInt64) -> Int32 {
        Int32(truncatingIfNeeded: min(bytes &>> unitShift, UInt64(Int32.max)))
    }

    @inline(__always)
    static func bytes(from start: UInt64, to end: UInt64, alignment: UInt64) -> UInt64 {
        let first = roundUp(start, to: alignment)
        // Below start: rounding up wrapped.
        return first >= start && first < end ? end &- first : 0
    }
}

/// Lets pass the holes that have `size` bytes at an alignment.
struct HoleFilter {
    let alignment: HoleAlignment
    let size: UInt64

    /// Every hole that fits passes.
    @inline(__always)
    init(necessaryFor request: RangeRequest) {
        size = request.size
        alignment =
            request.alignment >= HoleAlignment.pages2M.bytes
            ? .pages2M : request.alignment >= HoleAlignment.pages64K.bytes ? .pages64K : .none
    }

    /// Every hole that passes fits, if it lies within the limits. All ranges are made of whole units.
    init(sufficientFor request: RangeRequest, coloring: Bool, unit: UInt64) {
        alignment =
            request.alignment <= unit ? .none : request.alignment <= HoleAlignment.pages64K.bytes ? .pages64K : .pages2M
        // Coloring may cost a gap at both ends; at the start, that is a whole step of the alignment.
        let known = alignment.bytes
        let gaps = coloring ? RangeAllocator.colorGap + max(known, RangeAllocator.colorGap) : 0
        size = request.size.addingSaturating(gaps).addingSaturating(request.alignment.subtractingSaturating(known))
    }

    @inline(__always)
    func passes(from start: UInt64, to end: UInt64) -> Bool {
        if end &- start < size { return false }
        return alignment == .none
            || HoleCapacity.bytes(from: start, to: end, alignment: alignment.bytes) >= size
    }
}
