// IntervalTree: what IntervalIndex is compared with. A balanced binary tree of closed intervals in order of their
// starts, in which each node knows the greatest end below it.

@testable import UnbindCore

typealias TreeIntervalPointer = UnsafeMutablePointer<TreeInterval>

/// One interval, start...last. 48 bytes.
struct TreeInterval {
    /// First: a pointer to it is a pointer to the node.
    fileprivate var links = TreeLinks()
    /// Must not change while the node is in an index.
    var start: UInt64
    /// Inclusive; not below start.
    var last: UInt64
    /// The greatest `last` in its subtree.
    fileprivate(set) var subtreeLast: UInt64 = 0

    init(start: UInt64 = 0, last: UInt64 = 0) {
        self.start = start
        self.last = last
    }
}

struct IntervalTree: ~Copyable {
    fileprivate var tree = AugmentedTree<TreeIntervalRule>()
    /// How many intervals are in it.
    fileprivate(set) var count = 0

    init() {}
}

enum TreeIntervalRule: TreeRule {
    @inline(__always)
    static func node(of links: TreeLinksPointer) -> TreeIntervalPointer {
        UnsafeMutableRawPointer(links).assumingMemoryBound(to: TreeInterval.self)
    }

    static func precedes(_ links: TreeLinksPointer, _ other: TreeLinksPointer) -> Bool {
        node(of: links).pointee.start < node(of: other).pointee.start
    }

    static func refresh(_ links: TreeLinksPointer) -> Bool {
        let node = node(of: links)
        var last = node.pointee.last
        if let left = node.left { last = max(last, left.pointee.subtreeLast) }
        if let right = node.right { last = max(last, right.pointee.subtreeLast) }
        if last == node.pointee.subtreeLast { return false }
        node.pointee.subtreeLast = last
        return true
    }
}

extension UnsafeMutablePointer where Pointee == TreeInterval {
    fileprivate var links: TreeLinksPointer {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: TreeLinks.self)
    }

    /// Whether it is in an index.
    var isInserted: Bool { links.isLinked }

    var left: TreeIntervalPointer? { links.pointee.left.map(TreeIntervalRule.node(of:)) }

    var right: TreeIntervalPointer? { links.pointee.right.map(TreeIntervalRule.node(of:)) }

    var parent: TreeIntervalPointer? { links.parent.map(TreeIntervalRule.node(of:)) }
}

extension UnsafeMutablePointer where Pointee == IntervalTree {
    /// At the start of an IntervalTree.
    private var tree: UnsafeMutablePointer<AugmentedTree<TreeIntervalRule>> {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: AugmentedTree<TreeIntervalRule>.self)
    }

    var count: Int { pointee.count }

    var root: TreeIntervalPointer? { pointee.tree.root.map(TreeIntervalRule.node(of:)) }

    /// The interval that starts lowest; of those that start alike, the one inserted first.
    /// - Complexity: O(log n).
    var first: TreeIntervalPointer? { tree.leftmostNode().map(TreeIntervalRule.node(of:)) }

    /// The node must be in no index, and stay where it is until it is removed.
    /// - Complexity: O(log n).
    func insert(_ node: TreeIntervalPointer) {
        invariant(node.pointee.start <= node.pointee.last, "an interval ends before it starts")
        tree.insert(node.links)
        pointee.count &+= 1
    }

    /// The node must be in this index, and nobody may be iterating.
    /// - Complexity: O(log n).
    func remove(_ node: TreeIntervalPointer) {
        tree.remove(node.links)
        pointee.count &-= 1
    }

    /// Checks the whole structure. For tests.
    func checkInvariants() {
        invariant(tree.checkInvariants() == pointee.count, "an interval tree counted its nodes wrongly")
    }
}

extension UnsafeMutablePointer where Pointee == IntervalTree {
    /// The first interval, in order of starts, that shares at least one address with start...last. An empty range (last
    /// below start) overlaps nothing.
    /// - Complexity: O(log n).
    func firstOverlap(start: UInt64, last: UInt64) -> TreeIntervalPointer? {
        guard start <= last, let root, root.pointee.subtreeLast >= start else { return nil }
        return firstOverlap(below: root, start: start, last: last)
    }

    /// The overlap that follows `node`, which must be one of the same range. The index must not have changed between.
    /// - Complexity: O(log n).
    func nextOverlap(after node: TreeIntervalPointer, start: UInt64, last: UInt64) -> TreeIntervalPointer? {
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
    func forEachOverlap(start: UInt64, last: UInt64, _ body: (TreeIntervalPointer) -> Bool) {
        var place = firstOverlap(start: start, last: last)
        while let node = place {
            if !body(node) { return }
            place = nextOverlap(after: node, start: start, last: last)
        }
    }

    /// Something in the subtree ends at `start` or later. If that starts behind the range, so does all that follows.
    private func firstOverlap(below root: TreeIntervalPointer, start: UInt64, last: UInt64) -> TreeIntervalPointer? {
        var node = root
        while true {
            if let left = node.left, left.pointee.subtreeLast >= start {
                node = left
                continue
            }
            if node.pointee.start > last { return nil }
            if node.pointee.last >= start { return node }
            // Neither the left subtree nor the node reaches the range, so the right one does.
            guard let right = node.right else { panic("the sums of an interval tree are out of date") }
            node = right
        }
    }
}
