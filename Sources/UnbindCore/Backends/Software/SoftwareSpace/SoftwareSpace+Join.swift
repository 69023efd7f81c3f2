// Neighbouring bindings become one, with the same translations: the opposite of a split.
//
// Entries change only where the pages on both sides of a joint make a larger page. Sixteen entries get the mark of a
// 64 KiB page; a table of level 0 gives its place to a page of 2 MiB, in one store, and is retired with its entries in
// it: an engine may be reading them until the next invalidation, and what they say stays true.
//
// - Locking: the lock of the page tables.
// - Signalling: does not allocate, cannot fail.

import Synchronization

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Makes one binding of `count` that have been written. They cover it in order, and it has been reserved. False, and
    /// nothing has changed, if somebody else has reserved a table that would have to go.
    /// - Locking: held.
    func joinLocked(_ whole: Binding, from count: Int, _ piece: (Int) -> Binding) -> Bool {
        invariant(!pointee.hasTableModes, "bindings were joined whose tables have modes")
        let plan = BindingPlan(whole, pageSizes: pointee.pageSizes)
        for index in 1..<count where !canReplace(piece(index).start, plan, count, piece) { return false }
        _ = traverse(plan, .adopt)
        for index in 1..<count { enlarge(piece(index).start, plan) }
        for index in 0..<count { _ = traverse(BindingPlan(piece(index), pageSizes: pointee.pageSizes), .hand) }
        for index in 1..<count { retireReplaced(piece(index).start) }
        return true
    }

    /// The table of level 0 that a joint lies in, if it is to give way to a page of 2 MiB.
    private func replacedTable(_ joint: UInt64, _ plan: BindingPlan) -> PageTablePointer? {
        let block = roundDown(joint, to: PageSize.large)
        guard plan.usesLarge, block != joint, block >= plan.start, plan.end &- block >= PageSize.large else {
            return nil
        }
        return table(joint, 1, makes: false)?.child(PageTableLevel.index(joint, 1))
    }

    private func canReplace(_ joint: UInt64, _ plan: BindingPlan, _ count: Int, _ piece: (Int) -> Binding) -> Bool {
        guard let table = replacedTable(joint, plan) else { return true }
        let block = roundDown(joint, to: PageSize.large)
        var users: UInt32 = 0
        for index in 0..<count where piece(index).start < block &+ PageSize.large && piece(index).end > block {
            users &+= 1
        }
        if pointee.keptLeaf == table {
            pointee.keptLeaf = nil
            table.pointee.users &-= 1
        }
        return table.pointee.users == users && table.pointee.writers == users
    }

    private func enlarge(_ joint: UInt64, _ plan: BindingPlan) {
        if let table = replacedTable(joint, plan) {
            // Another joint may have been in the same one.
            if table.pointee.isReplaced { return }
            let block = roundDown(joint, to: PageSize.large)
            let parent = table.pointee.parent.unsafelyUnwrapped
            let value = (block &+ plan.delta) | plan.flags | PageTableEntry.large
            parent.pointee.entries[table.pointee.index].store(value, ordering: .releasing)
            parent.pointee.writers = parent.pointee.writers &- 1
            // Stays, until the others have left it.
            table.pointee.isReplaced = true
            table.pointee.users &+= 1
            table.pointee.writers &+= 1
            pointee.counters.written.add(1)
            return
        }
        let block = roundDown(joint, to: PageSize.medium)
        guard plan.usesMedium, block != joint, block >= plan.start, plan.end &- block >= PageSize.medium,
            let leaf = table(joint, 0, makes: false)
        else { return }
        let entries = leaf.pointee.entries + PageTableLevel.index(block, 0)
        for index in 0..<16 {
            let old = entries[index].load(ordering: .relaxed)
            invariant(old & PageTableEntry.present != 0, "bindings were joined that are not there")
            entries[index].store(old | PageTableEntry.medium, ordering: .releasing)
        }
        pointee.counters.written.add(16)
    }

    private func retireReplaced(_ joint: UInt64) {
        guard let parent = table(joint, 1, makes: false) else { return }
        let index = PageTableLevel.index(joint, 1)
        guard let table = parent.child(index), table.pointee.isReplaced else { return }
        table.pointee.users &-= 1
        table.pointee.writers &-= 1
        invariant(table.pointee.users == 0 && table.pointee.writers == 0, "a table gave way that is in use")
        parent.pointee.children.unsafelyUnwrapped[index] = nil
        parent.pointee.users &-= 1
        retire(table)
    }
}
