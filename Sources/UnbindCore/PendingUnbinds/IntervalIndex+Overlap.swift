// IntervalIndex: the search for overlaps.
//
// Leaf by leaf, in the order of what they may hold; within a leaf in the order of its slots. It never looks into a
// subtree all of which ends before the range or starts behind it. So a subtree that it does look into holds an overlap,
// but perhaps the last one: for k overlaps among n intervals it reads O(log n + k log n) nodes, never more than there
// are.

import CSystem

extension UnsafeMutablePointer where Pointee == IntervalIndex {
    /// Calls `body` with each interval that shares a page with start...last, and whether it covers all of that, until
    /// it answers false. The order depends on nothing but what was inserted and removed before. The body must not
    /// change the index. An empty range (last below start) overlaps nothing.
    @inline(__always)
    func forEachOverlap(start: UInt64, last: UInt64, _ body: (IntervalNodePointer, _ covers: Bool) -> Bool) {
        guard let root = pointee.root, start <= last, start / pageSize <= IndexWords.lastPage else { return }
        let from = IndexWords.word(page: start / pageSize)
        let below = IndexWords.word(page: min(last / pageSize, IndexWords.lastPage) + 1)
        var node = root
        var slots = node.overlaps(below: below, from: from)
        // The slots of the nodes above that are still to be looked into, by level, and a bit for each level with such.
        var waiting: InlineArray<8, UInt32> = [0, 0, 0, 0, 0, 0, 0, 0]
        var waitingLevels: UInt32 = 0
        while true {
            if slots == 0 {
                if waitingLevels == 0 { return }
                let level = waitingLevels.trailingZeroBitCount
                waitingLevels &= waitingLevels &- 1
                repeat { node = node.pointee.parent.unsafelyUnwrapped } while node.pointee.level < level
                slots = waiting[level]
            }
            let slot = slots.trailingZeroBitCount
            slots &= slots &- 1
            if node.isLeaf {
                let words = node[slot: slot]
                let covers = words.start < from &+ IndexWords.onePage && words.last >= below &- IndexWords.onePage
                if !body(words.pointer.assumingMemoryBound(to: IntervalNode.self), covers) { return }
            } else {
                if slots != 0 {
                    waiting[Int(node.pointee.level)] = slots
                    waitingLevels |= 1 &<< UInt32(node.pointee.level)
                }
                node = node.child(slot)
                slots = node.overlaps(below: below, from: from)
            }
        }
    }
}
