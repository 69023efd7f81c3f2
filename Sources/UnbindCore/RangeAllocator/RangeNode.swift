// RangeNode: one taken range of a RangeAllocator (drm_mm_node).
//
// Embedded in what takes the range (a VMA), which must stay where it is as long as the range is taken. It owns the hole
// that follows its range; the allocator's own head, of size 0, owns the one at the start of the space. How big that
// hole is, and who the neighbours are, lies in the node's slot of the RangeIndex, so that a search reads no nodes.

typealias RangeNodePointer = UnsafeMutablePointer<RangeNode>

/// A range of addresses, taken or not. Freshly made: not taken. 64 bytes.
struct RangeNode {
    /// The range; of a node that is not allocated any more, the one it had.
    var start: UInt64 = 0
    var size: UInt64 = 0
    /// The address of its leaf in the RangeIndex and, in the lowest four bits, its slot there; see RangeSlot.
    var place: UInt = 0
    /// Its place among the holes of one size, there while its hole is not empty and somebody asks
    /// for the smallest: see HoleBins.
    var links = TreeLinks()
    /// Of the first of several neighbours that are candidates, the last, and the other way round.
    var otherEnd: RangeNodePointer?
    /// What the user of the address keeps there, for example a cache level: see RangeAllocator on coloring.
    var color: UInt32 = 0
    /// Whether the range is taken. False for the head of an allocator.
    var isAllocated = false
    /// Whether an EvictionScan counts its range as free.
    var isCandidate = false

    init() {}

    static var linksOffset: Int { 24 }

    /// The first address behind the range. Never wraps: a space ends at UInt64.max at the latest.
    var end: UInt64 { start &+ size }
}

extension UnsafeMutablePointer where Pointee == RangeNode {
    @inline(__always)
    var links: TreeLinksPointer { memberPointer(of: self, at: RangeNode.linksOffset, as: TreeLinks.self) }

    /// The node that has these links.
    @inline(__always)
    init(having links: TreeLinksPointer) {
        self = (UnsafeMutableRawPointer(links) - RangeNode.linksOffset).assumingMemoryBound(to: RangeNode.self)
    }

    /// Bytes between its end and the next node or the end of the space. Only of what is in an index.
    var holeSize: UInt64 { RangeSlot(of: self).hole }
}
