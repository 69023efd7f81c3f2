// AugmentedTree: linking, unlinking, and what keeps the ranks in order afterwards.
//
// The sums are made right before anything is rotated: a rotation keeps the set of nodes below the place where it
// happens, so that it only has to refresh the two nodes that change places.

extension UnsafeMutablePointer where Pointee == TreeLinks {
    fileprivate var hasOddRank: Bool { pointee.parentBits & TreeLinks.oddRank != 0 }

    fileprivate var isLeaf: Bool { pointee.left == nil && pointee.right == nil }

    /// Raises or lowers the rank by one.
    fileprivate func flipRank() { pointee.parentBits ^= TreeLinks.oddRank }

    /// Keeps the rank.
    fileprivate func setParent(_ parent: TreeLinksPointer?) {
        pointee.parentBits = UInt(bitPattern: parent) | (pointee.parentBits & TreeLinks.oddRank)
    }

    fileprivate func setChild(_ side: TreeSide, _ child: TreeLinksPointer?) {
        if side == .left { pointee.left = child } else { pointee.right = child }
    }

    /// Whether the rank of `child` (nil: -1) is an even number below. That is 2 where the difference must be 1 or 2,
    /// and 0 where it must be 0 or 1. Where it must be 2 or 3, false means 3.
    @inline(__always)
    fileprivate func isEvenStep(to child: TreeLinksPointer?) -> Bool {
        hasOddRank == (child?.hasOddRank ?? true)
    }
}

extension UnsafeMutablePointer {
    /// Hangs the node on a free place; the sums of all above it are worked out anew as far as they change.
    func link<Rule: TreeRule>(_ node: TreeLinksPointer, below parent: TreeLinksPointer?, _ side: TreeSide)
    where Pointee == AugmentedTree<Rule> {
        invariant(!node.isLinked, "a node was inserted into a tree while it was in one")
        node.pointee = TreeLinks(left: nil, right: nil, parentBits: UInt(bitPattern: parent))
        _ = Rule.refresh(node)
        guard let parent else {
            pointee.root = node
            return
        }
        parent.setChild(side, node)
        refreshUpwards(from: parent, through: parent)
        raise(from: node)
    }

    /// Takes the node out of the tree.
    /// - Complexity: O(log n).
    func remove<Rule: TreeRule>(_ node: TreeLinksPointer) where Pointee == AugmentedTree<Rule> {
        invariant(node.isLinked, "a node was removed from a tree while it was in none")
        /// Where a node is missing now, what stands there instead, and up to where sums are surely out of date.
        let hole: TreeLinksPointer?
        let filler: TreeLinksPointer?
        let last: TreeLinksPointer?
        if let left = node.pointee.left, let right = node.pointee.right {
            // The next node takes its place and its rank; the hole is where that one was.
            let heir = right.outermost(.left)
            filler = heir.pointee.right
            if heir == right {
                hole = heir
            } else {
                hole = heir.parent
                hole!.pointee.left = filler
                filler?.setParent(hole)
                heir.pointee.right = right
                right.setParent(heir)
            }
            heir.pointee.left = left
            left.setParent(heir)
            heir.pointee.parentBits = node.pointee.parentBits
            replace(node, below: node.parent, with: heir)
            // The heir's old sum says nothing about the place it took: whether that changed, only its parent can tell.
            last = heir.parent ?? heir
        } else {
            hole = node.parent
            filler = node.pointee.left ?? node.pointee.right
            filler?.setParent(hole)
            replace(node, below: hole, with: filler)
            last = hole
        }
        node.pointee = TreeLinks()
        guard let hole, let last else { return }
        refreshUpwards(from: hole, through: last)
        lower(from: filler, below: hole)
    }

    private func replace<Rule: TreeRule>(
        _ node: TreeLinksPointer, below parent: TreeLinksPointer?, with other: TreeLinksPointer?
    ) where Pointee == AugmentedTree<Rule> {
        guard let parent else {
            pointee.root = other
            return
        }
        parent.setChild(parent.pointee.left == node ? .left : .right, other)
    }

    /// Lets the node and its parent change places; the nodes stay in order.
    private func rotateUp<Rule: TreeRule>(_ node: TreeLinksPointer) where Pointee == AugmentedTree<Rule> {
        let parent = node.parent!
        let side: TreeSide = parent.pointee.left == node ? .left : .right
        let inner = node.child(side.opposite)
        replace(parent, below: parent.parent, with: node)
        node.setParent(parent.parent)
        parent.setChild(side, inner)
        inner?.setParent(parent)
        node.setChild(side.opposite, parent)
        parent.setParent(node)
        _ = Rule.refresh(parent)
        _ = Rule.refresh(node)
    }

    /// After an insertion: the node's rank may equal its parent's.
    private func raise<Rule: TreeRule>(from start: TreeLinksPointer) where Pointee == AugmentedTree<Rule> {
        var node = start
        while let parent = node.parent, parent.isEvenStep(to: node) {
            let side: TreeSide = parent.pointee.left == node ? .left : .right
            if !parent.isEvenStep(to: parent.child(side.opposite)) {
                // The sibling is one below: there is room to raise the parent.
                parent.flipRank()
                node = parent
                continue
            }
            let inner = node.child(side.opposite)
            if node.isEvenStep(to: inner) {
                rotateUp(node)
            } else {
                // It is one below, so it exists.
                rotateUp(inner!)
                rotateUp(inner!)
                inner!.flipRank()
                node.flipRank()
            }
            parent.flipRank()
            return
        }
    }

    /// After a removal: `start` (nil: a free place) may be three below its parent, and the parent a leaf of rank 1.
    private func lower<Rule: TreeRule>(from start: TreeLinksPointer?, below hole: TreeLinksPointer)
    where Pointee == AugmentedTree<Rule> {
        var node = start
        var next: TreeLinksPointer? = hole
        if hole.isLeaf {
            hole.flipRank()
            node = hole
            next = hole.parent
        }
        while let parent = next, !parent.isEvenStep(to: node) {
            let side: TreeSide = parent.pointee.left == node ? .left : .right
            // One or two below the parent, so at least one above `node`: it exists.
            let sibling = parent.child(side.opposite)!
            let near = sibling.child(side)
            let far = sibling.child(side.opposite)
            if !parent.isEvenStep(to: sibling) {
                if !sibling.isEvenStep(to: far) {
                    rotateUp(sibling)
                    sibling.flipRank()
                    // Down by one, or by two if nothing is left below it.
                    if !parent.isLeaf { parent.flipRank() }
                    return
                }
                if !sibling.isEvenStep(to: near) {
                    // Up by two, the parent down by two, the sibling down by one.
                    rotateUp(near!)
                    rotateUp(near!)
                    sibling.flipRank()
                    return
                }
                sibling.flipRank()
            }
            parent.flipRank()
            node = parent
            next = parent.parent
        }
    }
}

extension UnsafeMutablePointer where Pointee == TreeLinks {
    /// The rank as the left spine gives it; for invariant checks.
    var rankByLeftSpine: Int {
        var rank = -1
        var place: TreeLinksPointer? = self
        while let node = place {
            rank += node.isEvenStep(to: node.pointee.left) ? 2 : 1
            place = node.pointee.left
        }
        return rank
    }

    /// The rank as its right child gives it; for invariant checks.
    var rankByRightChild: Int {
        (pointee.right?.rankByLeftSpine ?? -1) + (isEvenStep(to: pointee.right) ? 2 : 1)
    }
}
