// SoftwareGPU: a GPU made of software, one per device: page tables in memory, engines with TLBs, a cost model.
//
// It owns the pool of page tables, the counters and the rules for local memory; spaces and engines are made from it
// and freed before it. Time and threads are the executor's. What an operation costs is only computed here: the caller
// charges it, because the caller knows what has to wait for it.
//
// - Lifetime: everything made from it, and every job's fence, must be gone before `free`.

import Synchronization

typealias SoftwareGPUPointer = UnsafeMutablePointer<SoftwareGPU>

struct SoftwareGPU: ~Copyable {
    /// What the device gives it.
    struct Configuration {
        var memory: UnsafeMutablePointer<Memory>
        var executor: ExecutorPointer
        /// The owner of the fences of jobs.
        var owner: UnsafeMutableRawPointer
        /// Of those fences: Job.makeHome.
        var jobHome: FenceHomePointer
        /// Of Job and of Await.
        var jobs: UnsafeMutablePointer<SlabCache>
        var awaits: UnsafeMutablePointer<SlabCache>
        var costs: CostModel = .zero
        /// Host address and bytes of local memory.
        var localBase: UInt64 = 0
        var localSize: UInt64 = 0
        /// Every page table is an allocation of its own.
        var uncached = false
        var faultSink: FaultRecord.Sink?
        var faultContext: UnsafeMutableRawPointer?
        /// Told, with the owner, when the memory of a job has gone, as the last thing: drops what keeps the GPU alive.
        var jobReleased: (@convention(c) (_ owner: UnsafeMutableRawPointer) -> Void)?
    }

    /// What happened so far. Exact when nothing runs.
    struct Counters: ~Copyable {
        /// Of the spaces that have gone; each counts its own.
        let ptesWritten = Atomic<UInt64>(0)
        let ptesCleared = Atomic<UInt64>(0)
        let tlbInvalidations = Atomic<UInt64>(0)
        let tlbHits = Atomic<UInt64>(0)
        let tlbMisses = Atomic<UInt64>(0)
        let faults = Atomic<UInt64>(0)
        let jobs = Atomic<UInt64>(0)
        let commands = Atomic<UInt64>(0)
    }

    let memory: UnsafeMutablePointer<Memory>
    let executor: ExecutorPointer
    let owner: UnsafeMutableRawPointer
    let jobHome: FenceHomePointer
    let jobs: UnsafeMutablePointer<SlabCache>
    let awaits: UnsafeMutablePointer<SlabCache>
    let tables: UnsafeMutablePointer<PageTablePool>
    let costs: CostModel
    let localBase: UInt64
    let localSize: UInt64
    let faultSink: FaultRecord.Sink?
    let faultContext: UnsafeMutableRawPointer?
    let jobReleased: (@convention(c) (_ owner: UnsafeMutableRawPointer) -> Void)?
    let counters = Counters()
    /// So many moves of buffers' memory are to fail, for tests of what the caller does then.
    let movesToFail = Atomic<UInt32>(0)
    /// For the list of spaces.
    let lock = FutexLock(.device)
    var firstSpace: SoftwareSpacePointer?

    fileprivate init(_ configuration: Configuration, tables: UnsafeMutablePointer<PageTablePool>) {
        memory = configuration.memory
        executor = configuration.executor
        owner = configuration.owner
        jobHome = configuration.jobHome
        jobs = configuration.jobs
        awaits = configuration.awaits
        self.tables = tables
        costs = configuration.costs
        localBase = configuration.localBase
        localSize = configuration.localSize
        faultSink = configuration.faultSink
        faultContext = configuration.faultContext
        jobReleased = configuration.jobReleased
    }

    /// - Failure: .noMemory.
    static func make(_ configuration: Configuration) throws(Status) -> SoftwareGPUPointer {
        let memory = configuration.memory
        guard let gpu = memory.allocateApart(of: SoftwareGPU.self) else { throw .noMemory }
        guard let tables = PageTablePool.make(memory: memory, uncached: configuration.uncached) else {
            memory.deallocateApart(gpu)
            throw .noMemory
        }
        gpu.initialize(to: SoftwareGPU(configuration, tables: tables))
        return gpu
    }
}

extension UnsafeMutablePointer where Pointee == SoftwareGPU {
    /// All spaces must have been freed.
    func free() {
        let memory = pointee.memory
        pointee.tables.dispose()
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    /// Drops the translations of the range from the TLBs of the space's engines. When it returns no engine uses an
    /// older translation any more, nor reads a table that was unlinked before the call: SoftwareSpace.freeRetired may
    /// follow, and memory that had been mapped there may be taken away.
    ///
    /// - Locking: takes the lock of each engine, which holds it for at most one chunk of 64 KiB.
    /// - Signalling: may run in a signalling section.
    func invalidate(_ space: SoftwareSpacePointer, start: UInt64, size: UInt64) {
        let covered = space.beginInvalidation()
        space.pointee.engineLock.acquire()
        var engine = space.pointee.engines
        while let current = engine {
            current.invalidate(start: start, size: size)
            engine = current.pointee.nextInSpace
        }
        space.pointee.engineLock.release()
        space.acknowledge(covered)
    }

    // MARK: Spaces

    func list(_ space: SoftwareSpacePointer) {
        pointee.lock.acquire()
        space.pointee.nextInGPU = pointee.firstSpace
        pointee.firstSpace?.pointee.previousInGPU = space
        pointee.firstSpace = space
        pointee.lock.release()
    }

    func unlist(_ space: SoftwareSpacePointer) {
        pointee.lock.acquire()
        if let next = space.pointee.nextInGPU { next.pointee.previousInGPU = space.pointee.previousInGPU }
        if let previous = space.pointee.previousInGPU {
            previous.pointee.nextInGPU = space.pointee.nextInGPU
        } else {
            pointee.firstSpace = space.pointee.nextInGPU
        }
        pointee.counters.ptesWritten.add(space.pointee.counters.written.load(ordering: .relaxed))
        pointee.counters.ptesCleared.add(space.pointee.counters.cleared.load(ordering: .relaxed))
        pointee.counters.tlbInvalidations.add(space.pointee.counters.invalidations.load(ordering: .relaxed))
        pointee.lock.release()
    }

    /// Entries written and cleared, and TLB invalidations, of all spaces that there were.
    var totals: (written: UInt64, cleared: UInt64, invalidations: UInt64) {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var written = pointee.counters.ptesWritten.load(ordering: .relaxed)
        var cleared = pointee.counters.ptesCleared.load(ordering: .relaxed)
        var invalidations = pointee.counters.tlbInvalidations.load(ordering: .relaxed)
        var next = pointee.firstSpace
        while let space = next {
            written &+= space.pointee.counters.written.load(ordering: .relaxed)
            cleared &+= space.pointee.counters.cleared.load(ordering: .relaxed)
            invalidations &+= space.pointee.counters.invalidations.load(ordering: .relaxed)
            next = space.pointee.nextInGPU
        }
        return (written, cleared, invalidations)
    }

    /// Nanoseconds to write or clear so many page-table entries.
    func cost(ofEntries count: UInt64) -> UInt64 { pointee.costs.entries(count) }

    /// Nanoseconds for one TLB invalidation.
    var invalidationCost: UInt64 { pointee.costs.tlbFlushNanoseconds }

    /// True if the move that asks is to fail.
    func takeMoveFailure() -> Bool {
        var count = pointee.movesToFail.load(ordering: .relaxed)
        while count != 0 {
            let result = pointee.movesToFail.weakCompareExchange(
                expected: count, desired: count - 1, ordering: .relaxed)
            if result.exchanged { return true }
            count = result.original
        }
        return false
    }

    /// Whether time passes between the beginning of an unbind's work and its end.
    var hasUnbindCost: Bool { pointee.costs.ptePicoseconds != 0 || pointee.costs.tlbFlushNanoseconds != 0 }

    /// True if the range lies in local memory.
    func holdsLocal(_ offset: UInt64, _ size: UInt64) -> Bool {
        size <= pointee.localSize && offset <= pointee.localSize &- size
    }
}

extension Atomic where Value == UInt64 {
    /// For a counter that only the holder of a lock changes: no atomic addition is needed.
    @inline(__always)
    func add(_ amount: UInt64) { store(load(ordering: .relaxed) &+ amount, ordering: .relaxed) }
}
