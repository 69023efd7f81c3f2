// One way through the tables that hold a binding's entries, for everything that is done to a binding.
//
// A binding has entries in tables of level 0, and in those of level 1 whose 2 MiB blocks it maps by large leaves. It
// counts as a user and a writer of these tables only: a table above them is used by the tables below it, and written
// while one of them is linked. So a small binding costs its own table, and the way up only when that comes or goes.

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
    /// Comes to be a writer of entries that are there already: see SoftwareSpace+Split.
    case divide
    /// The same, for entries that are all as they are to be, or become so: see SoftwareSpace+Join.
    case adopt
    /// Leaves entries, and tables, to others who write them.
    case hand
}

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Entries written or cleared; nil if `make` ran out of memory.
    /// - Locking: held.
    func traverse(_ plan: BindingPlan, _ pass: TablePass) -> UInt64? {
        var count: UInt64 = 0
        var address = plan.start
        let wholeEnd = roundDown(plan.end, to: PageSize.large)
        while address < plan.end {
            let isLarge = plan.usesLarge && isAligned(address, to: PageSize.large) && address < wholeEnd
            let level: UInt64 = isLarge ? 1 : 0
            let end = Swift.min(isLarge ? wholeEnd : plan.end, PageTableLevel.end(address, level &+ 1))
            if let table = table(address, level, makes: pass == .make) {
                count &+= visit(table, from: address, to: end, plan, pass)
            } else {
                if pass == .make { return nil }
                invariant(pass == .prune, "a binding was not reserved")
            }
            address = end
        }
        return count
    }

    /// The part of a binding in one table. Entries written or cleared.
    @inline(__always)
    func visit(
        _ table: PageTablePointer, from start: UInt64, to end: UInt64, _ plan: BindingPlan, _ pass: TablePass
    ) -> UInt64 {
        switch pass {
        case .make: return 0
        case .prune:
            if table.pointee.users == 0 { free(table) }
            return 0
        case .retain:
            table.pointee.users &+= 1
            return 0
        case .write:
            beginWriting(table)
            let count = put(table, from: start, to: end, plan, pass)
            if pointee.hasTableModes, table.pointee.level == 0 { noteWritten(table, from: start, to: end, plan) }
            return count
        case .makeWritable: return put(table, from: start, to: end, plan, pass)
        case .clear:
            let count = put(table, from: start, to: end, plan, pass)
            if pointee.hasTableModes, table.pointee.level == 0 { noteCleared(table, from: start, to: end, plan) }
            endWriting(table)
            drop(table)
            return count
        case .cancel:
            drop(table)
            return 0
        case .abandon:
            invariant(table.pointee.users > 0, "a binding was dropped that was not reserved")
            table.pointee.users &-= 1
            return 0
        case .divide: return divide(table, from: start, to: end, plan)
        case .adopt:
            table.pointee.writers &+= 1
            return 0
        case .hand:
            endWriting(table)
            drop(table)
            return 0
        }
    }

    // MARK: Entries

    @inline(__always)
    private func put(
        _ table: PageTablePointer, from start: UInt64, to end: UInt64, _ plan: BindingPlan, _ pass: TablePass
    ) -> UInt64 {
        if end &- start != PageSize.small { return putRuns(table, from: start, to: end, plan, pass) }
        put(table, PageTableLevel.index(start, 0), 1, (start &+ plan.delta) | plan.flags, PageSize.small, pass)
        return 1
    }

    private func putRuns(
        _ table: PageTablePointer, from start: UInt64, to end: UInt64, _ plan: BindingPlan, _ pass: TablePass
    ) -> UInt64 {
        if table.pointee.level == 1 {
            let count = Int(truncatingIfNeeded: (end &- start) / PageSize.large)
            let first = (start &+ plan.delta) | plan.flags | PageTableEntry.large
            put(table, PageTableLevel.index(start, 1), count, first, PageSize.large, pass)
            return UInt64(truncatingIfNeeded: count)
        }
        // Small pages before and after a run of medium ones.
        var mediumStart = end
        var mediumEnd = end
        if plan.usesMedium {
            let first = roundUp(start, to: PageSize.medium)
            let last = roundDown(end, to: PageSize.medium)
            if first < last { (mediumStart, mediumEnd) = (first, last) }
        }
        putRun(table, start, mediumStart, plan, plan.flags, pass)
        if mediumStart < end {
            putRun(table, mediumStart, mediumEnd, plan, plan.flags | PageTableEntry.medium, pass)
            putRun(table, mediumEnd, end, plan, plan.flags, pass)
        }
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
        } else {
            for index in 0..<count {
                invariant(
                    entries[index].load(ordering: .relaxed) == value,
                    "an unbind found another entry than the one its bind had written")
                entries[index].store(0, ordering: .releasing)
                value &+= step
            }
        }
    }
}
