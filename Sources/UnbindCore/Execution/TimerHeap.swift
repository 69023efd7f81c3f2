// TimerHeap: work items by the time they are due, those due at one time in the order of their submission.
//
// A pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) in the links of the items: `child` is an item's first
// child, `next` its next sibling, `previous` the sibling before it or, of a first child, the parent. Inserting is
// constant time, taking the first one or one from the middle O(log n) amortised, and none allocates or recurses.
//
// The heap is its root; the functions take a root and give the new one, so that the executor which owns it makes one
// plain store under its lock.

enum TimerHeap {
    /// The root after `item` was added.
    static func inserting(_ item: WorkItemPointer, into root: WorkItemPointer?) -> WorkItemPointer {
        item.pointee.child = nil
        item.pointee.next = nil
        item.pointee.previous = nil
        guard let root else { return item }
        return meld(root, item)
    }

    /// The root after the present one, the earliest item, was taken out.
    static func removingFirst(of root: WorkItemPointer) -> WorkItemPointer? {
        // Left to right: melt neighbours in pairs, and keep the pairs in reverse.
        var rest = root.pointee.child
        var pairs: WorkItemPointer?
        root.pointee.child = nil
        while let first = rest {
            var pair = first
            let second = first.pointee.next
            rest = second?.pointee.next
            first.pointee.next = nil
            if let second {
                second.pointee.next = nil
                pair = meld(first, second)
            }
            pair.pointee.next = pairs
            pairs = pair
        }
        // Right to left: melt the pairs into one.
        guard var result = pairs else { return nil }
        pairs = result.pointee.next
        result.pointee.next = nil
        while let pair = pairs {
            pairs = pair.pointee.next
            pair.pointee.next = nil
            result = meld(result, pair)
        }
        result.pointee.previous = nil
        return result
    }

    /// The root after `item`, which is in the heap, was taken out.
    static func removing(_ item: WorkItemPointer, from root: WorkItemPointer) -> WorkItemPointer? {
        let rest = removingFirst(of: item)
        if item == root { return rest }
        let previous = item.pointee.previous!
        if previous.pointee.child == item {
            previous.pointee.child = item.pointee.next
        } else {
            previous.pointee.next = item.pointee.next
        }
        item.pointee.next?.pointee.previous = previous
        item.pointee.next = nil
        item.pointee.previous = nil
        guard let rest else { return root }
        return meld(root, rest)
    }

    /// Two roots without siblings become one.
    private static func meld(_ a: WorkItemPointer, _ b: WorkItemPointer) -> WorkItemPointer {
        let (parent, child) = precedes(b, a) ? (b, a) : (a, b)
        child.pointee.next = parent.pointee.child
        child.pointee.next?.pointee.previous = child
        child.pointee.previous = parent
        parent.pointee.child = child
        return parent
    }

    @inline(__always)
    private static func precedes(_ a: WorkItemPointer, _ b: WorkItemPointer) -> Bool {
        a.pointee.due != b.pointee.due ? a.pointee.due < b.pointee.due : a.pointee.sequence < b.pointee.sequence
    }
}
