// What holds for every space between two operations. Tests call it; it visits all tables.

import Synchronization

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Ends the process if the tables contradict each other.
    func checkInvariants() {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if !pointee.isAbandoned { check(pointee.root) }
        if pointee.isSuspended { checkEmpty(pointee.root) }
        var table = pointee.retired
        while let retired = table {
            invariant(retired.pointee.users == 0 && retired.pointee.writers == 0, "a retired table has users")
            if !retired.pointee.isReplaced { checkEmpty(retired) }
            table = retired.pointee.next
        }
    }

    private func check(_ table: PageTablePointer) {
        var present: UInt64 = 0
        let ips = pointee.hasTableModes && table.pointee.level == 1 ? PageTableEntry.ips : 0
        for index in 0..<PageTableLevel.entryCount {
            let entry = table.entry(index)
            if entry.isPresent { present += 1 } else { invariant(entry.raw == 0, "an empty entry is not 0") }
            if table.pointee.level == 0 {
                invariant(!entry.isLarge, "a large leaf is in a table of level 0")
                continue
            }
            let isLeaf = entry.isPresent && entry.isLarge
            invariant(!isLeaf || table.pointee.level == 1, "a large leaf is on the wrong level")
            guard let child = table.child(index) else {
                invariant(!entry.isPresent || isLeaf, "an entry links a table that is not in the tree")
                continue
            }
            invariant(child.pointee.level + 1 == table.pointee.level, "a table is on the wrong level")
            invariant(child.pointee.users > 0, "a table without users is in the tree")
            invariant(child.pointee.writers <= child.pointee.users, "a table has more writers than users")
            if child.pointee.writers > 0 {
                invariant(
                    entry.raw & ~ips == PageTableEntry.table(at: child.address), "a table with writers is not linked")
                if pointee.hasTableModes, child.pointee.level == 0 { checkMode(child, isMedium: entry.raw & ips != 0) }
            } else {
                invariant(!entry.isPresent || isLeaf, "a table without writers is linked")
                checkEmpty(child)
            }
            check(child)
        }
        if table != pointee.root { invariant(present > 0 || table.pointee.writers == 0, "a written table is empty") }
    }

    private func checkMode(_ table: PageTablePointer, isMedium: Bool) {
        invariant(table.pointee.isMedium == isMedium, "a table has another mode than its link says")
        invariant(table.pointee.smallWriters <= table.pointee.writers, "a table has more small writers than writers")
        if !isMedium { return }
        invariant(table.pointee.smallWriters == 0, "a table of 64 KiB pages has small ones")
        for index in 0..<PageTableLevel.entryCount {
            let entry = table.entry(index)
            invariant(entry.isMedium || !entry.isPresent, "a table of 64 KiB pages holds an entry that is none")
        }
    }

    private func checkEmpty(_ table: PageTablePointer) {
        for index in 0..<PageTableLevel.entryCount {
            invariant(table.entry(index).raw == 0, "a table that no binding has written holds an entry")
        }
    }
}
