// One way through the tables that a binding touches, for everything that is done to a binding.
//
// A binding touches the tables of level 2 and 1 that cover it, and of level 0 those of the 2 MiB blocks that it does
// not map by one large leaf. A pass enters a table before those below it and leaves it after them. Each table is met
// once, and entries are written in runs, so the cost is that of the entries.

import Synchronization

/// What a way through the tables does.
enum TablePass {
    /// Makes missing tables; they have no users yet.
    case make
    /// Frees tables without users: after a `make` that ran out of memory.
    case prune
    case retain
    /// Links the tables and fills their entries.
    case write
    /// Adds write access to entries, those that a resume has not written with it.
    case makeWritable
    /// Empties the entries, unlinks tables without writers, and lets go of them.
    case clear
    /// Lets go of the tables.
    case cancel
    /// Lets go of the tables, which stay.
    case abandon
}

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Entries written or cleared; nil if `make` ran out of memory.
    /// - Locking: held.
    func traverse(_ plan: BindingPlan, _ pass: TablePass) -> UInt64? {
        let root = pointee.root
        var count: UInt64 = 0
        var address = plan.start
        while address < plan.end {
            let end = Swift.min(plan.end, PageTableLevel.end(address, 3))
            let index = PageTableLevel.index(address, 3)
            if let table = enter(root, index, pass) {
                guard let entries = traverseUpper(table, from: address, to: end, plan, pass) else { return nil }
                count &+= entries
                leave(root, index, table, pass)
            } else if pass == .make {
                return nil
            }
            address = end
        }
        return count
    }

    /// The part of a binding below one table of level 2.
    private func traverseUpper(
        _ parent: PageTablePointer, from start: UInt64, to limit: UInt64, _ plan: BindingPlan, _ pass: TablePass
    ) -> UInt64? {
        var count: UInt64 = 0
        var address = start
        while address < limit {
            let end = Swift.min(limit, PageTableLevel.end(address, 2))
            let index = PageTableLevel.index(address, 2)
            if let table = enter(parent, index, pass) {
                guard let entries = traverseBlocks(table, from: address, to: end, plan, pass) else { return nil }
                count &+= entries
                leave(parent, index, table, pass)
            } else if pass == .make {
                return nil
            }
            address = end
        }
        return count
    }

    /// The part of a binding below one table of level 1: large leaves, and tables of level 0.
    private func traverseBlocks(
        _ parent: PageTablePointer, from start: UInt64, to limit: UInt64, _ plan: BindingPlan, _ pass: TablePass
    ) -> UInt64? {
        var count: UInt64 = 0
        var address = start
        while address < limit {
            let index = PageTableLevel.index(address, 1)
            let wholeEnd = roundDown(limit, to: PageSize.large)
            if plan.usesLarge && isAligned(address, to: PageSize.large) && address < wholeEnd {
                let run = Int(truncatingIfNeeded: (wholeEnd &- address) / PageSize.large)
                let first = (address &+ plan.delta) | plan.flags | PageTableEntry.large
                put(parent, index, run, first, PageSize.large, pass)
                count &+= UInt64(truncatingIfNeeded: run)
                address = wholeEnd
                continue
            }
            let end = Swift.min(limit, PageTableLevel.end(address, 1))
            if let table = enter(parent, index, pass) {
                if pass == .write || pass == .clear || pass == .makeWritable { count &+= putPages(table, from: address, to: end, plan, pass) }
                leave(parent, index, table, pass)
            } else if pass == .make {
                return nil
            }
            address = end
        }
        return count
    }

    /// The part of a binding in one table of level 0: small pages before and after a run of medium ones.
    private func putPages(
        _ table: PageTablePointer, from start: UInt64, to end: UInt64, _ plan: BindingPlan, _ pass: TablePass
    ) -> UInt64 {
        var mediumStart = end
        var mediumEnd = end
        if plan.usesMedium {
            let first = roundUp(start, to: PageSize.medium)
            let last = roundDown(end, to: PageSize.medium)
            if first < last { (mediumStart, mediumEnd) = (first, last) }
        }
        putRun(table, start, mediumStart, plan, plan.flags, pass)
        putRun(table, mediumStart, mediumEnd, plan, plan.flags | PageTableEntry.medium, pass)
        putRun(table, mediumEnd, end, plan, plan.flags, pass)
        return (end &- start) / PageSize.small
    }

    @inline(__always)
    private func putRun(
        _ table: PageTablePointer, _ start: UInt64, _ end: UInt64, _ plan: BindingPlan, _ flags: UInt64,
        _ pass: TablePass
    ) {
        let count = Int(truncatingIfNeeded: (end &- start) / PageSize.small)
        put(table, PageTableLevel.index(start, 0), count, (start &+ plan.delta) | flags, PageSize.small, pass)
    }

    /// Fills or empties a run of entries, the first of which is or becomes `value`.
    @inline(__always)
    private func put(
        _ table: PageTablePointer, _ first: Int, _ count: Int, _ value: UInt64, _ step: UInt64, _ pass: TablePass
    ) {
        let entries = table.pointee.entries + first
        var value = value
        if pass == .write {
            for index in 0..<count {
                invariant(
                    entries[index].load(ordering: .relaxed) == 0, "a bind wrote over a mapping that was not unbound")
                entries[index].store(value, ordering: .releasing)
                value &+= step
            }
        } else if pass == .makeWritable {
            for index in 0..<count {
                invariant(
                    entries[index].load(ordering: .relaxed) | PageTableEntry.writable == value,
                    "a binding was made writable that is not there")
                entries[index].store(value, ordering: .releasing)
                value &+= step
            }
        } else if pass == .clear {
            for index in 0..<count {
                invariant(
                    entries[index].load(ordering: .relaxed) == value,
                    "an unbind found another entry than the one its bind had written")
                entries[index].store(0, ordering: .releasing)
                value &+= step
            }
        }
    }

    // MARK: Tables

    private func enter(_ parent: PageTablePointer, _ index: Int, _ pass: TablePass) -> PageTablePointer? {
        if pass == .make, parent.child(index) == nil {
            guard let table = pointee.gpu.pointee.tables.take(level: parent.pointee.level &- 1) else { return nil }
            parent.pointee.children.unsafelyUnwrapped[index] = table
            return table
        }
        guard let table = parent.child(index) else {
            invariant(pass == .prune, "a binding was not reserved")
            return nil
        }
        switch pass {
        case .make, .prune, .makeWritable, .clear, .cancel, .abandon: break
        case .retain: table.pointee.users &+= 1
        case .write:
            table.pointee.writers &+= 1
            invariant(table.pointee.writers <= table.pointee.users, "a binding was written that was not reserved")
            if table.pointee.writers == 1 {
                invariant(
                    parent.pointee.entries[index].load(ordering: .relaxed) == 0,
                    "a bind wrote over a mapping that was not unbound")
                table.pointee.wasLinked = true
                parent.pointee.entries[index].store(PageTableEntry.table(at: table.address), ordering: .releasing)
            }
        }
        return table
    }

    private func leave(_ parent: PageTablePointer, _ index: Int, _ table: PageTablePointer, _ pass: TablePass) {
        switch pass {
        case .make, .retain, .write, .makeWritable: return
        case .prune: break
        case .clear:
            invariant(table.pointee.writers > 0, "a binding was cleared that was not written")
            table.pointee.writers &-= 1
            if table.pointee.writers == 0 { parent.pointee.entries[index].store(0, ordering: .releasing) }
            table.pointee.users &-= 1
        case .cancel, .abandon:
            invariant(table.pointee.users > 0, "a binding was dropped that was not reserved")
            table.pointee.users &-= 1
            if pass == .abandon { return }
        }
        if table.pointee.users != 0 { return }
        invariant(table.pointee.writers == 0, "a reservation was cancelled that was written")
        parent.pointee.children.unsafelyUnwrapped[index] = nil
        if table.pointee.wasLinked { retire(table) } else { pointee.gpu.pointee.tables.give(table, isEmpty: true) }
    }
}
