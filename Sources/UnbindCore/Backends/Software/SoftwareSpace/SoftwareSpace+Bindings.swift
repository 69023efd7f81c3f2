// The life of a binding in the page tables: reserve, write, clear; cancel instead of write; skip instead of clear.
//
// Every binding counts as one user of each table it touches from reserve on, and as one writer from write on, so that
// an older and a newer binding of the same addresses can hold the tables at the same time.

import Synchronization

extension SoftwareSpace {
    /// How many entries were written, and in which generation of the tables: see VMAResource+Entries.
    struct Placed {
        let entries: UInt64
        let generation: UInt64
    }
}

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Takes all tables that the binding will need. On failure nothing has changed.
    ///
    /// - Failure: .noMemory.
    /// - Signalling: allocates: not in a signalling section.
    func reserve(_ binding: Binding) throws(Status) {
        check(binding)
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        _ = try reserve(plan)
    }

    /// Reserves and writes in one; leaves the entries to the resume if the space is suspended. Every entry must be
    /// empty. On failure nothing has changed.
    ///
    /// - Failure: as reserve.
    /// - Signalling: as reserve.
    func place(_ binding: Binding) throws(Status) -> SoftwareSpace.Placed {
        check(binding)
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        let leaf = try reserve(plan)
        if pointee.isSuspended { return placedAtResume }
        let count: UInt64
        if let leaf {
            count = visit(leaf, from: plan.start, to: plan.end, plan, .write)
        } else {
            count = traverse(plan, .write) ?? 0
        }
        pointee.counters.written.add(count)
        return SoftwareSpace.Placed(entries: count, generation: pointee.generation)
    }

    private var placedAtResume: SoftwareSpace.Placed {
        SoftwareSpace.Placed(entries: 0, generation: pointee.generation &- 1)
    }

    /// Whether an engine can have met what was cleared, or a table waits to be freed.
    /// - Locking: held.
    var needsInvalidation: Bool { pointee.engineCount != 0 || pointee.retired != nil }

    @inline(__always)
    private func check(_ binding: Binding) {
        let smallest = pointee.pageSizes & (~pointee.pageSizes &+ 1)
        invariant(
            binding.size != 0 && binding.start <= PageTableLevel.addressLimit
                && binding.size <= PageTableLevel.addressLimit &- binding.start,
            "a binding leaves the addresses that page tables can hold")
        invariant(
            isAligned(binding.start | binding.size | binding.physical, to: smallest),
            "a binding is not aligned to the smallest page size of its space")
        invariant(
            !binding.isLocal || pointee.gpu.holdsLocal(binding.physical, binding.size),
            "a binding leaves local memory")
        invariant(
            binding.isLocal || binding.physical.addingSaturating(binding.size) <= PageTableEntry.addressMask,
            "a host address does not fit a page-table entry")
    }

    /// The one table of level 0 that has all entries of the binding; nil if they are in several, or in another.
    /// - Locking: held.
    @inline(__always)
    private func reserve(_ plan: BindingPlan) throws(Status) -> PageTablePointer? {
        if pointee.isAbandoned { throw .closed }
        if plan.isInOneLeaf {
            guard let leaf = table(plan.start, 0, makes: true) else { throw .noMemory }
            leaf.pointee.users &+= 1
            keep(leaf)
            return leaf
        }
        if traverse(plan, .make) == nil {
            _ = traverse(plan, .prune)
            throw .noMemory
        }
        _ = traverse(plan, .retain)
        return nil
    }

    /// Writes the entries of a reserved binding, and returns how many. Every one of them must be empty.
    ///
    /// - Signalling: does not allocate, cannot fail.
    func write(_ binding: Binding) -> UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return writeLocked(binding)
    }

    /// As write.
    /// - Locking: held.
    func writeLocked(_ binding: Binding) -> UInt64 {
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        let count = pointee.isAbandoned ? 0 : traverse(plan, .write) ?? 0
        pointee.counters.written.add(count)
        return count
    }

    /// Clears the entries of a written binding, and returns how many. Engines may use the old translations until
    /// SoftwareGPU.invalidate has returned.
    ///
    /// - Signalling: does not allocate, cannot fail.
    func clear(_ binding: Binding) -> UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return clearLocked(binding)
    }

    /// As clear.
    /// - Locking: held.
    func clearLocked(_ binding: Binding) -> UInt64 {
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        let count: UInt64
        if pointee.isAbandoned {
            count = traverse(plan, .abandon) ?? 0
        } else if plan.isInOneLeaf, let leaf = table(plan.start, 0, makes: false) {
            count = visit(leaf, from: plan.start, to: plan.end, plan, .clear)
        } else {
            count = traverse(plan, .clear) ?? 0
        }
        pointee.counters.cleared.add(count)
        return count
    }

    /// As clear, for one of several that lie near each other: `leaf` is the table that the one before was in, which is
    /// there as long as the lock is held.
    /// - Locking: held.
    @inline(__always)
    func clearLocked(_ binding: Binding, near leaf: inout PageTablePointer?) -> UInt64 {
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        if !plan.isInOneLeaf || pointee.isAbandoned {
            leaf = nil
            return clearLocked(binding)
        }
        var found = leaf
        if found == nil || found.unsafelyUnwrapped.pointee.start != roundDown(plan.start, to: PageSize.large) {
            found = table(plan.start, 0, makes: false)
        }
        guard let found else { return clearLocked(binding) }
        // Its last user takes it away.
        leaf = found.pointee.users == 1 ? nil : found
        let count = visit(found, from: plan.start, to: plan.end, plan, .clear)
        pointee.counters.cleared.add(count)
        return count
    }

    /// Makes the entries of a binding that was written as read-only writable, and returns how many. `binding` is as it
    /// is afterwards. Engines may use the old translations until SoftwareGPU.invalidate has returned.
    ///
    /// - Locking: held.
    /// - Signalling: does not allocate, cannot fail.
    func makeWritableLocked(_ binding: Binding) -> UInt64 {
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        let count = pointee.isAbandoned ? 0 : traverse(plan, .makeWritable) ?? 0
        pointee.counters.written.add(count)
        return count
    }

    /// Drops a reservation that was never written.
    ///
    /// - Signalling: may run in a signalling section.
    func cancel(_ binding: Binding) {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        cancelLocked(binding)
    }

    /// As cancel; also what was written and has been lost.
    /// - Locking: held.
    func cancelLocked(_ binding: Binding) {
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        _ = traverse(plan, pointee.isAbandoned ? .abandon : .cancel)
    }

    /// As clear, but leaves the entries as they are: for a closed VM that no job can walk any more. From then on the
    /// space takes no more reservations, and what is written to it is not.
    ///
    /// - Locking: held.
    /// - Signalling: may run in a signalling section.
    func skipLocked(_ binding: Binding) {
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        pointee.isAbandoned = true
        _ = traverse(plan, .abandon)
    }
}
