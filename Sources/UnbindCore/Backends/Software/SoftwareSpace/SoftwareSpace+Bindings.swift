// The life of a binding in the page tables: reserve, write, clear; cancel instead of write; skip instead of clear.
//
// Every binding counts as one user of each table it touches from reserve on, and as one writer from write on, so that
// an older and a newer binding of the same addresses can hold the tables at the same time.

import Synchronization

import Synchronization

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Takes all tables that the binding will need. On failure nothing has changed.
    ///
    /// - Failure: .noMemory.
    /// - Signalling: allocates: not in a signalling section.
    func reserve(_ binding: Binding) throws(Status) {
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
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if pointee.isAbandoned { throw .closed }
        if traverse(plan, .make) == nil {
            _ = traverse(plan, .prune)
            throw .noMemory
        }
        _ = traverse(plan, .retain)
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
        _ = pointee.gpu.pointee.counters.ptesWritten.wrappingAdd(count, ordering: .relaxed)
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
        let count = traverse(plan, pointee.isAbandoned ? .abandon : .clear) ?? 0
        _ = pointee.gpu.pointee.counters.ptesCleared.wrappingAdd(count, ordering: .relaxed)
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
    /// - Signalling: may run in a signalling section.
    func skip(_ binding: Binding) {
        let plan = BindingPlan(binding, pageSizes: pointee.pageSizes)
        pointee.lock.acquire()
        pointee.isAbandoned = true
        _ = traverse(plan, .abandon)
        pointee.lock.release()
    }
}
