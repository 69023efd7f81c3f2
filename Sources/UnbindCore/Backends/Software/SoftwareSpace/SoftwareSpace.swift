// SoftwareSpace: the page tables of one address space, as gen8_ppgtt.c keeps them (gt/gen8_ppgtt.c).
//
// A binding goes through reserve (may fail; takes every table it will need), then write, then clear; or reserve and
// cancel. An overlapping older binding may still be written when a new one is reserved, but never when it is written:
// write checks that every entry it fills is empty, for that is what the whole library promises.
//
// Engines walk the tables without a lock (SoftwareSpace+Walk). A table that nobody uses any more is therefore only
// retired at first; SoftwareGPU.invalidate, which waits until no engine can be reading it, and then freeRetired, make
// it free.
//
// - Locking: `lock` for the tables; `engineLock`, of the same rank and never held together with it, for the engines.
// - Lifetime: made and freed by the VM, which outlives its engines.

import Synchronization

typealias SoftwareSpacePointer = UnsafeMutablePointer<SoftwareSpace>

struct SoftwareSpace: ~Copyable {
    let gpu: SoftwareGPUPointer
    /// What the VM is called in faults; the key of TLB entries.
    let id: UInt64
    /// Mask of PageSize.
    let pageSizes: UInt64
    /// 64 KiB pages are a mode of whole tables: see SoftwareSpace+TableMode.
    let hasTableModes: Bool
    let root: PageTablePointer
    let lock = FutexLock(.pageTables)
    /// Unlinked tables that engines may still read.
    var retired: PageTablePointer?
    /// Retirements so far.
    var retirements: UInt64 = 0
    /// Of them, those that a finished TLB invalidation covers.
    var acknowledged: UInt64 = 0
    /// An unbind skipped its entries: nobody walks these tables any more, they are only waiting to be freed.
    var isAbandoned = false
    /// The tables are empty and stay so: see SoftwareSpace+Suspend.
    var isSuspended = false
    /// Losses of all that the tables held, plus 1.
    var generation: UInt64 = 1
    /// Decisions about the modes of tables so far.
    var decisions: UInt64 = 0

    /// Whether a table without bindings may be kept for the next one.
    let keepsLeaf: Bool
    /// The one that is, a user of itself.
    var keptLeaf: PageTablePointer?
    /// Engines that walk these tables.
    var engineCount = 0
    /// Written with `lock` held, read without.
    let counters = Counters()
    /// Of the GPU, under its lock.
    var nextInGPU: SoftwareSpacePointer?
    var previousInGPU: SoftwareSpacePointer?

    /// What happened to the entries so far.
    struct Counters: ~Copyable {
        let written = Atomic<UInt64>(0)
        let cleared = Atomic<UInt64>(0)
        let invalidations = Atomic<UInt64>(0)
    }

    let engineLock = FutexLock(.pageTables)
    /// Those that walk these tables, in a list by `nextInSpace`.
    var engines: EnginePointer?

    fileprivate init(
        gpu: SoftwareGPUPointer, id: UInt64, pageSizes: UInt64, root: PageTablePointer, hasTableModes: Bool,
        keepsLeaf: Bool
    ) {
        self.gpu = gpu
        self.id = id
        self.pageSizes = pageSizes
        self.hasTableModes = hasTableModes
        self.root = root
        self.keepsLeaf = keepsLeaf
    }
}

extension UnsafeMutablePointer where Pointee == SoftwareGPU {
    /// Makes empty page tables.
    ///
    /// - Parameters:
    ///   - id: unique in the device, not 0.
    ///   - pageSizes: mask of PageSize, not 0.
    ///   - hasTableModes: 64 KiB pages as gen9 to gen12 have them.
    ///   - keepsLeaf: see SoftwareSpace+Tables.
    /// - Failure: .noMemory.
    func makeSpace(
        id: UInt64, pageSizes: UInt64, hasTableModes: Bool = false, keepsLeaf: Bool = false
    ) throws(Status) -> SoftwareSpacePointer {
        invariant(pageSizes != 0 && pageSizes & ~PageSize.all == 0, "a space was made without a known page size")
        guard let space = pointee.memory.allocateApart(of: SoftwareSpace.self) else { throw .noMemory }
        guard let root = pointee.tables.take(level: PageTableLevel.root) else {
            pointee.memory.deallocateApart(space)
            throw .noMemory
        }
        space.initialize(
            to: SoftwareSpace(
                gpu: self, id: id, pageSizes: pageSizes, root: root, hasTableModes: hasTableModes,
                keepsLeaf: keepsLeaf))
        list(space)
        return space
    }

    /// Frees the space with all its tables, whatever they hold. It must have no engines.
    func freeSpace(_ space: SoftwareSpacePointer) {
        invariant(space.pointee.engines == nil, "page tables were freed while an engine used them")
        unlist(space)
        space.freeTables()
        space.deinitialize(count: 1)
        pointee.memory.deallocateApart(space)
    }
}

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    // MARK: Retired tables

    /// For the beginning of a TLB invalidation: what it will cover.
    func beginInvalidation() -> UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        pointee.counters.invalidations.add(1)
        return pointee.retirements
    }

    /// An invalidation that `clear` said was not needed; only counted.
    func skipInvalidation() {
        pointee.lock.acquire()
        pointee.counters.invalidations.add(1)
        pointee.lock.release()
    }

    /// For the end of a TLB invalidation: no engine reads what had been retired when it began.
    func acknowledge(_ retirements: UInt64) {
        pointee.lock.acquire()
        if retirements > pointee.acknowledged { pointee.acknowledged = retirements }
        pointee.lock.release()
    }

    /// Frees the tables that a TLB invalidation has made unreachable. Called after SoftwareGPU.invalidate.
    /// - Signalling: may run in a signalling section.
    func freeRetired() {
        let pool = pointee.gpu.pointee.tables
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var kept: PageTablePointer?
        while let table = pointee.retired {
            pointee.retired = table.pointee.next
            if table.pointee.stamp <= pointee.acknowledged {
                pool.give(table, isEmpty: !table.pointee.isReplaced)
            } else {
                table.pointee.next = kept
                kept = table
            }
        }
        pointee.retired = kept
    }

    /// Puts a table aside that has left the tree.
    /// - Locking: held.
    func retire(_ table: PageTablePointer) {
        pointee.retirements = pointee.retirements &+ 1
        table.pointee.stamp = pointee.retirements
        table.pointee.next = pointee.retired
        pointee.retired = table
    }

    fileprivate func freeTables() {
        let pool = pointee.gpu.pointee.tables
        while let table = pointee.retired {
            pointee.retired = table.pointee.next
            pool.give(table, isEmpty: !table.pointee.isReplaced)
        }
        freeTree(pointee.root)
    }

    /// As deep as there are levels.
    private func freeTree(_ table: PageTablePointer) {
        if table.pointee.level > 0 {
            for index in 0..<PageTableLevel.entryCount {
                if let child = table.child(index) { freeTree(child) }
            }
        }
        pointee.gpu.pointee.tables.give(table, isEmpty: false)
    }

    // MARK: Engines

    func attach(_ engine: EnginePointer) {
        pointee.engineLock.acquire()
        pointee.engines = engine.entering(before: pointee.engines)
        pointee.engineLock.release()
        countEngines(by: 1)
    }

    /// Under the lock of the tables: what was cleared while there was no engine, none that comes later can have seen.
    private func countEngines(by step: Int) {
        pointee.lock.acquire()
        pointee.engineCount = pointee.engineCount &+ step
        pointee.lock.release()
    }

    func detach(_ engine: EnginePointer) {
        pointee.engineLock.acquire()
        pointee.engines = engine.leaving(pointee.engines)
        pointee.engineLock.release()
        countEngines(by: -1)
    }
}
