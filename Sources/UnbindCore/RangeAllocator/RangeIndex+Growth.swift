// RangeIndex: putting a node in, and making room for it in a full leaf.

/// Leaves and branches that were taken for an insertion and are not yet in use, each with the next one's address.
struct SpareNodes {
    private var first: UnsafeMutableRawPointer?

    mutating func push(_ memory: UnsafeMutableRawPointer) {
        memory.storeBytes(of: first, as: UnsafeMutableRawPointer?.self)
        first = memory
    }

    mutating func pop() -> UnsafeMutableRawPointer? {
        guard let memory = first else { return nil }
        first = memory.load(as: UnsafeMutableRawPointer?.self)
        return memory
    }

    mutating func popLeaf() -> RangeLeafPointer {
        guard let memory = pop() else { panic("a range index counted the leaves it needs wrongly") }
        let leaf = memory.bindMemory(to: RangeLeaf.self, capacity: 1)
        leaf.initialize(to: RangeLeaf())
        return leaf
    }

    mutating func popBranch(hasLeaves: Bool) -> RangeBranchPointer {
        guard let memory = pop() else { panic("a range index counted the branches it needs wrongly") }
        let branch = memory.bindMemory(to: RangeBranch.self, capacity: 1)
        branch.initialize(to: RangeBranch())
        branch.pointee.hasLeaves = hasLeaves
        return branch
    }
}

extension UnsafeMutablePointer where Pointee == RangeIndex {
    /// Makes sure that the leaf in which the owner is has room for one more, right behind it, that will end at `end`.
    /// - Returns: the leaf and the position for the new one.
    /// - Failure: .noMemory. Nothing has changed then.
    @inline(never)
    func makeRoom(behind owner: RangeNodePointer, end: UInt64) throws(Status) -> (RangeLeafPointer, Int) {
        let leaf = RangeSlot(of: owner).leaf
        let position = RangeSlot(of: owner).position &+ 1
        var spares = try takeSpares(for: leaf)
        let right = spares.popLeaf()
        // Whoever packs ranges upwards or downwards leaves full leaves behind.
        let capacity = RangeLeaf.capacity
        let kept = position == capacity ? capacity : position == 1 ? 1 : capacity / 2
        move(from: leaf, behind: kept, to: right)
        right.pointee.previous = leaf
        right.pointee.next = leaf.pointee.next
        leaf.pointee.next?.pointee.previous = right
        leaf.pointee.next = right
        let key = right.count > 0 ? right.ends[right.slot(at: 0)] : end
        addChild(right.base, behind: leaf.base, key: key, areLeaves: true, &spares)
        if kept < capacity { updateBounds(of: leaf.base, isLeaf: true) }
        invariant(spares.pop() == nil, "a range index took more memory than it needed")
        if position < kept || kept < capacity && position == kept { return (leaf, position) }
        return (right, position &- kept)
    }

    /// One leaf, one branch for each full one above it, and one more if the root is full.
    private func takeSpares(for leaf: RangeLeafPointer) throws(Status) -> SpareNodes {
        var needed = 1
        var parent = leaf.pointee.base.parent
        while let branch = parent, branch.count == RangeBranch.capacity {
            needed &+= 1
            parent = branch.pointee.base.parent
        }
        if parent == nil { needed &+= 1 }
        var spares = SpareNodes()
        for _ in 0..<needed {
            if let memory = pointee.cache.take() ?? takeStandby() {
                spares.push(memory)
                continue
            }
            while let memory = spares.pop() { pointee.cache.give(memory) }
            throw Status.noMemory
        }
        return spares
    }

    /// Makes sure that the next so many insertions do not fail for lack of memory, whatever is removed before them.
    /// - Failure: .noMemory.
    func reserveInsertions(_ count: Int) throws(Status) {
        // A leaf, a branch for each level, and a new root.
        var needed = 2
        var branch = pointee.root
        while let present = branch {
            needed &+= 1
            branch = present.pointee.hasLeaves ? nil : present.child(0).asBranch
        }
        // The tree may grow by a level meanwhile, and each of them may find everything full.
        if count > 1 { needed = (needed &+ 1) &* count }
        while pointee.standbyCount < needed {
            guard let memory = pointee.cache.take() else { throw Status.noMemory }
            pointee.standby.push(memory)
            pointee.standbyCount &+= 1
        }
    }

    /// Gives back what reserveInsertions holds.
    func dropStandby() {
        while let memory = takeStandby() { pointee.cache.give(memory) }
    }

    private func takeStandby() -> UnsafeMutableRawPointer? {
        guard let memory = pointee.standby.pop() else { return nil }
        pointee.standbyCount &-= 1
        return memory
    }

    /// Moves the nodes from a position on to the end of another leaf.
    func move(from leaf: RangeLeafPointer, behind kept: Int, to other: RangeLeafPointer) {
        while leaf.count > kept {
            let slot = leaf.slot(at: kept)
            other.insert(
                leaf.nodes[slot].unsafelyUnwrapped, at: other.count, end: leaf.ends[slot], hole: leaf.holes[slot])
            leaf.remove(slot, at: kept)
        }
    }

    private func addChild(
        _ child: RangeChildPointer, behind left: RangeChildPointer, key: UInt64, areLeaves: Bool,
        _ spares: inout SpareNodes
    ) {
        guard let parent = left.pointee.parent else {
            let root = spares.popBranch(hasLeaves: areLeaves)
            pointee.root = root
            place(left, in: root, at: 0, key: firstLeaf.ends[firstLeaf.slot(at: 0)])
            place(child, in: root, at: 1, key: key)
            updateBounds(of: left, isLeaf: areLeaves)
            updateBounds(of: child, isLeaf: areLeaves)
            return
        }
        let index = Int(left.pointee.index) &+ 1
        let capacity = RangeBranch.capacity
        if parent.count < capacity {
            place(child, in: parent, at: index, key: key)
            updateBounds(of: child, isLeaf: areLeaves)
            return
        }
        let right = spares.popBranch(hasLeaves: areLeaves)
        let kept = index == capacity ? capacity : capacity / 2
        move(from: parent, behind: kept, to: right)
        if index < kept || kept < capacity && index == kept {
            place(child, in: parent, at: index, key: key)
        } else {
            place(child, in: right, at: index &- kept, key: key)
        }
        updateBounds(of: child, isLeaf: areLeaves)
        addChild(right.base, behind: parent.base, key: right.keys[0], areLeaves: false, &spares)
    }

    /// Without its bounds.
    private func place(_ child: RangeChildPointer, in branch: RangeBranchPointer, at index: Int, key: UInt64) {
        var last = branch.count
        while last > index {
            branch.copyChild(last &- 1, to: last, of: branch)
            last &-= 1
        }
        branch.keys[index] = key
        branch.children[index] = child
        child.pointee.parent = branch
        child.pointee.index = Int32(truncatingIfNeeded: index)
        branch.pointee.base.count &+= 1
    }

    /// Moves the children from a number on to the end of another branch.
    func move(from branch: RangeBranchPointer, behind kept: Int, to other: RangeBranchPointer) {
        for index in kept..<branch.count {
            branch.copyChild(index, to: other.count, of: other)
            other.pointee.base.count &+= 1
            branch.clearBounds(index)
        }
        branch.pointee.base.count = Int32(truncatingIfNeeded: kept)
    }
}

extension UnsafeMutablePointer where Pointee == RangeBranch {
    func copyChild(_ index: Int, to newIndex: Int, of other: RangeBranchPointer) {
        other.keys[newIndex] = keys[index]
        other.bounds(.none)[newIndex] = bounds(.none)[index]
        other.bounds(.pages64K)[newIndex] = bounds(.pages64K)[index]
        other.bounds(.pages2M)[newIndex] = bounds(.pages2M)[index]
        let child = child(index)
        other.children[newIndex] = child
        child.pointee.parent = other
        child.pointee.index = Int32(truncatingIfNeeded: newIndex)
    }

    func clearBounds(_ index: Int) {
        bounds(.none)[index] = -1
        bounds(.pages64K)[index] = -1
        bounds(.pages2M)[index] = -1
    }
}
