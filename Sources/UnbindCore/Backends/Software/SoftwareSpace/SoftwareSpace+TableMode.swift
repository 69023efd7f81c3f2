// The page size of a whole table, as gen9 to gen12 have it (IPS, "intermediate page size"; gen8_ppgtt_insert_huge).
//
// In such a space a bit of the entry that links a table of level 0 says that it holds 64 KiB pages: the engine then
// reads every sixteenth entry, and a page of 4 KiB in that table is out of its reach. So a table, 2 MiB of addresses,
// is in that mode only while every binding in it allows it, and it may change only when no page of the other size is in
// use there. The owner of the space sees to that: it decides a table's mode when it binds (`decideMode`), and has
// whoever decides otherwise than before wait for the pending unbinds in the whole table. Here it is checked: whoever
// made the present decision finds no small page left. A binding that was decided earlier and is written in between
// leaves the mode alone.
//
// Entries are written as always: those of 64 KiB runs are marked `medium`, and mean the same in either mode.
//
// - Locking: the lock of the page tables.

import Synchronization

extension Binding {
    /// Whether its part of the 2 MiB block, of which it covers some, could be in a table of 64 KiB pages.
    func allowsMedium(inBlock block: UInt64, pageSizes: UInt64) -> Bool {
        let first = Swift.max(start, block)
        let limit = Swift.min(end, block &+ PageSize.large)
        return pageSizes & PageSize.medium != 0
            && isAligned(first | limit | (physical &- start), to: PageSize.medium)
    }

    /// Whether it covers all of the 2 MiB block.
    func covers(block: UInt64) -> Bool { start <= block && end >= block &+ PageSize.large }
}

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Whether deciding so changes the mode of the block's table: the one it has, or the one that was decided for those
    /// who have yet to write in it.
    func changesMode(ofBlock block: UInt64, isMedium: Bool) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard let table = lowestTable(covering: block) else { return false }
        return table.pointee.writers == 0 || table.pointee.isMedium != isMedium
            || table.pointee.wantsMedium != isMedium
    }

    /// A number for the decisions that one binding makes.
    func nextDecision() -> UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        pointee.decisions = pointee.decisions &+ 1
        return pointee.decisions
    }

    /// The mode that the table of the block is to have. For a binding that has been reserved.
    func decideMode(ofBlock block: UInt64, isMedium: Bool, decision: UInt64) {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard let table = lowestTable(covering: block) else { return }
        table.pointee.wantsMedium = isMedium
        table.pointee.decision = decision
    }

    private func lowestTable(covering address: UInt64) -> PageTablePointer? {
        var table = pointee.root
        while table.pointee.level > 0 {
            guard let child = table.child(PageTableLevel.index(address, table.pointee.level)) else { return nil }
            table = child
        }
        return table
    }

    /// Part of a binding, from `start` to `end`, has been written in a table.
    /// - Locking: held.
    func noteWritten(_ table: PageTablePointer, from start: UInt64, to end: UInt64, _ plan: BindingPlan) {
        let isSmall = plan.isSmall(from: start, to: end)
        if isSmall { table.pointee.smallWriters = table.pointee.smallWriters &+ 1 }
        let coversAll = end &- start == PageSize.large
        let wantsMedium = coversAll ? !isSmall : table.pointee.wantsMedium
        invariant(
            !wantsMedium || table.pointee.smallWriters == 0 || table.pointee.decision != plan.decision,
            "a page table was to hold 64 KiB pages while one of 4 KiB was still in it")
        let isMedium = wantsMedium && table.pointee.smallWriters == 0
        // Its first writer has linked it as one of 4 KiB pages.
        let wasMedium = table.pointee.writers > 1 && table.pointee.isMedium
        table.pointee.isMedium = isMedium
        if isMedium == wasMedium { return }
        let raw = PageTableEntry.table(at: table.address) | (isMedium ? PageTableEntry.ips : 0)
        let link = table.pointee.parent.unsafelyUnwrapped.pointee.entries + table.pointee.index
        link.pointee.store(raw, ordering: .releasing)
    }

    /// Part of a binding has been cleared.
    /// - Locking: held.
    func noteCleared(_ table: PageTablePointer, from start: UInt64, to end: UInt64, _ plan: BindingPlan) {
        if !plan.isSmall(from: start, to: end) { return }
        invariant(table.pointee.smallWriters > 0, "a page table counted its small pages wrongly")
        table.pointee.smallWriters = table.pointee.smallWriters &- 1
    }
}

extension BindingPlan {
    /// Whether that part, all in one table, has pages of 4 KiB.
    fileprivate func isSmall(from start: UInt64, to end: UInt64) -> Bool {
        !usesMedium || !isAligned(start | end, to: PageSize.medium)
    }
}
