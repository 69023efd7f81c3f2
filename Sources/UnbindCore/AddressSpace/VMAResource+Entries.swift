// The page-table entries of one binding: written, lost when its VM is suspended, written again, cleared.
//
// `writtenIn` says where it stands: 0 until its bind has come to writing; then the generation of the page tables in
// which it was written. That of an earlier one means that its entries are lost, or were due while the VM was suspended:
// a resume writes them, and an unbind before that has nothing to clear.
//
// - Locking: `writtenIn` belongs to the lock of the page tables, so that a resume, an asynchronous bind and an unbind
//   that meet agree on who writes and who clears.
// - Signalling: all of it may run in a signalling section.

extension UnsafeMutablePointer where Pointee == VMAResource {
    private var space: SoftwareSpacePointer { pointee.vm.pointee.space }

    /// Writes the entries and returns how many; leaves them to the resume if the VM is suspended.
    /// `binding`: as it was when its bind was scheduled; write access that was added since comes later.
    func writeEntries(_ binding: Binding) -> UInt64 {
        let space = space
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        if space.pointee.isSuspended {
            pointee.writtenIn = space.pointee.generation &- 1
            return 0
        }
        pointee.writtenIn = space.pointee.generation
        return writePieces(of: binding)
    }

    /// Adds write access to the entries, and returns how many; leaves it to the resume if they are lost.
    func upgradeEntries(to binding: Binding) -> UInt64 {
        let space = space
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        if pointee.writtenIn != space.pointee.generation { return 0 }
        var entries: UInt64 = 0
        binding.forEachPiece(of: pointee.pages) { entries &+= space.makeWritableLocked($0) }
        return entries
    }

    /// Gives the tables back with the entries as they are: see SoftwareSpace.skipLocked.
    /// - Locking: the page tables' lock is held.
    func skipEntriesLocked() {
        pointee.binding.forEachPiece(of: pointee.pages) { space.skipLocked($0) }
    }

    @inline(__always)
    private func writePieces(of binding: Binding) -> UInt64 {
        var entries: UInt64 = 0
        binding.forEachPiece(of: pointee.pages) { entries &+= space.writeLocked($0) }
        return entries
    }

    /// After a resume: writes what was lost, and returns how many entries that were. An asynchronous bind that has not
    /// come to writing does so itself.
    func rewriteEntries() -> UInt64 {
        let space = space
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        if pointee.writtenIn == 0 || pointee.writtenIn == space.pointee.generation { return 0 }
        pointee.writtenIn = space.pointee.generation
        return writePieces(of: pointee.binding)
    }

    /// Clears the entries and returns how many, and whether a TLB invalidation has to follow; nil if they were lost.
    /// One that is not needed is counted with `invalidatesNext`.
    /// - Locking: the page tables' lock is held.
    @inline(__always)
    func clearEntriesLocked(invalidatesNext: Bool) -> (entries: UInt64, needsInvalidation: Bool)? {
        let space = space
        if pointee.writtenIn != space.pointee.generation {
            pointee.binding.forEachPiece(of: pointee.pages) { space.cancelLocked($0) }
            return nil
        }
        var entries: UInt64 = 0
        if pointee.pages.pointee.segments == nil {
            entries = space.clearLocked(pointee.binding)
        } else {
            var leaf: PageTablePointer?
            pointee.binding.forEachPiece(of: pointee.pages) { entries &+= space.clearLocked($0, near: &leaf) }
        }
        let needsInvalidation = space.needsInvalidation
        if invalidatesNext, !needsInvalidation { space.pointee.counters.invalidations.add(1) }
        return (entries, needsInvalidation)
    }
}
