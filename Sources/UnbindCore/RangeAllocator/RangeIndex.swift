// RangeIndex: the nodes of a RangeAllocator, and the holes behind them, in order of addresses.
//
// A B+-tree of wide nodes. A leaf has up to sixteen slots with all that a search or a neighbour asks about a node:
// where its range ends and how big the hole behind it is. A slot keeps its number as long as it is in the leaf, and its
// node knows the number; the order of the slots is one word of sixteen numbers of four bits. So a node comes or goes by
// shifting that word, without a descent and without moving anything else.
//
// A branch has for each of up to sixteen children the end of its first node, and the greatest capacity of its holes for
// each HoleAlignment. These are bounds: they are raised at once when a hole grows, but when one shrinks they stay,
// until a search has looked below them in vain, or has used up a leaf's greatest hole. Sixteen are compared at a time.
//
// - Memory: a slab cache's, taken only when a node is inserted into a full leaf. The first leaf is part of the
//   allocator, holds the head for ever, and is the only one when nothing is allocated.
// - Locking: part of its allocator.

typealias RangeChildPointer = UnsafeMutablePointer<RangeChild>
typealias RangeLeafPointer = UnsafeMutablePointer<RangeLeaf>
typealias RangeBranchPointer = UnsafeMutablePointer<RangeBranch>

/// What leaves and branches begin with.
struct RangeChild {
    var parent: RangeBranchPointer?
    /// Its number among the parent's children.
    var index: Int32 = 0
    /// How many nodes or children it has.
    var count: Int32 = 0
}

/// 448 bytes, in whole cache lines.
struct RangeLeaf {
    var base = RangeChild()
    /// The slots in order of addresses, four bits each, the first lowest. 0 behind the last.
    var order: UInt64 = 0
    var previous: RangeLeafPointer?
    var next: RangeLeafPointer?
    /// A bit for each slot that is in use.
    var used: UInt32 = 0
    private var padding = InlineArray<5, UInt32>(repeating: 0)
    /// By slot: the size of the hole, 0 in an unused one; where it starts, .max in an unused one; its owner.
    var holes = InlineArray<16, UInt64>(repeating: 0)
    var ends = InlineArray<16, UInt64>(repeating: .max)
    var nodes = InlineArray<16, RangeNodePointer?>(repeating: nil)

    static var capacity: Int { 16 }
    static var holesOffset: Int { 64 }
    static var endsOffset: Int { 192 }
    static var nodesOffset: Int { 320 }
}

/// 512 bytes, in whole cache lines.
struct RangeBranch {
    var base = RangeChild()
    var hasLeaves = false
    private var padding = InlineArray<11, UInt32>(repeating: 0)
    /// By child: the end of its first node.
    var keys = InlineArray<16, UInt64>(repeating: .max)
    var children = InlineArray<16, RangeChildPointer?>(repeating: nil)
    /// By alignment and child. -1 behind the last child, less than any request.
    var bounds = InlineArray<48, Int32>(repeating: -1)

    static var capacity: Int { 16 }
    static var keysOffset: Int { 64 }
    static var childrenOffset: Int { 192 }
    static var boundsOffset: Int { 320 }
}

struct RangeIndex: ~Copyable {
    /// First, so that its address is the index's.
    var firstLeaf = RangeLeaf()
    /// Nil as long as there is one leaf.
    var root: RangeBranchPointer?
    /// Where leaves and branches come from.
    let cache: UnsafeMutablePointer<SlabCache>
    let unitShift: UInt64
    /// For an insertion that must not fail.
    var standby = SpareNodes()
    var standbyCount = 0

    init(cache: UnsafeMutablePointer<SlabCache>, unitShift: UInt64) {
        self.cache = cache
        self.unitShift = unitShift
    }
}

/// Where a node is: a leaf and a slot in it. Good until the next insertion or removal.
struct RangeSlot {
    let leaf: RangeLeafPointer
    let slot: Int

    @inline(__always)
    init(_ leaf: RangeLeafPointer, _ slot: Int) {
        self.leaf = leaf
        self.slot = slot
    }

    @inline(__always)
    init(of node: RangeNodePointer) {
        let place = node.pointee.place
        leaf = RangeLeafPointer(bitPattern: place & ~15).unsafelyUnwrapped
        slot = Int(bitPattern: place & 15)
    }

    @inline(__always)
    var node: RangeNodePointer { leaf.nodes[slot].unsafelyUnwrapped }

    /// Where the hole starts and where it ends.
    @inline(__always)
    var end: UInt64 { leaf.ends[slot] }
    @inline(__always)
    var holeEnd: UInt64 { leaf.ends[slot] &+ leaf.holes[slot] }
    @inline(__always)
    var hole: UInt64 { leaf.holes[slot] }

    /// The slot's number in order of addresses.
    @inline(__always)
    var position: Int { leaf.position(of: slot) }

    /// The next node's.
    @inline(__always)
    var next: RangeSlot? {
        let position = position &+ 1
        if position < leaf.count { return RangeSlot(leaf, leaf.slot(at: position)) }
        return leaf.pointee.next.map { RangeSlot($0, $0.slot(at: 0)) }
    }

    /// The one before.
    @inline(__always)
    var previous: RangeSlot? {
        let position = position
        if position > 0 { return RangeSlot(leaf, leaf.slot(at: position &- 1)) }
        return leaf.pointee.previous.map { RangeSlot($0, $0.slot(at: $0.count &- 1)) }
    }
}

extension UnsafeMutablePointer where Pointee == RangeLeaf {
    @inline(__always)
    var base: RangeChildPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeChild.self) }
    @inline(__always)
    var holes: UnsafeMutablePointer<UInt64> { memberPointer(of: self, at: RangeLeaf.holesOffset, as: UInt64.self) }
    @inline(__always)
    var ends: UnsafeMutablePointer<UInt64> { memberPointer(of: self, at: RangeLeaf.endsOffset, as: UInt64.self) }
    @inline(__always)
    var nodes: UnsafeMutablePointer<RangeNodePointer?> {
        memberPointer(of: self, at: RangeLeaf.nodesOffset, as: RangeNodePointer?.self)
    }

    @inline(__always)
    var count: Int { Int(pointee.base.count) }

    @inline(__always)
    func slot(at position: Int) -> Int {
        Int(truncatingIfNeeded: pointee.order &>> UInt64(truncatingIfNeeded: position &* 4) & 15)
    }

    /// Of a slot that is in use.
    @inline(__always)
    func position(of slot: Int) -> Int {
        // The lowest four bits that are zero: behind the last slot in use, others may be.
        let ones: UInt64 = 0x1111_1111_1111_1111
        let different = pointee.order ^ (UInt64(truncatingIfNeeded: slot) &* ones)
        return ((different &- ones) & ~different & (ones &* 8)).trailingZeroBitCount &>> 2
    }

    /// How many nodes end at or below the address.
    func countOfEnds(upTo address: UInt64) -> Int {
        var count = 0
        let ends = ends
        for slot in 0..<RangeLeaf.capacity where ends[slot] <= address { count &+= 1 }
        return Swift.min(count, self.count)
    }

    /// The leaf is not full.
    @inline(__always)
    func insert(_ node: RangeNodePointer, at position: Int, end: UInt64, hole: UInt64) {
        let slot = (~pointee.used).trailingZeroBitCount
        let shift = UInt64(truncatingIfNeeded: position &* 4)
        let below = pointee.order & ((1 &<< shift) &- 1)
        let above = pointee.order ^ below
        pointee.order = below | above &<< 4 | UInt64(truncatingIfNeeded: slot) &<< shift
        pointee.used |= 1 &<< UInt32(truncatingIfNeeded: slot)
        pointee.base.count &+= 1
        ends[slot] = end
        holes[slot] = hole
        nodes[slot] = node
        node.pointee.place = UInt(bitPattern: self) | UInt(bitPattern: slot)
    }

    @inline(__always)
    func remove(_ slot: Int, at position: Int) {
        let shift = UInt64(truncatingIfNeeded: position &* 4)
        let below = pointee.order & ((1 &<< shift) &- 1)
        let above = pointee.order &>> 4 & ~((1 &<< shift) &- 1)
        pointee.order = below | above
        pointee.used &= ~(1 &<< UInt32(truncatingIfNeeded: slot))
        pointee.base.count &-= 1
        ends[slot] = .max
        holes[slot] = 0
    }
}

extension UnsafeMutablePointer where Pointee == RangeBranch {
    @inline(__always)
    var base: RangeChildPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeChild.self) }
    @inline(__always)
    var keys: UnsafeMutablePointer<UInt64> { memberPointer(of: self, at: RangeBranch.keysOffset, as: UInt64.self) }
    @inline(__always)
    var children: UnsafeMutablePointer<RangeChildPointer?> {
        memberPointer(of: self, at: RangeBranch.childrenOffset, as: RangeChildPointer?.self)
    }

    @inline(__always)
    func bounds(_ alignment: HoleAlignment) -> UnsafeMutablePointer<Int32> {
        memberPointer(of: self, at: RangeBranch.boundsOffset &+ alignment.rawValue &* 64, as: Int32.self)
    }

    @inline(__always)
    var count: Int { Int(pointee.base.count) }

    @inline(__always)
    func child(_ index: Int) -> RangeChildPointer { children[index].unsafelyUnwrapped }
}

extension UnsafeMutablePointer where Pointee == RangeChild {
    /// The caller knows which of the two it is.
    @inline(__always)
    var asLeaf: RangeLeafPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeLeaf.self) }
    @inline(__always)
    var asBranch: RangeBranchPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeBranch.self) }
}

extension UnsafeMutablePointer where Pointee == RangeIndex {
    @inline(__always)
    var firstLeaf: RangeLeafPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeLeaf.self) }

    /// The last node that ends at or below the address; the head if there is none.
    /// - Complexity: O(log n).
    func last(endingUpTo address: UInt64) -> RangeSlot {
        var leaf = firstLeaf
        if var branch = pointee.root {
            while true {
                var index = branch.count &- 1
                while index > 0 && branch.keys[index] > address { index &-= 1 }
                let child = branch.child(index)
                if branch.pointee.hasLeaves {
                    leaf = child.asLeaf
                    break
                }
                branch = child.asBranch
            }
        }
        return RangeSlot(leaf, leaf.slot(at: Swift.max(leaf.countOfEnds(upTo: address) &- 1, 0)))
    }
}
