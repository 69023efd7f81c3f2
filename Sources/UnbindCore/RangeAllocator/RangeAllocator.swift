// RangeAllocator: which addresses are taken (drm_mm, drivers/gpu/drm/drm_mm.c).
//
// A space of addresses and the nodes that took parts of it. The nodes are embedded in their users' objects: nothing
// here allocates, and the only failure is that there is no room. Two trees, both over the nodes: in order of addresses,
// and in order of the sizes of the holes behind them. Each node knows what fits into the holes below it (HoleCapacity),
// so that a search goes straight to a hole that is big enough: see RangeAllocator+Search.
//
// Coloring: neighbours of different color are kept 4 KiB apart, for hardware that reads ahead over the end of a range
// and must not meet another caching mode there. The ends of the space have no color.
//
// - Locking: the caller holds the VM lock, for lookups too.
// - Lifetime: must stay where it is from the first range on, until all are removed: nodes point into it.

enum Placement {
    /// The smallest hole that fits, at its start; of holes of one size, the lowest.
    case best
    /// The lowest address that fits.
    case low
    /// The highest address that fits.
    case high
}

struct RangeAllocator: ~Copyable {
    /// Owns the hole at the start of the space. First, so that its address is the allocator's. Enters the trees with
    /// the first node and stays there.
    var head: RangeNode
    var byAddress = AugmentedTree<HolesByAddress>()
    var bySize = AugmentedTree<HolesBySize>()
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

    static var byAddressOffset: Int { 136 }
    static var bySizeOffset: Int { 144 }

    /// What coloring keeps free between neighbours, in bytes.
    static var colorGap: UInt64 { 4096 }

    /// A space that would go beyond UInt64.max ends there.
    init(start: UInt64, size: UInt64, coloring: Bool) {
        self.start = start
        self.coloring = coloring
        end = start.addingSaturating(size)
        head = RangeNode()
        head.start = start
        head.holeSize = end &- start
    }
}

/// A tree in which each node knows the capacity of the holes below it.
protocol HoleTreeRule: TreeRule {
    static func node(of links: TreeLinksPointer) -> RangeNodePointer
    static func links(of node: RangeNodePointer) -> TreeLinksPointer
    static func capacity(of node: RangeNodePointer) -> HoleCapacity
    static func setCapacity(of node: RangeNodePointer, _ capacity: HoleCapacity)
    /// True if the hole lies outside the limits of the request, and so does every further one in the walk's order.
    static func isBeyond(_ owner: RangeNodePointer, _ request: RangeRequest) -> Bool
}

extension HoleTreeRule {
    @inline(__always)
    static func refresh(_ links: TreeLinksPointer) -> Bool {
        let node = node(of: links)
        var capacity = HoleCapacity(ofHoleAfter: node)
        if let left = links.pointee.left { capacity.formUnion(Self.capacity(of: Self.node(of: left))) }
        if let right = links.pointee.right { capacity.formUnion(Self.capacity(of: Self.node(of: right))) }
        if capacity == Self.capacity(of: node) { return false }
        setCapacity(of: node, capacity)
        return true
    }
}

enum HolesByAddress: HoleTreeRule {
    @inline(__always)
    static func node(of links: TreeLinksPointer) -> RangeNodePointer {
        (UnsafeMutableRawPointer(links) - RangeNode.addressLinksOffset).assumingMemoryBound(to: RangeNode.self)
    }

    @inline(__always)
    static func links(of node: RangeNodePointer) -> TreeLinksPointer {
        memberPointer(of: node, at: RangeNode.addressLinksOffset, as: TreeLinks.self)
    }

    @inline(__always)
    static func capacity(of node: RangeNodePointer) -> HoleCapacity { node.pointee.addressCapacity }

    @inline(__always)
    static func setCapacity(of node: RangeNodePointer, _ capacity: HoleCapacity) {
        node.pointee.addressCapacity = capacity
    }

    @inline(__always)
    static func isBeyond(_ owner: RangeNodePointer, _ request: RangeRequest) -> Bool {
        request.fromTop ? owner.pointee.holeEnd <= request.start : owner.pointee.end >= request.end
    }

    /// By where the holes start: the head may start where the first node does.
    static func precedes(_ links: TreeLinksPointer, _ other: TreeLinksPointer) -> Bool {
        node(of: links).pointee.end < node(of: other).pointee.end
    }
}

enum HolesBySize: HoleTreeRule {
    @inline(__always)
    static func node(of links: TreeLinksPointer) -> RangeNodePointer {
        (UnsafeMutableRawPointer(links) - RangeNode.sizeLinksOffset).assumingMemoryBound(to: RangeNode.self)
    }

    @inline(__always)
    static func links(of node: RangeNodePointer) -> TreeLinksPointer {
        memberPointer(of: node, at: RangeNode.sizeLinksOffset, as: TreeLinks.self)
    }

    @inline(__always)
    static func capacity(of node: RangeNodePointer) -> HoleCapacity { node.pointee.sizeCapacity }

    @inline(__always)
    static func setCapacity(of node: RangeNodePointer, _ capacity: HoleCapacity) {
        node.pointee.sizeCapacity = capacity
    }

    /// Holes of one size lie in any part of the space.
    @inline(__always)
    static func isBeyond(_ owner: RangeNodePointer, _ request: RangeRequest) -> Bool { false }

    static func precedes(_ links: TreeLinksPointer, _ other: TreeLinksPointer) -> Bool {
        let node = node(of: links)
        let other = self.node(of: other)
        if node.pointee.holeSize != other.pointee.holeSize { return node.pointee.holeSize < other.pointee.holeSize }
        return node.pointee.end < other.pointee.end
    }
}

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    var head: RangeNodePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeNode.self) }

    var byAddress: UnsafeMutablePointer<AugmentedTree<HolesByAddress>> {
        memberPointer(of: self, at: RangeAllocator.byAddressOffset, as: AugmentedTree<HolesByAddress>.self)
    }

    var bySize: UnsafeMutablePointer<AugmentedTree<HolesBySize>> {
        memberPointer(of: self, at: RangeAllocator.bySizeOffset, as: AugmentedTree<HolesBySize>.self)
    }

    /// How many ranges are taken.
    var count: Int { pointee.count }

    /// The sum of their sizes.
    var allocatedBytes: UInt64 { pointee.allocatedBytes }
}
