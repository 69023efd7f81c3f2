// AugmentedTree: a balanced search tree whose nodes sum up their subtrees. Intrusive: the links are part of the object,
// so nothing here allocates or fails. RangeAllocator (large holes by size) builds on it, as the kernel's drm_mm builds
// on lib/rbtree.c and include/linux/rbtree_augmented.h; and so does the tree that tests compare IntervalIndex with.
//
// It is a rank-balanced tree (Haeupler, Sen, Tarjan, "Rank-Balanced Trees", 2015; "weak AVL"): every node has a rank 1
// or 2 above that of each child, a missing child has rank -1, a leaf has rank 0. So the height is at most 2 log2 n, an
// AVL tree's as long as nothing is removed, and an insertion or a removal does at most two rotations. One bit a node is
// enough, whether its rank is odd: with a difference of 1 or 2 it tells which. It lies in the lowest bit of the
// parent's address.
//
// Order and sum are a TreeRule: a type with static functions, so that each tree is specialised when it is compiled.
//
// - Locking: none of its own. A tree and its nodes belong to the lock of the structure that uses it.

typealias TreeLinksPointer = UnsafeMutablePointer<TreeLinks>

/// What an object embeds for each tree that it can be in. Freshly made: in no tree.
struct TreeLinks {
    var left: TreeLinksPointer?
    var right: TreeLinksPointer?
    /// The parent's address, `oddRank` and `unlinked`.
    var parentBits: UInt = TreeLinks.unlinked

    static var oddRank: UInt { 1 }
    static var unlinked: UInt { 2 }
    static var allBits: UInt { 7 }
}

/// How a tree orders its nodes, and what a node knows about its subtree.
protocol TreeRule {
    /// True if `node` belongs before `other`. Of equal nodes, the one inserted later comes later.
    static func precedes(_ node: TreeLinksPointer, _ other: TreeLinksPointer) -> Bool

    /// Works the node's sum out anew, from the node and its children's sums. True if that changed it.
    static func refresh(_ node: TreeLinksPointer) -> Bool
}

struct AugmentedTree<Rule: TreeRule> {
    var root: TreeLinksPointer?
}

enum TreeSide {
    case left
    case right

    var opposite: TreeSide { self == .left ? .right : .left }
}

extension UnsafeMutablePointer where Pointee == TreeLinks {
    /// Whether it is in a tree.
    var isLinked: Bool { pointee.parentBits & TreeLinks.unlinked == 0 }

    var parent: TreeLinksPointer? { TreeLinksPointer(bitPattern: pointee.parentBits & ~TreeLinks.allBits) }

    @inline(__always)
    func child(_ side: TreeSide) -> TreeLinksPointer? { side == .left ? pointee.left : pointee.right }

    /// The node furthest to that side in the subtree.
    func outermost(_ side: TreeSide) -> TreeLinksPointer {
        var node = self
        while let child = node.child(side) { node = child }
        return node
    }

    /// The next node in order to that side.
    /// - Complexity: O(log n); O(1) on average over a whole walk.
    func neighbor(_ side: TreeSide) -> TreeLinksPointer? {
        if let child = child(side) { return child.outermost(side.opposite) }
        var node = self
        while let parent = node.parent {
            if parent.child(side.opposite) == node { return parent }
            node = parent
        }
        return nil
    }
}

extension UnsafeMutablePointer {
    /// The first node in order.
    /// - Complexity: O(log n).
    func leftmostNode<Rule: TreeRule>() -> TreeLinksPointer? where Pointee == AugmentedTree<Rule> {
        pointee.root?.outermost(.left)
    }

    /// Puts the node where the rule says.
    /// - Complexity: O(log n).
    func insert<Rule: TreeRule>(_ node: TreeLinksPointer) where Pointee == AugmentedTree<Rule> {
        var parent: TreeLinksPointer?
        var side = TreeSide.left
        var place = pointee.root
        while let other = place {
            parent = other
            side = Rule.precedes(node, other) ? .left : .right
            place = other.child(side)
        }
        link(node, below: parent, side)
    }

    /// Works out the sums from `node` to the root: all of them up to `last`, from there on only as far as they change.
    func refreshUpwards<Rule: TreeRule>(from node: TreeLinksPointer, through last: TreeLinksPointer)
    where Pointee == AugmentedTree<Rule> {
        var mustGoOn = true
        var place: TreeLinksPointer? = node
        while let node = place {
            if node == last { mustGoOn = false }
            let changed = Rule.refresh(node)
            if !changed && !mustGoOn { return }
            place = node.parent
        }
    }
}
