// The tables of a space: finding and making them, linking them into the page that engines read, and letting them go.
//
// A table is in the tree of the space while it has users, and linked into its parent's entries while it has writers.
// What has no users any more is retired if an engine may have met it, else free at once. The table that the last small
// binding was in may be kept (`keepsLeaf`), so that a binding which comes and goes does not build and tear down a
// branch of the tree each time.
//
// - Locking: held, in all of this file.

import Synchronization

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// The table of that level for an address: nil if there is none, or, if it is to be made, no memory for it.
    @inline(__always)
    func table(_ address: UInt64, _ level: UInt64, makes: Bool) -> PageTablePointer? {
        if level == 0, let leaf = pointee.keptLeaf, leaf.pointee.start == roundDown(address, to: PageSize.large) {
            return leaf
        }
        return walkTables(address, level, makes: makes)
    }

    private func walkTables(_ address: UInt64, _ level: UInt64, makes: Bool) -> PageTablePointer? {
        var table = pointee.root
        while table.pointee.level > level {
            let index = PageTableLevel.index(address, table.pointee.level)
            if let child = table.child(index) {
                table = child
            } else {
                guard makes, let child = makeTable(below: table, index, address) else { return nil }
                table = child
            }
        }
        return table
    }

    private func makeTable(below parent: PageTablePointer, _ index: Int, _ address: UInt64) -> PageTablePointer? {
        let level = parent.pointee.level &- 1
        guard let table = pointee.gpu.pointee.tables.take(level: level) else {
            // What was made for it above it goes again.
            if parent.pointee.users == 0 { free(parent) }
            return nil
        }
        table.pointee.parent = parent
        table.pointee.index = index
        table.pointee.start = roundDown(address, to: 1 &<< PageTableLevel.shift(level &+ 1))
        parent.pointee.children.unsafelyUnwrapped[index] = table
        parent.pointee.users &+= 1
        return table
    }

    /// Keeps the table for the next small binding, instead of the one that was kept before.
    @inline(__always)
    func keep(_ leaf: PageTablePointer) {
        if pointee.keepsLeaf, pointee.keptLeaf != leaf { replaceKeptLeaf(leaf) }
    }

    private func replaceKeptLeaf(_ leaf: PageTablePointer) {
        leaf.pointee.users &+= 1
        let old = pointee.keptLeaf
        pointee.keptLeaf = leaf
        if let old { drop(old) }
    }

    // MARK: Users

    @inline(__always)
    func drop(_ table: PageTablePointer) {
        invariant(table.pointee.users > 0, "a binding was dropped that was not reserved")
        table.pointee.users &-= 1
        if table.pointee.users == 0 { free(table) }
    }

    /// Takes a table that has no users out of the tree, and those above it which then have none.
    func free(_ table: PageTablePointer) {
        var table = table
        while let parent = table.pointee.parent, table.pointee.users == 0 {
            invariant(table.pointee.writers == 0, "a reservation was cancelled that was written")
            parent.pointee.children.unsafelyUnwrapped[table.pointee.index] = nil
            if table.pointee.wasLinked { retire(table) } else { pointee.gpu.pointee.tables.give(table, isEmpty: true) }
            parent.pointee.users &-= 1
            table = parent
        }
    }

    // MARK: Writers

    @inline(__always)
    func beginWriting(_ table: PageTablePointer) {
        table.pointee.writers &+= 1
        invariant(table.pointee.writers <= table.pointee.users, "a binding was written that was not reserved")
        if table.pointee.writers == 1 { link(table) }
    }

    @inline(__always)
    func endWriting(_ table: PageTablePointer) {
        invariant(table.pointee.writers > 0, "a binding was cleared that was not written")
        table.pointee.writers &-= 1
        if table.pointee.writers == 0 { unlink(table) }
    }

    private func link(_ table: PageTablePointer) {
        var table = table
        while let parent = table.pointee.parent {
            let entry = parent.pointee.entries + table.pointee.index
            invariant(
                entry.pointee.load(ordering: .relaxed) == 0, "a bind wrote over a mapping that was not unbound")
            table.pointee.wasLinked = true
            entry.pointee.store(PageTableEntry.table(at: table.address), ordering: .releasing)
            parent.pointee.writers &+= 1
            if parent.pointee.writers != 1 { return }
            table = parent
        }
    }

    private func unlink(_ table: PageTablePointer) {
        var table = table
        while let parent = table.pointee.parent {
            (parent.pointee.entries + table.pointee.index).pointee.store(0, ordering: .releasing)
            parent.pointee.writers &-= 1
            if parent.pointee.writers != 0 { return }
            table = parent
        }
    }
}
