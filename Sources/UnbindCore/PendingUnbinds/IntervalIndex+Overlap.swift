// IntervalIndex: the search for overlaps.
//
// In order of starts. It never looks into a subtree all of which ends before the range, and it stops at the first
// interval that starts behind the range. So a subtree it does look into holds an overlap, unless everything from there
// on starts behind the range: for k overlaps among n intervals it reads O(log n + k log(n / k)) nodes, never more than
// n, and O(log n + k) if the overlaps lie side by side.

extension UnsafeMutablePointer where Pointee == IntervalIndex {
    /// The first interval, in order of starts, that shares at least one address with start...last. An empty range (last
    /// below start) overlaps nothing.
    /// - Complexity: O(log n).
    func firstOverlap(start: UInt64, last: UInt64) -> IntervalNodePointer? {
        guard start <= last, let root, root.pointee.subtreeLast >= start else { return nil }
        return firstOverlap(below: root, start: start, last: last)
    }

    /// The overlap that follows `node`, which must be one of the same range. The index must not have changed between.
    /// - Complexity: O(log n).
    func nextOverlap(after node: IntervalNodePointer, start: UInt64, last: UInt64) -> IntervalNodePointer? {
        var node = node
        while true {
            if let right = node.right, right.pointee.subtreeLast >= start {
                return firstOverlap(below: right, start: start, last: last)
            }
            // Up to the first node that lies to the right.
            var below = node
            repeat {
                guard let parent = node.parent else { return nil }
                below = node
                node = parent
            } while node.right == below
            if node.pointee.start > last { return nil }
            if node.pointee.last >= start { return node }
        }
    }

    /// Calls `body` with each interval that shares an address with start...last, in order of starts, until it answers
    /// false. The body must not change the index.
    /// - Complexity: see the head of the file.
    @inline(__always)
    func forEachOverlap(start: UInt64, last: UInt64, _ body: (IntervalNodePointer) -> Bool) {
        var place = firstOverlap(start: start, last: last)
        while let node = place {
            if !body(node) { return }
            place = nextOverlap(after: node, start: start, last: last)
        }
    }

    /// Something in the subtree ends at `start` or later. If that starts behind the range, so does all that follows.
    private func firstOverlap(below root: IntervalNodePointer, start: UInt64, last: UInt64) -> IntervalNodePointer? {
        var node = root
        while true {
            if let left = node.left, left.pointee.subtreeLast >= start {
                node = left
                continue
            }
            if node.pointee.start > last { return nil }
            if node.pointee.last >= start { return node }
            // Neither the left subtree nor the node reaches the range, so the right one does.
            guard let right = node.right else { panic("the sums of an interval index are out of date") }
            node = right
        }
    }
}
