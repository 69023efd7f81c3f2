// AugmentedTree: the check of a whole tree. For tests.

extension UnsafeMutablePointer {
    /// Links, order, ranks and sums of all nodes; answers how many there are.
    /// - Complexity: O(n log n).
    func checkInvariants<Rule: TreeRule>() -> Int where Pointee == AugmentedTree<Rule> {
        guard let root = pointee.root else { return 0 }
        invariant(root.isLinked && root.parent == nil, "the root of a tree has a parent")
        var count = 0
        var place: TreeLinksPointer? = root.outermost(.left)
        while let node = place {
            count += 1
            invariant(node.isLinked, "a node in a tree says it is in none")
            if let left = node.pointee.left { invariant(left.parent == node, "a left child has another parent") }
            if let right = node.pointee.right { invariant(right.parent == node, "a right child has another parent") }
            if node.pointee.left == nil && node.pointee.right == nil {
                invariant(node.rankByLeftSpine == 0, "a leaf's rank is not 0")
            }
            invariant(node.rankByLeftSpine == node.rankByRightChild, "a node's two subtrees disagree about its rank")
            invariant(!Rule.refresh(node), "a node's sum was out of date")
            let next = node.neighbor(.right)
            if let next { invariant(!Rule.precedes(next, node), "two nodes are in the wrong order") }
            place = next
        }
        // Two to the rank's half is the least number of nodes of such a tree.
        invariant(root.rankByLeftSpine <= 2 * (Int.bitWidth - count.leadingZeroBitCount), "a tree is not balanced")
        return count
    }
}
