// RangeNode: one taken range of a RangeAllocator, and the hole that follows it (drm_mm_node).
//
// Embedded in what takes the range (a VMA), which must stay where it is as long as the range is taken. Every hole
// belongs to the node before it; the allocator's own head, of size 0, has the one at the start of the space. So the
// nodes in order of addresses are the holes in order of addresses, and one tree serves both.

typealias RangeNodePointer = UnsafeMutablePointer<RangeNode>

/// A range of addresses, taken or not. Freshly made: not taken. 136 bytes.
struct RangeNode {
    /// The range; of a node that is not allocated any more, the one it had.
    var start: UInt64 = 0
    var size: UInt64 = 0
    /// Bytes between its end and the next node or the end of the space.
    var holeSize: UInt64 = 0
    /// Its place in order of addresses, always there while it is allocated.
    var addressLinks = TreeLinks()
    var addressCapacity = HoleCapacity()
    /// Its place in order of hole sizes, there while its hole is not empty.
    var sizeLinks = TreeLinks()
    var sizeCapacity = HoleCapacity()
    /// What the user of the address keeps there, for example a cache level: see RangeAllocator on coloring.
    var color: UInt32 = 0
    /// Whether the range is taken. False for the head of an allocator.
    var isAllocated = false
    /// Whether an EvictionScan counts its range as free.
    var isCandidate = false
    /// Of the first of several neighbours that are candidates, the last, and the other way round.
    var otherEnd: RangeNodePointer?

    init() {}

    static var addressLinksOffset: Int { 24 }
    static var sizeLinksOffset: Int { 72 }

    /// The first address behind the range. Never wraps: a space ends at UInt64.max at the latest.
    var end: UInt64 { start &+ size }

    /// The first address behind the hole.
    var holeEnd: UInt64 { end &+ holeSize }
}

/// The alignments for which a node knows how much fits into the holes below it. They are the page sizes of the GPU.
enum HoleAlignment: UInt64 {
    case none = 1
    case pages64K = 0x1_0000
    case pages2M = 0x20_0000
}

/// The greatest size that fits into one of a set of holes, for each HoleAlignment of its start.
struct HoleCapacity: Equatable {
    var unaligned: UInt64 = 0
    var aligned64K: UInt64 = 0
    var aligned2M: UInt64 = 0

    init() {}

    @inline(__always)
    init(ofHoleAfter node: RangeNodePointer) {
        let start = node.pointee.end
        let end = node.pointee.holeEnd
        unaligned = end &- start
        aligned64K = HoleCapacity.bytes(from: start, to: end, alignment: HoleAlignment.pages64K.rawValue)
        aligned2M = HoleCapacity.bytes(from: start, to: end, alignment: HoleAlignment.pages2M.rawValue)
    }

    @inline(__always)
    func bytes(at alignment: HoleAlignment) -> UInt64 {
        switch alignment {
        case .none: unaligned
        case .pages64K: aligned64K
        case .pages2M: aligned2M
        }
    }

    @inline(__always)
    mutating func formUnion(_ other: HoleCapacity) {
        unaligned = max(unaligned, other.unaligned)
        aligned64K = max(aligned64K, other.aligned64K)
        aligned2M = max(aligned2M, other.aligned2M)
    }

    @inline(__always)
    static func bytes(from start: UInt64, to end: UInt64, alignment: UInt64) -> UInt64 {
        let first = roundUp(start, to: alignment)
        // Below start: rounding up wrapped.
        return first >= start && first < end ? end &- first : 0
    }
}
