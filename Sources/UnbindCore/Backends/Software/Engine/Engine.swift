// Engine: runs the jobs of one queue in order, each command through the page tables and its TLB.
//
// An engine is one WorkItem: it is with the executor exactly while it could go on (`isScheduled`), and otherwise waits
// for a job, for the gate of its first job, or for the fence of a WAIT command, any of which submits it again.
//
// Its lock is held while a chunk of at most 64 KiB is translated and accessed. SoftwareGPU.invalidate takes the same
// lock, and so returns only when no engine uses an old translation: what the TLB acknowledge is in hardware.
//
// - Locking: `lock`; the members that tell where it is in its job belong to whoever runs the item.
// - Lifetime: the owner keeps it until `isIdle`; a job's end is told by `jobEnded`, after which, if there is no other
// job,
//   the engine does not touch itself again, so that the owner may free it from there.

import Synchronization

typealias EnginePointer = UnsafeMutablePointer<Engine>

struct Engine: ~Copyable {
    /// Called when a job has ended, its fence has signalled and the engine has dropped its reference to it, with no
    /// lock held: `jobContext` is the job's own `context`, because the job itself may be gone.
    typealias JobEnded =
        @convention(c) (_ engineContext: UnsafeMutableRawPointer?, _ jobContext: UnsafeMutableRawPointer?) -> Void

    let gpu: SoftwareGPUPointer
    /// At `itemOffset`.
    var item: WorkItem
    /// Nil where a backend runs the jobs: then there is `backend`.
    let softwareSpace: SoftwareSpacePointer?
    let softwareTLB: TLBPointer?
    let backend: BackendQueuePointer?
    /// What the queue is called in faults.
    let id: UInt64
    /// The context of its jobs' fences.
    let timeline: UInt64
    /// Called when the commands of a job have ended, before its fence signals.
    let jobEnding: JobEnded?
    let jobEnded: JobEnded?
    let jobEndedContext: UnsafeMutableRawPointer?
    let lock = FutexLock(.engine)
    /// The list of its space, under whose lock this is.
    fileprivate(set) var nextInSpace: EnginePointer?
    fileprivate var previousInSpace: EnginePointer?

    // Under the lock.
    var firstJob: JobPointer?
    var lastJob: JobPointer?
    var lastAppended: UInt64 = 0
    var isScheduled = false

    /// Under the lock of the owner that orders admissions.
    var lastAdmitted: UInt64 = 0

    var progress = Progress()

    /// Where it is in its first job.
    struct Progress {
        var hasStarted = false
        var error: Int32 = 0
        var commandIndex = 0
        /// The cost of the command has been paid.
        var isPaid = false
        /// Bytes of the command that are done.
        var offset: UInt64 = 0
        /// The command hung on its fence, which carried this error.
        var hasWaited = false
        var waitError: Int32 = 0
    }

    /// The most that is accessed under one holding of the lock.
    static var chunkBytes: UInt64 { 64 << 10 }

    fileprivate init(
        gpu: SoftwareGPUPointer, space: SoftwareSpacePointer?, backend: BackendQueuePointer?, id: UInt64,
        timeline: UInt64, tlb: TLBPointer?, jobEnding: JobEnded?, jobEnded: JobEnded?,
        context: UnsafeMutableRawPointer?, item: WorkItem
    ) {
        self.gpu = gpu
        softwareSpace = space
        self.backend = backend
        self.id = id
        self.timeline = timeline
        softwareTLB = tlb
        self.jobEnding = jobEnding
        self.jobEnded = jobEnded
        jobEndedContext = context
        self.item = item
    }
}

extension UnsafeMutablePointer where Pointee == Engine {
    /// Enters the list of its space, the first of which it is then; that is the result.
    func entering(before first: EnginePointer?) -> EnginePointer {
        pointee.nextInSpace = first
        first?.pointee.previousInSpace = self
        return self
    }

    /// Leaves the list of its space. The result is the first that is left.
    func leaving(_ first: EnginePointer?) -> EnginePointer? {
        let (previous, next) = (pointee.previousInSpace, pointee.nextInSpace)
        invariant(previous != nil || first == self, "an engine was taken off a space it is not in")
        next?.pointee.previousInSpace = previous
        guard let previous else { return next }
        previous.pointee.nextInSpace = next
        return first
    }
}

extension UnsafeMutablePointer where Pointee == SoftwareGPU {
    /// Makes an engine that runs jobs in the space.
    ///
    /// - Parameters:
    ///   - id: unique among the device's engines; also the label of its work in schedules.
    ///   - timeline: the fence context of its jobs, not 0.
    /// - Failure: .noMemory.
    func makeEngine(
        space: SoftwareSpacePointer, id: UInt64, timeline: UInt64, jobEnding: Engine.JobEnded? = nil,
        jobEnded: Engine.JobEnded? = nil, context: UnsafeMutableRawPointer? = nil
    ) throws(Status) -> EnginePointer {
        guard let engine = pointee.memory.allocateApart(of: Engine.self) else { throw .noMemory }
        guard let tlb = TLB.make(memory: pointee.memory) else {
            pointee.memory.deallocateApart(engine)
            throw .noMemory
        }
        let item = WorkItem(label: Engine.label | id, context: UnsafeMutableRawPointer(engine), function: runEngine)
        engine.initialize(
            to: Engine(
                gpu: self, space: space, backend: nil, id: id, timeline: timeline, tlb: tlb, jobEnding: jobEnding,
                jobEnded: jobEnded, context: context, item: item))
        space.attach(engine)
        return engine
    }

    /// Makes an engine whose jobs a backend runs: see Engine+Backend. Parameters as above; `flags` are UNBIND_QUEUE_*;
    /// without a space it is for moves.
    /// - Failure: lost, unsupported, noMemory, and whatever the backend says.
    func makeEngine(
        backend: BackendPointer, space: BackendSpacePointer?, flags: UInt32 = 0, id: UInt64, timeline: UInt64,
        jobEnding: Engine.JobEnded? = nil, jobEnded: Engine.JobEnded?, context: UnsafeMutableRawPointer?
    ) throws(Status) -> EnginePointer {
        guard let engine = pointee.memory.allocateApart(of: Engine.self) else { throw .noMemory }
        let item = WorkItem(
            label: Engine.label | id, context: UnsafeMutableRawPointer(engine), function: runEngineOnBackend)
        do throws(Status) {
            let queue =
                if let space {
                    try BackendQueuePointer.make(space, flags: flags, for: engine)
                } else {
                    try BackendQueuePointer.makeForMoves(backend, engine: engine)
                }
            engine.initialize(
                to: Engine(
                    gpu: self, space: nil, backend: queue, id: id, timeline: timeline, tlb: nil, jobEnding: jobEnding,
                    jobEnded: jobEnded, context: context, item: item))
        } catch {
            pointee.memory.deallocateApart(engine)
            throw error
        }
        space?.attach(engine)
        return engine
    }

    /// Frees an engine that is idle and gets no more jobs.
    func freeEngine(_ engine: EnginePointer) {
        invariant(engine.isIdle, "an engine was freed with jobs in it")
        engine.pointee.softwareSpace?.detach(engine)
        engine.pointee.softwareTLB?.free()
        if let backend = engine.pointee.backend {
            backend.pointee.space?.detach(engine)
            backend.free()
        }
        engine.deinitialize(count: 1)
        pointee.memory.deallocateApart(engine)
    }
}

extension Engine {
    /// The upper bits of the labels of engines' work.
    static var label: UInt64 { 0x656E_6700_0000_0000 }
    static var itemOffset: Int { 8 }

    @inline(__always)
    var space: SoftwareSpacePointer { softwareSpace.unsafelyUnwrapped }
    @inline(__always)
    var tlb: TLBPointer { softwareTLB.unsafelyUnwrapped }
}

extension UnsafeMutablePointer where Pointee == Engine {
    /// Frees the engine; see SoftwareGPU.freeEngine.
    func free() { pointee.gpu.freeEngine(self) }

    /// True if it has no jobs.
    var isIdle: Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.firstJob == nil && !pointee.isScheduled
    }

    /// Gives the job the next place in the timeline and returns its fence. After it comes append, or discard.
    ///
    /// - Locking: the owner holds a lock that orders admissions and appends, or has only one thread.
    @discardableResult
    func admit(_ job: JobPointer) -> FencePointer {
        // Not `+=`: see the rule on members in MemberPointer.
        pointee.lastAdmitted = pointee.lastAdmitted &+ 1
        job.setTimeline(pointee.timeline, pointee.lastAdmitted)
        return job.fence
    }

    /// Appends an admitted job, with the reference that makeJob gave. It runs when the jobs before it have ended and
    /// what it awaits is done.
    ///
    /// - Locking: as admit; locks of ranks below .engine may be held.
    func append(_ job: JobPointer) {
        pointee.lock.acquire()
        invariant(job.pointee.seqno > pointee.lastAppended, "jobs were appended in another order than admitted")
        pointee.lastAppended = job.pointee.seqno
        if let last = pointee.lastJob { last.pointee.next = job } else { pointee.firstJob = job }
        pointee.lastJob = job
        pointee.lock.release()
        job.start()
    }

    /// The gate of the job has opened.
    func open(_ job: JobPointer) {
        pointee.lock.acquire()
        job.pointee.isOpen = true
        let submits = pointee.firstJob == job && !pointee.isScheduled
        if submits { pointee.isScheduled = true }
        pointee.lock.release()
        // Not freed meanwhile: whoever is scheduled is not idle.
        if submits { submit() }
    }

    /// Forgets translations, and waits until none of them is in use.
    /// - Signalling: may run in a signalling section.
    func invalidate(start: UInt64, size: UInt64) {
        pointee.lock.acquire()
        pointee.tlb.invalidate(start: start, size: size, space: pointee.space.pointee.id)
        pointee.lock.release()
    }

    /// Goes on after a WAIT command whose fence has signalled.
    fileprivate func resume(error: Int32) {
        pointee.lock.acquire()
        pointee.isScheduled = true
        pointee.progress.waitError = error
        pointee.lock.release()
        submit()
    }

    /// Where the executor finds the engine.
    var itemPointer: WorkItemPointer { memberPointer(of: self, at: Engine.itemOffset, as: WorkItem.self) }

    private func submit() { pointee.gpu.pointee.executor.submit(itemPointer) }
}

/// The fence of a WAIT command has signalled.
func engineWaitEnded(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let engine = edge.pointee.waiter.assumingMemoryBound(to: Engine.self)
    let fence = fence.assumingMemoryBound(to: Fence.self)
    let error = fence.error
    engine.pointee.gpu.pointee.awaits.give(edge, on: fence)
    engine.resume(error: error)
}

private func runEngine(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: Engine.self).run(at: time)
}

private func runEngineOnBackend(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: Engine.self).runOnBackend(at: time)
}
