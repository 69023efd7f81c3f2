// What an engine does when its time has come: it goes on with its first job from where it was.
//
// A command that costs something begins by submitting the engine again for the time of its end, and has its effect
// then: a fault shows as late as it can, and what the command reads is what is there at its end. Times go on from
// when the work was due, so that an executor that is late does not make the queue slower. After a bounded amount of
// work that costs nothing the engine submits itself again, so that others get a turn.

import Synchronization

extension Engine {
    /// What there is to do after a step.
    fileprivate enum Step {
        case goOn
        /// Come again at that time.
        case later(UInt64)
        /// A fence will submit the engine, which may already run elsewhere.
        case blocked
    }

    /// Steps of at most a chunk that one turn may take.
    fileprivate static var turnSteps: Int { 64 }
}

extension UnsafeMutablePointer where Pointee == Engine {
    func run(at time: UInt64) {
        var steps = Engine.turnSteps
        while true {
            guard let job = nextJob() else { return }
            switch runCommands(of: job, at: time, steps: &steps) {
            case .later(let due):
                pointee.gpu.pointee.executor.submit(itemPointer, at: due)
                return
            case .blocked: return
            case .goOn: if end(job, at: time) { return }
            }
        }
    }

    /// The job to go on with. If there is none the engine is left to whoever opens or appends one.
    func nextJob() -> JobPointer? {
        pointee.lock.acquire()
        guard let job = pointee.firstJob, job.pointee.isOpen else {
            pointee.isScheduled = false
            pointee.lock.release()
            return nil
        }
        pointee.lock.release()
        if !pointee.progress.hasStarted {
            pointee.progress = Engine.Progress()
            pointee.progress.hasStarted = true
            pointee.progress.error = job.pointee.gate.error
        }
        return job
    }

    /// `goOn` when the job has ended.
    private func runCommands(of job: JobPointer, at time: UInt64, steps: inout Int) -> Engine.Step {
        while pointee.progress.error == 0 && pointee.progress.commandIndex < job.pointee.commandCount {
            if steps == 0 { return .later(time) }
            steps &-= 1
            let command = job.pointee.commands.unsafelyUnwrapped[pointee.progress.commandIndex]
            if !pointee.progress.isPaid {
                pointee.progress.isPaid = true
                let cost = cost(of: command)
                if cost > 0 { return .later(time.addingSaturating(cost)) }
            }
            switch execute(command, of: job, at: time) {
            case .goOn: break
            case .later(let due): return .later(due)
            case .blocked: return .blocked
            }
        }
        if steps == 0 { return .later(time) }
        steps &-= 1
        return .goOn
    }

    private func cost(of command: Command) -> UInt64 {
        let costs = pointee.gpu.pointee.costs
        switch command.kind {
        case .fill, .copy, .move: return costs.commandNanoseconds.addingSaturating(costs.bytes(command.size))
        case .store, .load: return costs.commandNanoseconds.addingSaturating(costs.bytes(8))
        case .delay: return costs.commandNanoseconds.addingSaturating(command.value)
        case .wait, .batch: return costs.commandNanoseconds
        }
    }

    /// One step of a command.
    private func execute(_ command: Command, of job: JobPointer, at time: UInt64) -> Engine.Step {
        switch command.kind {
        case .delay, .batch: break
        case .wait:
            if !pointee.progress.hasWaited, !wait(job) { return .blocked }
            pointee.progress.error = pointee.progress.waitError
        case .fill, .copy, .store, .load, .move:
            if command.kind == .move, pointee.gpu.takeMoveFailure() {
                pointee.progress.error = Status.lost.raw
                return .goOn
            }
            let chunk = access(command, from: pointee.progress.offset)
            if let fault = chunk.fault {
                report(fault, of: job, at: time)
                pointee.progress.error = Status.fault.raw
                return .goOn
            }
            pointee.progress.offset = pointee.progress.offset &+ chunk.bytes
            let total = command.kind == .store || command.kind == .load ? 8 : command.size
            if pointee.progress.offset < total { return .goOn }
        }
        _ = pointee.gpu.pointee.counters.commands.wrappingAdd(1, ordering: .relaxed)
        pointee.progress.commandIndex = pointee.progress.commandIndex &+ 1
        pointee.progress.isPaid = false
        pointee.progress.offset = 0
        pointee.progress.hasWaited = false
        return .goOn
    }

    /// Hangs the WAIT command on its fence. False if it waits; then nothing here is ours any more.
    private func wait(_ job: JobPointer) -> Bool { hang(job.takeWait()) }

    /// Waits for what an edge awaits. False as `wait`.
    func hang(_ wait: AwaitPointer) -> Bool {
        pointee.progress.hasWaited = true
        pointee.lock.acquire()
        pointee.isScheduled = false
        pointee.lock.release()
        if wait.arm(for: UnsafeMutableRawPointer(self)) { return false }
        pointee.lock.acquire()
        pointee.isScheduled = true
        pointee.lock.release()
        pointee.progress.waitError = wait.pointee.fence.error
        pointee.gpu.pointee.awaits.give(wait)
        return true
    }

    private func report(_ fault: Engine.Fault, of job: JobPointer, at time: UInt64) {
        let gpu = pointee.gpu
        _ = gpu.pointee.counters.faults.wrappingAdd(1, ordering: .relaxed)
        guard let sink = gpu.pointee.faultSink else { return }
        var record = FaultRecord(
            kind: fault.kind, access: fault.access, engineID: pointee.id, spaceID: pointee.space.pointee.id,
            jobSeqno: job.pointee.seqno, commandIndex: UInt32(truncatingIfNeeded: pointee.progress.commandIndex),
            address: fault.address, time: time)
        LockOrder.assertNoneHeld("a fault was reported with a lock held")
        withUnsafePointer(to: &record) { sink(gpu.pointee.faultContext, UnsafeRawPointer($0)) }
    }

    /// Signals the job's fence and goes on to the next job. True if there is none: the engine may be gone.
    func end(_ job: JobPointer, at time: UInt64) -> Bool {
        _ = pointee.gpu.pointee.counters.jobs.wrappingAdd(1, ordering: .relaxed)
        let error = pointee.progress.error
        pointee.progress.hasStarted = false
        job.releaseParts()
        pointee.jobEnding?(pointee.jobEndedContext, job.pointee.context)
        job.fence.signal(error: error, at: time)
        let jobContext = job.pointee.context
        let (jobEnded, engineContext) = (pointee.jobEnded, pointee.jobEndedContext)
        pointee.lock.acquire()
        let next = job.pointee.next
        pointee.firstJob = next
        if next == nil {
            pointee.lastJob = nil
            pointee.isScheduled = false
        }
        pointee.lock.release()
        job.fence.drop()
        jobEnded?(engineContext, jobContext)
        return next == nil
    }
}
