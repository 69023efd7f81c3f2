// RangeAllocator: which addresses are taken (drm_mm, drivers/gpu/drm/drm_mm.c).
//
// A space of addresses and the nodes that took parts of it, embedded in their users' objects. Two structures know the
// holes between them: the RangeIndex in order of addresses, for `low`, `high`, `reserve` and lookups, and the HoleBins
// by size, for `best`.
//
// Giving a range back needs no memory and cannot fail. Taking one can need a few hundred bytes for the index, one time
// in ten or so, from a cache that keeps what is given back.
//
// Coloring: neighbours of different color are kept 4 KiB apart, for hardware that reads ahead over the end of a range
// and must not meet another caching mode there. The ends of the space have no color.
//
// - Locking: the caller holds the VM lock, for lookups too.
// - Lifetime: must stay where it is from the first range on, until all are removed: nodes point into it. With all
//   ranges removed it holds no memory.

enum Placement {
    /// The smallest hole that fits, at its start. Holes of fewer than HoleBins.count units are compared in whole units,
    /// and of equal ones it is the one that came to be last: when a range is taken from the middle of a hole, the part
    /// behind it; those from before the first search of this kind are as if they had come in order of addresses. Of
    /// larger ones of one size it is the lowest.
    case best
    /// The lowest address that fits.
    case low
    /// The highest address that fits.
    case high
}

struct RangeAllocator: ~Copyable {
    /// Owns the hole at the start of the space. First, so that its address is the allocator's. Enters the index with
    /// the first node and stays there.
    var head: RangeNode
    var index: RangeIndex
    /// Kept from the first search for the smallest hole on: most spaces never see one.
    var bins = HoleBins()
    var usesBins = false
    /// Whether neighbours of different color are kept apart.
    let coloring: Bool
    /// How many ranges are taken, and their bytes.
    var count = 0
    var allocatedBytes: UInt64 = 0
    /// How many nodes an EvictionScan counts as free.
    var candidates = 0
    /// The first address of the space and the first behind it.
    let start: UInt64
    let end: UInt64
    /// What sizes and addresses mostly are multiples of is `1 << unitShift`.
    let unitShift: UInt64

    static var indexOffset: Int { 64 }
    static var binsOffset: Int { 552 }

    /// What coloring keeps free between neighbours, in bytes.
    static var colorGap: UInt64 { 4096 }

    /// A space that would go beyond UInt64.max ends there.
    /// - Parameters:
    ///   - unit: what ranges are normally made of, a power of two. Other sizes and addresses are possible, but slow.
    ///   - cache: of memory for the index, a slab cache for RangeBranch. Has to outlive all ranges.
    init(start: UInt64, size: UInt64, unit: UInt64, coloring: Bool, cache: UnsafeMutablePointer<SlabCache>) {
        invariant(isPowerOfTwo(unit), "the unit of a range allocator is no power of two")
        self.start = start
        self.coloring = coloring
        end = start.addingSaturating(size)
        unitShift = UInt64(unit.trailingZeroBitCount)
        index = RangeIndex(cache: cache, unitShift: unitShift)
        head = RangeNode()
        head.start = start
    }
}

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    @inline(__always)
    var head: RangeNodePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeNode.self) }

    @inline(__always)
    var index: UnsafeMutablePointer<RangeIndex> {
        memberPointer(of: self, at: RangeAllocator.indexOffset, as: RangeIndex.self)
    }

    @inline(__always)
    var bins: UnsafeMutablePointer<HoleBins> {
        memberPointer(of: self, at: RangeAllocator.binsOffset, as: HoleBins.self)
    }

    /// How many ranges are taken.
    var count: Int { pointee.count }

    /// The sum of their sizes.
    var allocatedBytes: UInt64 { pointee.allocatedBytes }
}
