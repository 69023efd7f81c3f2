// One binding becomes several that lie next to each other, with the same translations: what happens to a mapping of
// which a part is to be unbound (the remap of drm_gpuvm, and xe's splitting of large pages).
//
// Each piece has reserved its tables before, as any binding does, so that nothing is allocated here. Entries stay as
// they are but where a piece's end cuts a large page. There the pieces fill a table of smaller pages, and when it is
// full one store puts it in the place of the large page: an engine finds the old page or the new ones, never a hole.
// It may go on using the large page from its TLB: what that says stays true for the pieces that stay, and the
// invalidation that follows the end of another one drops it.
//
// - Locking: the lock of the page tables.
// - Signalling: does not allocate, cannot fail.

import Synchronization

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Makes `count` bindings of one that has been written. They cover it in order and have been reserved. Returns how
    /// many entries were written anew.
    /// - Locking: held.
    func splitLocked(_ whole: Binding, into count: Int, _ piece: (Int) -> Binding) -> UInt64 {
        invariant(!pointee.hasTableModes, "a binding was split whose tables have modes")
        var written: UInt64 = 0
        for index in 0..<count {
            let plan = BindingPlan(piece(index), pageSizes: pointee.pageSizes)
            written &+= traverse(plan, .divide) ?? 0
        }
        for index in 1..<count { linkDivided(at: piece(index).start) }
        _ = traverse(BindingPlan(whole, pageSizes: pointee.pageSizes), .hand)
        pointee.counters.written.add(written)
        return written
    }

    /// A piece's part of one table. Either its entries are there already, and change only where the piece's ends cut
    /// pages of 64 KiB; or it is a table that is to replace a large page, and fills up.
    func divide(_ table: PageTablePointer, from start: UInt64, to end: UInt64, _ plan: BindingPlan) -> UInt64 {
        table.pointee.writers = table.pointee.writers &+ 1
        if table.pointee.level == 1 { return 0 }
        if !isLinked(table) { return put(table, from: start, to: end, of: start..<end, plan) }
        if !plan.usesMedium { return 0 }
        let firstWhole = Swift.min(end, roundUp(start, to: PageSize.medium))
        let lastEnd = Swift.max(firstWhole, roundDown(end, to: PageSize.medium))
        return put(table, from: start, to: firstWhole, of: start..<end, plan)
            &+ put(table, from: lastEnd, to: end, of: start..<end, plan)
    }

    private func isLinked(_ table: PageTablePointer) -> Bool {
        let parent = table.pointee.parent.unsafelyUnwrapped
        return parent.entry(table.pointee.index).raw == PageTableEntry.table(at: table.address)
    }

    /// Makes the entries from `start` to `end` what they are to be in a piece that has `part` of the table.
    private func put(
        _ table: PageTablePointer, from start: UInt64, to end: UInt64, of part: Range<UInt64>, _ plan: BindingPlan
    ) -> UInt64 {
        var written: UInt64 = 0
        var address = start
        while address < end {
            let block = roundDown(address, to: PageSize.medium)
            let isMedium =
                plan.usesMedium && block >= part.lowerBound && block &+ PageSize.medium <= part.upperBound
            let value = (address &+ plan.delta) | plan.flags | (isMedium ? PageTableEntry.medium : 0)
            let entry = table.pointee.entries + PageTableLevel.index(address, 0)
            let old = entry.pointee.load(ordering: .relaxed)
            if old != value {
                invariant(
                    old == 0 || (old ^ value) & ~PageTableEntry.medium == 0,
                    "a binding was split whose entries are others")
                entry.pointee.store(value, ordering: .releasing)
                written &+= 1
            }
            address &+= PageSize.small
        }
        return written
    }

    /// Puts the table that covers a cut in the place of the large page that was there.
    private func linkDivided(at address: UInt64) {
        if isAligned(address, to: PageSize.large) { return }
        guard let parent = table(address, 1, makes: false) else { return }
        let index = PageTableLevel.index(address, 1)
        guard parent.entry(index).isLarge, let child = parent.child(index) else { return }
        child.pointee.wasLinked = true
        parent.pointee.writers = parent.pointee.writers &+ 1
        parent.pointee.entries[index].store(PageTableEntry.table(at: child.address), ordering: .releasing)
    }
}
