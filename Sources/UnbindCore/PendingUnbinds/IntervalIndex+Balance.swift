// IntervalIndex: splitting nodes that are full, and refilling those that got too empty.
//
// A node that moves to another leaf is told so, which touches its owner's memory: on average once an operation, if as
// many are removed as inserted at random.

/// The used slots of a leaf by where their intervals start; of equals, the lower slot first, so that nothing depends on
/// addresses.
private struct SortedSlots {
    /// Page and slot.
    private var keys = InlineArray<30, UInt64>(repeating: 0)
    private(set) var count = 0

    init(of leaf: IndexNodePointer) {
        for slot in 0..<IndexNode.slots where leaf.pointee.used & (1 &<< UInt32(slot)) != 0 {
            let key = IndexWords.page(leaf.starts[slot]) &<< 5 | UInt64(slot)
            var place = count
            while place > 0, keys[place - 1] > key {
                keys[place] = keys[place - 1]
                place -= 1
            }
            keys[place] = key
            count += 1
        }
    }

    func slot(_ place: Int) -> Int { Int(keys[place] & 31) }

    func page(_ place: Int) -> UInt64 { keys[place] &>> 5 }
}

extension UnsafeMutablePointer where Pointee == IntervalIndex {
    // MARK: Splitting

    /// Makes room in a full leaf, for an interval that starts at `page`; the leaf to put it into.
    func split(_ leaf: IndexNodePointer, toInsertAt page: UInt64) -> IndexNodePointer {
        let (upper, firstPage) = split(leaf)
        return page >= firstPage ? upper : leaf
    }

    /// Moves the upper half of a full node to a new one next to it, which begins at the page.
    private func split(_ node: IndexNodePointer) -> (upper: IndexNodePointer, firstPage: UInt64) {
        if node.pointee.parent == nil { addRoot(above: node) }
        if node.pointee.parent.unsafelyUnwrapped.isFull { _ = split(node.pointee.parent.unsafelyUnwrapped) }
        let upper = pointee.pool.take()
        upper.initialize(level: node.pointee.level)
        let firstPage = moveUpper(IndexNode.slots - IndexNode.leastSlots, of: node, to: upper)
        // Splitting the parent may have changed it.
        let parent = node.pointee.parent.unsafelyUnwrapped
        let slot = parent.slot(of: node)
        parent.setLast(node.pointee.greatestLast, at: slot)
        parent.insertChild(upper, at: slot + 1, page: firstPage)
        return (upper, firstPage)
    }

    private func addRoot(above node: IndexNodePointer) {
        let root = pointee.pool.take()
        root.initialize(level: node.pointee.level + 1)
        root.pointee.greatestLast = node.pointee.greatestLast
        root.insertChild(node, at: 0, page: 0)
        pointee.root = root
    }

    // MARK: Refilling

    /// The node has lost a slot, and has one less than it needs, unless it is the root.
    func refill(_ start: IndexNodePointer) {
        var node = start
        while node.pointee.count < IndexNode.leastSlots, let parent = node.pointee.parent {
            let slot = parent.slot(of: node)
            let lowerSlot = slot + 1 < parent.count ? slot : slot - 1
            let (lower, upper) = (parent.child(lowerSlot), parent.child(lowerSlot + 1))
            if lower.count + upper.count > IndexNode.slots {
                let moved = (max(lower.count, upper.count) - min(lower.count, upper.count)) / 2
                let page =
                    lower.count < upper.count
                    ? moveLower(moved, of: upper, to: lower) : moveUpper(moved, of: lower, to: upper)
                parent.setStart(page: page, at: lowerSlot + 1)
                parent.setLast(lower.pointee.greatestLast, at: lowerSlot)
                parent.setLast(upper.pointee.greatestLast, at: lowerSlot + 1)
                return
            }
            _ = moveLower(upper.count, of: upper, to: lower)
            parent.setLast(lower.pointee.greatestLast, at: lowerSlot)
            parent.removeChild(at: lowerSlot + 1)
            pointee.pool.give(upper)
            node = parent
        }
        if let root = pointee.root, !root.isLeaf, root.count == 1 {
            let child = root.child(0)
            child.pointee.parent = nil
            pointee.root = child
            pointee.pool.give(root)
        }
    }

    // MARK: Moving slots between neighbours

    /// Moves the last `count` slots of a node to the one above it, which then begins at the page.
    private func moveUpper(_ count: Int, of node: IndexNodePointer, to upper: IndexNodePointer) -> UInt64 {
        let first = node.count - count
        let page: UInt64
        if node.isLeaf {
            let slots = SortedSlots(of: node)
            for place in first..<slots.count { move(slots.slot(place), of: node, to: upper) }
            page = slots.page(first)
        } else {
            page = IndexWords.page(node.starts[first])
            for place in 0..<count { moveChild(first, of: node, to: upper, at: place) }
        }
        node.pointee.greatestLast = node.computeGreatestLast()
        upper.pointee.greatestLast = upper.computeGreatestLast()
        return page
    }

    /// Moves the first `count` slots of a node to the one below it. The page that the node then begins at, if there is
    /// anything left in it.
    private func moveLower(_ count: Int, of node: IndexNodePointer, to lower: IndexNodePointer) -> UInt64 {
        let left = node.count - count
        var page: UInt64 = 0
        if node.isLeaf {
            let slots = SortedSlots(of: node)
            for place in 0..<count { move(slots.slot(place), of: node, to: lower) }
            if left > 0 { page = slots.page(count) }
        } else {
            for _ in 0..<count { moveChild(0, of: node, to: lower, at: lower.count) }
            if left > 0 { page = IndexWords.page(node.starts[0]) }
        }
        node.pointee.greatestLast = node.computeGreatestLast()
        lower.pointee.greatestLast = lower.computeGreatestLast()
        return page
    }

    private func move(_ slot: Int, of leaf: IndexNodePointer, to other: IndexNodePointer) {
        let words = leaf[slot: slot]
        leaf.clear(slot)
        other.put(words)
    }

    private func moveChild(_ slot: Int, of node: IndexNodePointer, to other: IndexNodePointer, at otherSlot: Int) {
        let page = IndexWords.page(node.starts[slot])
        let child = node.child(slot)
        node.removeChild(at: slot)
        other.insertChild(child, at: otherSlot, page: page)
    }
}
