// IntervalIndex: which unfinished unbinds overlap a range (lib/interval_tree.c, include/linux/interval_tree_generic.h).
//
// A tree of closed intervals in order of their starts; each node knows the greatest end below it, so that a search
// passes by every subtree that ends too early. Closed, because an interval may end at the last address there is.
// Intervals may overlap, nest and be equal.
//
// The nodes are embedded in what they stand for (a VMAResource): nothing here allocates or fails. An index may be
// moved, a node that is in one may not.
//
// - Locking: the caller holds the VM lock, for lookups too.

typealias IntervalNodePointer = UnsafeMutablePointer<IntervalNode>

/// One interval, start...last. 48 bytes.
struct IntervalNode {
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

struct IntervalIndex: ~Copyable {
    fileprivate var tree = AugmentedTree<IntervalRule>()
    /// How many intervals are in it.
    fileprivate(set) var count = 0

    init() {}
}

enum IntervalRule: TreeRule {
    @inline(__always)
    static func node(of links: TreeLinksPointer) -> IntervalNodePointer {
        UnsafeMutableRawPointer(links).assumingMemoryBound(to: IntervalNode.self)
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

extension UnsafeMutablePointer where Pointee == IntervalNode {
    fileprivate var links: TreeLinksPointer {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: TreeLinks.self)
    }

    /// Whether it is in an index.
    var isInserted: Bool { links.isLinked }

    var left: IntervalNodePointer? { links.pointee.left.map(IntervalRule.node(of:)) }

    var right: IntervalNodePointer? { links.pointee.right.map(IntervalRule.node(of:)) }

    var parent: IntervalNodePointer? { links.parent.map(IntervalRule.node(of:)) }
}

extension UnsafeMutablePointer where Pointee == IntervalIndex {
    /// At the start of an IntervalIndex.
    private var tree: UnsafeMutablePointer<AugmentedTree<IntervalRule>> {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: AugmentedTree<IntervalRule>.self)
    }

    var count: Int { pointee.count }

    var root: IntervalNodePointer? { pointee.tree.root.map(IntervalRule.node(of:)) }

    /// The interval that starts lowest; of those that start alike, the one inserted first.
    /// - Complexity: O(log n).
    var first: IntervalNodePointer? { tree.leftmostNode().map(IntervalRule.node(of:)) }

    /// The node must be in no index, and stay where it is until it is removed.
    /// - Complexity: O(log n).
    func insert(_ node: IntervalNodePointer) {
        invariant(node.pointee.start <= node.pointee.last, "an interval ends before it starts")
        tree.insert(node.links)
        pointee.count &+= 1
    }

    /// The node must be in this index, and nobody may be iterating.
    /// - Complexity: O(log n).
    func remove(_ node: IntervalNodePointer) {
        tree.remove(node.links)
        pointee.count &-= 1
    }

    /// Checks the whole structure. For tests.
    func checkInvariants() {
        invariant(tree.checkInvariants() == pointee.count, "an interval index counted its nodes wrongly")
    }
}
