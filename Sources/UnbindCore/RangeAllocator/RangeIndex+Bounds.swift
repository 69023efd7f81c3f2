// RangeIndex: what the branches know of the holes below them, and the search that goes by it.

import CSystem

extension UnsafeMutablePointer where Pointee == RangeIndex {
    /// What fits into the greatest hole of a leaf.
    func capacity(of leaf: RangeLeafPointer) -> HoleCapacity {
        var capacity = HoleCapacity()
        var order = leaf.pointee.order
        for _ in 0..<leaf.count {
            let slot = Int(truncatingIfNeeded: order & 15)
            let (start, hole) = (leaf.ends[slot], leaf.holes[slot])
            capacity.formUnion(HoleCapacity(from: start, to: start &+ hole, unitShift: pointee.unitShift))
            order &>>= 4
        }
        return capacity
    }

    /// What is sure not to be exceeded below a branch.
    func capacity(of branch: RangeBranchPointer) -> HoleCapacity {
        var capacity = HoleCapacity()
        capacity.unaligned = branch.greatestBound(.none)
        capacity.aligned64K = branch.greatestBound(.pages64K)
        capacity.aligned2M = branch.greatestBound(.pages2M)
        return capacity
    }

    /// Works out the bounds of what is below a child anew. Those further up are no lower already.
    func updateBounds(of child: RangeChildPointer, isLeaf: Bool) {
        guard let parent = child.pointee.parent else { return }
        let index = Int(child.pointee.index)
        let capacity = isLeaf ? capacity(of: child.asLeaf) : capacity(of: child.asBranch)
        parent.bounds(.none)[index] = capacity.unaligned
        parent.bounds(.pages64K)[index] = capacity.aligned64K
        parent.bounds(.pages2M)[index] = capacity.aligned2M
    }

    /// The leaf has no hole of that size any more. If that was its greatest, works out which is now: the leaf is in the
    /// cache, which it may not be when a search comes to look for what is gone. Further up it is left to searches.
    @inline(__always)
    func lowerBound(of leaf: RangeLeafPointer, afterLosing hole: UInt64) {
        guard let parent = leaf.pointee.base.parent else { return }
        let bound = parent.bounds(.none) + Int(leaf.pointee.base.index)
        if bound.pointee != HoleCapacity.units(hole, pointee.unitShift) { return }
        bound.pointee = HoleCapacity.units(leaf.greatestHole, pointee.unitShift)
    }

    /// A hole below the child has become that big.
    @inline(__always)
    func raiseBounds(of child: RangeChildPointer, to capacity: HoleCapacity) {
        var child = child
        while let parent = child.pointee.parent {
            let index = Int(child.pointee.index)
            let (unaligned, aligned64K) = (parent.bounds(.none) + index, parent.bounds(.pages64K) + index)
            let aligned2M = parent.bounds(.pages2M) + index
            if capacity.unaligned <= unaligned.pointee && capacity.aligned64K <= aligned64K.pointee
                && capacity.aligned2M <= aligned2M.pointee
            {
                return
            }
            unaligned.pointee = Swift.max(unaligned.pointee, capacity.unaligned)
            aligned64K.pointee = Swift.max(aligned64K.pointee, capacity.aligned64K)
            aligned2M.pointee = Swift.max(aligned2M.pointee, capacity.aligned2M)
            child = parent.base
        }
    }
}

extension UnsafeMutablePointer where Pointee == RangeLeaf {
    @inline(__always)
    var greatestHole: UInt64 {
        let holes = holes
        var greatest: UInt64 = 0
        for slot in 0..<RangeLeaf.capacity { greatest = Swift.max(greatest, holes[slot]) }
        return greatest
    }
}

extension UnsafeMutablePointer where Pointee == RangeBranch {
    func greatestBound(_ alignment: HoleAlignment) -> Int32 {
        let bounds = bounds(alignment)
        var greatest: Int32 = -1
        for index in 0..<RangeBranch.capacity { greatest = Swift.max(greatest, bounds[index]) }
        return greatest
    }

    /// A bit for each child whose bound is at least that.
    @inline(__always)
    func children(withBound alignment: HoleAlignment, atLeast units: Int32) -> UInt32 {
        csys_at_least_16(bounds(alignment), units)
    }
}

/// A walk over the holes that pass a filter, in order of addresses.
struct HoleWalk {
    private let index: UnsafeMutablePointer<RangeIndex>
    private let upwards: Bool
    /// Where it is; nil before the first.
    private var leaf: RangeLeafPointer?
    private var position = 0

    /// The walk begins behind `place`; nil: with the outermost.
    @inline(__always)
    init(_ index: UnsafeMutablePointer<RangeIndex>, from place: RangeSlot?, upwards: Bool) {
        self.index = index
        self.upwards = upwards
        guard let place else { return }
        leaf = place.leaf
        position = place.position
    }

    /// - Complexity: O(log n), averaged over the holes that shrank since.
    mutating func next(passing filter: HoleFilter) -> RangeSlot? {
        let units = HoleCapacity.units(filter.size, index.pointee.unitShift)
        var branch: RangeBranchPointer
        var allowed = UInt32.max
        if let leaf {
            if let found = search(leaf, from: upwards ? position &+ 1 : position &- 1, filter) { return found }
            guard let parent = leaf.pointee.base.parent else { return nil }
            branch = parent
            allowed = children(beyond: leaf.pointee.base.index)
        } else {
            guard let root = index.pointee.root else {
                let leaf = index.firstLeaf
                return search(leaf, from: upwards ? 0 : leaf.count &- 1, filter)
            }
            branch = root
        }
        while true {
            let passing = branch.children(withBound: filter.alignment, atLeast: units) & allowed
            if passing == 0 {
                guard let parent = branch.pointee.base.parent else { return nil }
                let number = branch.pointee.base.index
                parent.bounds(filter.alignment)[Int(number)] = branch.greatestBound(filter.alignment)
                allowed = children(beyond: number)
                branch = parent
                continue
            }
            let number = upwards ? passing.trailingZeroBitCount : 31 &- passing.leadingZeroBitCount
            let child = branch.child(number)
            if !branch.pointee.hasLeaves {
                branch = child.asBranch
                allowed = .max
                continue
            }
            let leaf = child.asLeaf
            if let found = search(leaf, from: upwards ? 0 : leaf.count &- 1, filter) { return found }
            branch.bounds(filter.alignment)[number] = greatestCapacity(of: leaf, filter.alignment)
            allowed = children(beyond: Int32(truncatingIfNeeded: number))
        }
    }

    @inline(__always)
    private func children(beyond number: Int32) -> UInt32 {
        let number = UInt32(truncatingIfNeeded: number)
        return upwards ? ~1 &<< number : (1 &<< number) &- 1
    }

    @inline(__always)
    private mutating func search(_ leaf: RangeLeafPointer, from first: Int, _ filter: HoleFilter) -> RangeSlot? {
        let (count, holes, ends) = (leaf.count, leaf.holes, leaf.ends)
        var position = first
        while position >= 0 && position < count {
            let slot = leaf.slot(at: position)
            if filter.passes(from: ends[slot], to: ends[slot] &+ holes[slot]) {
                self.leaf = leaf
                self.position = position
                return RangeSlot(leaf, slot)
            }
            position = upwards ? position &+ 1 : position &- 1
        }
        return nil
    }

    private func greatestCapacity(of leaf: RangeLeafPointer, _ alignment: HoleAlignment) -> Int32 {
        let (holes, ends) = (leaf.holes, leaf.ends)
        if alignment == .none { return HoleCapacity.units(leaf.greatestHole, index.pointee.unitShift) }
        var greatest: UInt64 = 0
        for position in 0..<leaf.count {
            let slot = leaf.slot(at: position)
            let (start, end) = (ends[slot], ends[slot] &+ holes[slot])
            greatest = max(greatest, HoleCapacity.bytes(from: start, to: end, alignment: alignment.bytes))
        }
        return HoleCapacity.units(greatest, index.pointee.unitShift)
    }
}
