// HoleBins: the holes of a RangeAllocator by size, for `best`.
//
// Nearly all holes have few pages. Each size of up to HoleBins.count units has a bin: a list, the latest hole first,
// and a bit that says whether it is empty. So the smallest hole that is big enough is found by looking at one or two
// words, and a hole comes and goes without a search. Holes that are larger than that are in a balanced tree.
//
// Of small holes of one size the latest is taken: its node, and that of its neighbour, were in use a moment ago and are
// still in the cache. Of large ones it is the lowest.
//
// - Locking: part of its allocator.

struct HoleBins {
    /// The first of each list; the next one is its left link, the one before it the right one.
    var bins = InlineArray<1024, RangeNodePointer?>(repeating: nil)
    /// A bit for each bin that is not empty.
    var filled = InlineArray<16, UInt64>(repeating: 0)
    /// A bit for each of these words that is not 0.
    var filledWords: UInt64 = 0
    var large = AugmentedTree<LargeHoles>()

    static var count: Int { 1024 }
    static var filledOffset: Int { 8192 }
    static var largeOffset: Int { 8328 }
}

/// By size in bytes, and of one size the lowest first.
enum LargeHoles: TreeRule {
    static func precedes(_ links: TreeLinksPointer, _ other: TreeLinksPointer) -> Bool {
        let (hole, otherHole) = (
            RangeSlot(of: RangeNodePointer(having: links)), RangeSlot(of: RangeNodePointer(having: other))
        )
        return hole.hole != otherHole.hole ? hole.hole < otherHole.hole : hole.end < otherHole.end
    }

    static func refresh(_ node: TreeLinksPointer) -> Bool { false }
}

extension UnsafeMutablePointer where Pointee == HoleBins {
    @inline(__always)
    private var bins: UnsafeMutablePointer<RangeNodePointer?> {
        memberPointer(of: self, at: 0, as: RangeNodePointer?.self)
    }

    @inline(__always)
    private var filled: UnsafeMutablePointer<UInt64> {
        memberPointer(of: self, at: HoleBins.filledOffset, as: UInt64.self)
    }

    @inline(__always)
    var large: UnsafeMutablePointer<AugmentedTree<LargeHoles>> {
        memberPointer(of: self, at: HoleBins.largeOffset, as: AugmentedTree<LargeHoles>.self)
    }

    /// The node's hole, of that many units, has come to be. Its slot says so already.
    /// - Complexity: O(1); O(log n) for a large one.
    @inline(__always)
    func insert(_ node: RangeNodePointer, units: UInt64) {
        guard units < UInt64(HoleBins.count) else {
            large.insert(node.links)
            return
        }
        let number = Int(truncatingIfNeeded: units)
        let first = bins[number]
        node.pointee.links.left = first?.links
        node.pointee.links.right = nil
        bins[number] = node
        if let first {
            first.pointee.links.right = node.links
        } else {
            filled[number &>> 6] |= 1 &<< UInt64(truncatingIfNeeded: number & 63)
            pointee.filledWords |= 1 &<< UInt64(truncatingIfNeeded: number &>> 6)
        }
    }

    /// The node's hole, of that many units, ceases to be.
    /// - Complexity: as above.
    @inline(__always)
    func remove(_ node: RangeNodePointer, units: UInt64) {
        guard units < UInt64(HoleBins.count) else {
            large.remove(node.links)
            return
        }
        let next = node.pointee.links.left
        let before = node.pointee.links.right
        if let next { next.pointee.right = before }
        if let before {
            before.pointee.left = next
            return
        }
        let number = Int(truncatingIfNeeded: units)
        bins[number] = next.map(RangeNodePointer.init(having:))
        if next != nil { return }
        let word = number &>> 6
        filled[word] &= ~(1 &<< UInt64(truncatingIfNeeded: number & 63))
        if filled[word] == 0 { pointee.filledWords &= ~(1 &<< UInt64(truncatingIfNeeded: word)) }
    }

    /// The owner of the smallest hole of at least that many units; they are `1 << unitShift` bytes each.
    /// - Complexity: O(1); O(log n) if it is a large one.
    func first(from units: UInt64, unitShift: UInt64) -> RangeNodePointer? {
        if units < UInt64(HoleBins.count) {
            let number = Int(truncatingIfNeeded: units)
            let word = number &>> 6
            let rest = filled[word] & (~0 &<< UInt64(truncatingIfNeeded: number & 63))
            if rest != 0 { return bins[word &<< 6 | rest.trailingZeroBitCount] }
            let words = pointee.filledWords & (~1 &<< UInt64(truncatingIfNeeded: word))
            if words != 0 {
                let word = words.trailingZeroBitCount
                return bins[word &<< 6 | filled[word].trailingZeroBitCount]
            }
        }
        var found: TreeLinksPointer?
        var place = large.pointee.root
        while let links = place {
            if RangeNodePointer(having: links).holeSize &>> unitShift >= units {
                found = links
                place = links.pointee.left
            } else {
                place = links.pointee.right
            }
        }
        return found.map(RangeNodePointer.init(having:))
    }

    /// The owner of the next hole in order.
    func next(after node: RangeNodePointer, unitShift: UInt64) -> RangeNodePointer? {
        let units = node.holeSize &>> unitShift
        if units >= UInt64(HoleBins.count) {
            return node.links.neighbor(.right).map(RangeNodePointer.init(having:))
        }
        if let next = node.pointee.links.left { return RangeNodePointer(having: next) }
        return first(from: units &+ 1, unitShift: unitShift)
    }

    /// Every hole is in its bin, every bit is right.
    /// - Returns: how many holes there are.
    func checkInvariants(unitShift: UInt64) -> Int {
        var holes = large.checkInvariants()
        for number in 0..<HoleBins.count {
            let isFilled = filled[number >> 6] >> UInt64(number & 63) & 1 == 1
            invariant(isFilled == (bins[number] != nil), "the bit of a bin of holes is wrong")
            var before: TreeLinksPointer?
            var place = bins[number]
            while let node = place {
                holes += 1
                invariant(node.holeSize >> unitShift == UInt64(number), "a hole is in another size's bin")
                invariant(node.pointee.links.right == before, "a list of holes is broken")
                before = node.links
                place = node.pointee.links.left.map(RangeNodePointer.init(having:))
            }
        }
        for word in 0..<16 {
            invariant(
                (pointee.filledWords >> UInt64(word) & 1 == 1) == (filled[word] != 0), "the bit of 64 bins is wrong")
        }
        var place = large.leftmostNode()
        while let links = place {
            let size = RangeNodePointer(having: links).holeSize
            invariant(size >> unitShift >= UInt64(HoleBins.count), "a small hole is among the large ones")
            place = links.neighbor(.right)
            if let place {
                invariant(size <= RangeNodePointer(having: place).holeSize, "large holes are out of order")
            }
        }
        return holes
    }
}
