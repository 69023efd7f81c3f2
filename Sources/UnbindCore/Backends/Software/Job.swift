// Job: one submit on a queue: a list of commands, what has to happen before, and the fence that tells of its end.
//
//     let job = try gpu.makeJob(for: engine, commandCount: n)     commands and awaits may fail: on failure discard()
//     try job.add(command); try job.await(fence)
//     let fence = engine.admit(job)                               gives it its place in the timeline
//     engine.append(job)                                          never fails
//
// admit and append of one engine happen in the same order, under a lock of the owner. The fence comes first and is the
// life of the job: makeJob gives one reference, which append hands to the engine until the fence has signalled; whoever
// wants to keep the fence retains it before append. Commands and awaits are gone when the job ends, the job itself with
// the last reference.
//
// - Locking: `isOpen` and `next` belong to the lock of the engine, the rest to whoever builds or runs the job.

import CUnbind
import Synchronization

typealias JobPointer = UnsafeMutablePointer<Job>

struct Job: ~Copyable {
    /// First: a pointer to it is a pointer to the Job. Of no timeline until admitted.
    fileprivate let fence: OrderedFence
    /// At `kernelPointOffset`: of its last batch, from when a kernel has taken that.
    let kernelPoint = KernelPoint()
    /// Opens when everything awaited is done. The first error that arrives makes the engine skip the commands.
    let gate = SoftwareFence()
    let gpu: SoftwareGPUPointer
    let engine: EnginePointer
    /// Place in the engine's timeline, from 1; 0 until admitted.
    var seqno: UInt64 = 0
    /// For the owner.
    var context: UnsafeMutableRawPointer?

    fileprivate(set) var commands: UnsafeMutablePointer<Command>?
    fileprivate(set) var commandCount = 0
    fileprivate var commandCapacity: Int
    /// Where a backend runs them: room for the commands as it gets them.
    fileprivate(set) var nativeCommands: UnsafeMutablePointer<unbind_command>?
    /// What it uses, for a backend that has to know and cannot tell from its commands.
    fileprivate(set) var uses: UnsafeMutablePointer<JobUse>?
    fileprivate(set) var useCount = 0
    fileprivate var useCapacity = 0
    /// To hang up when the job is appended.
    fileprivate var awaits: AwaitPointer?
    /// The same, for what only has to end, whatever becomes of it.
    fileprivate var ends: AwaitPointer?
    /// What a kernel is to await instead, and how many those are.
    fileprivate var handedOver: AwaitPointer?
    fileprivate var handedOverCount = 0
    /// One for each WAIT command, the last command's first until append turns the list round.
    fileprivate var waits: AwaitPointer?

    /// The gate is open.
    var isOpen = false
    var next: JobPointer?

    fileprivate init(
        gpu: SoftwareGPUPointer, engine: EnginePointer, commands: UnsafeMutablePointer<Command>, capacity: Int
    ) {
        self.gpu = gpu
        self.engine = engine
        self.commands = commands
        commandCapacity = capacity
        fence = OrderedFence(home: gpu.pointee.jobHome)
    }

    /// Of the fences of all jobs.
    static func makeHome(owner: UnsafeMutableRawPointer) -> FenceHome {
        FenceHome(
            owner: owner, isOwnWork: true, isOrdered: true, kernelPointOffset: kernelPointOffset, release: releaseJob)
    }

    static var kernelPointOffset: Int { MemoryLayout<OrderedFence>.stride }
}

/// A range that a job uses.
struct JobUse: BitwiseCopyable {
    let address: UInt64
    let size: UInt64
    let isWritten: Bool
}

extension UnsafeMutablePointer where Pointee == SoftwareGPU {
    /// An empty job with room for so many commands.
    /// - Failure: .noMemory.
    func makeJob(for engine: EnginePointer, commandCount: Int) throws(Status) -> JobPointer {
        guard let memory = pointee.jobs.take() else { throw .noMemory }
        guard let commands = pointee.memory.allocateArray(of: Command.self, count: commandCount) else {
            pointee.jobs.give(memory)
            throw .noMemory
        }
        var native: UnsafeMutablePointer<unbind_command>?
        if engine.pointee.backend != nil {
            native = pointee.memory.allocateArray(of: unbind_command.self, count: commandCount)
            if native == nil {
                pointee.memory.deallocateArray(commands, count: commandCount)
                pointee.jobs.give(memory)
                throw .noMemory
            }
        }
        let job = memory.bindMemory(to: Job.self, capacity: 1)
        job.initialize(to: Job(gpu: self, engine: engine, commands: commands, capacity: commandCount))
        job.pointee.nativeCommands = native
        return job
    }
}

extension UnsafeMutablePointer where Pointee == Job {
    /// The fence that signals when the job has ended. Its context and seqno are there once the job is admitted.
    var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    /// Adds a command; takes a reference of its own to the fence of a WAIT.
    /// - Failure: .noMemory (WAIT only).
    func add(_ command: Command) throws(Status) {
        invariant(pointee.commandCount < pointee.commandCapacity, "a job was given more commands than it was made for")
        if command.kind == .wait {
            guard let fence = command.fence else { panic("a WAIT command was made without a fence") }
            let wait = pointee.gpu.pointee.awaits.takeAwait(on: fence, function: engineWaitEnded)
            guard let wait else { throw .noMemory }
            wait.pointee.next = pointee.waits
            pointee.waits = wait
            fence.retain()
        }
        (pointee.commands.unsafelyUnwrapped + pointee.commandCount).initialize(to: command)
        pointee.commandCount = pointee.commandCount &+ 1
    }

    /// - Failure: .noMemory.
    func makeRoomForUses(_ count: Int) throws(Status) {
        guard let uses = pointee.gpu.pointee.memory.allocateArray(of: JobUse.self, count: count) else {
            throw .noMemory
        }
        pointee.uses = uses
        pointee.useCapacity = count
    }

    /// Nothing, if no room was made.
    func addUse(of address: UInt64, _ size: UInt64, usage: FenceUsage) {
        if pointee.useCount == pointee.useCapacity { return }
        (pointee.uses.unsafelyUnwrapped + pointee.useCount).initialize(
            to: JobUse(address: address, size: size, isWritten: usage == .write))
        pointee.useCount = pointee.useCount &+ 1
    }

    /// The job is not to start before the fence has signalled.
    /// - Failure: .noMemory.
    func await(_ fence: FencePointer) throws(Status) {
        if fence.isSignalled {
            if fence.error != 0 {
                pointee.gate.await()
                _ = pointee.gate.complete(error: fence.error)
            }
            return
        }
        let edge = pointee.gpu.pointee.awaits.takeAwait(on: fence, function: jobAwaitEnded)
        guard let edge else { throw .noMemory }
        edge.pointee.next = pointee.awaits
        pointee.awaits = edge
    }

    /// As await, but what became of the other is nothing to this job: an error does not make it skip its commands.
    /// - Failure: .noMemory.
    func awaitEnd(of fence: FencePointer) throws(Status) {
        if fence.isSignalled { return }
        let edge = pointee.gpu.pointee.awaits.takeAwait(on: fence, function: jobEndAwaited)
        guard let edge else { throw .noMemory }
        edge.pointee.next = pointee.ends
        pointee.ends = edge
    }

    /// One thing that was added to the gate with `gate.await()` is done. Starts the job if it was the last.
    /// - Locking: none may be held.
    func complete(error: Int32) {
        if pointee.gate.complete(error: error) { pointee.engine.open(self) }
    }

    /// Frees a job that was not appended.
    func discard() {
        releaseParts()
        fence.drop()
    }

    // MARK: For the engine

    /// Gives the fence its place in a timeline.
    func setTimeline(_ context: UInt64, _ seqno: UInt64) {
        pointee.seqno = seqno
        fence.setPlace(context: context, seqno: seqno)
    }

    /// Hangs up the awaits and commits the gate. The job may have ended when this returns.
    func start() {
        var reversed: AwaitPointer?
        while let wait = pointee.waits {
            pointee.waits = wait.pointee.next
            wait.pointee.next = reversed
            reversed = wait
        }
        pointee.waits = reversed
        while let edge = pointee.awaits {
            pointee.awaits = edge.pointee.next
            if handOver(edge) { continue }
            if let error = hangUp(edge) { _ = pointee.gate.complete(error: error) }
        }
        while let edge = pointee.ends {
            pointee.ends = edge.pointee.next
            if hangUp(edge) != nil { _ = pointee.gate.complete(error: 0) }
        }
        if pointee.gate.commit() { pointee.engine.open(self) }
    }

    /// What became of the fence, if it has signalled already.
    private func hangUp(_ edge: AwaitPointer) -> Int32? {
        pointee.gate.await()
        if edge.arm(for: UnsafeMutableRawPointer(self)) { return nil }
        let error = edge.pointee.fence.error
        pointee.gpu.pointee.awaits.give(edge)
        return error
    }

    /// Leaves what an edge awaits to the kernel. False if it has to be awaited here. Not another job: if that fails,
    /// this one is not to run, and the kernel does not know.
    func handOver(_ edge: AwaitPointer) -> Bool {
        let fence = edge.pointee.fence
        guard pointee.engine.pointee.backend?.handsOver == true, pointee.handedOverCount < KernelPoint.mostWaits,
            fence.pointee.home != pointee.gpu.pointee.jobHome, fence.kernelPoint?.place != nil
        else { return false }
        edge.initialize(to: Await(fence: fence, function: engineWaitEnded))
        edge.pointee.next = pointee.handedOver
        pointee.handedOver = edge
        pointee.handedOverCount = pointee.handedOverCount &+ 1
        return true
    }

    /// One that was handed over and has not been taken; the caller's.
    func takeHandedOver() -> AwaitPointer? {
        guard let edge = pointee.handedOver else { return nil }
        pointee.handedOver = edge.pointee.next
        pointee.handedOverCount = pointee.handedOverCount &- 1
        return edge
    }

    /// What the kernel has to await before it runs the next commands. The error of one that has signalled is passed on.
    func gather(_ waits: inout InlineArray<16, KernelWait>) throws(Status) -> Int {
        var count = 0
        var next = pointee.handedOver
        while let edge = next {
            next = edge.pointee.next
            let fence = edge.pointee.fence
            if fence.isSignalled {
                if fence.error != 0 { throw Status(raw: fence.error) }
            } else if let wait = fence.kernelPoint?.wait {
                waits[count] = wait
                count += 1
            }
        }
        return count
    }

    /// What the next WAIT command hangs on its fence. Belongs to the caller from then on.
    func takeWait() -> AwaitPointer {
        guard let wait = pointee.waits else { panic("a WAIT command has nothing to wait with") }
        pointee.waits = wait.pointee.next
        return wait
    }

    /// Frees commands and awaits, all of which are off their fences.
    func releaseParts() {
        let gpu = pointee.gpu
        while let edge = pointee.awaits {
            pointee.awaits = edge.pointee.next
            gpu.pointee.awaits.give(edge)
        }
        while let edge = pointee.ends {
            pointee.ends = edge.pointee.next
            gpu.pointee.awaits.give(edge)
        }
        while let wait = pointee.waits {
            pointee.waits = wait.pointee.next
            gpu.pointee.awaits.give(wait)
        }
        while let edge = takeHandedOver() { gpu.pointee.awaits.give(edge) }
        if let uses = pointee.uses {
            gpu.pointee.memory.deallocateArray(uses, count: pointee.useCapacity)
            pointee.uses = nil
        }
        guard let commands = pointee.commands else { return }
        for index in 0..<pointee.commandCount { commands[index].fence?.drop() }
        gpu.pointee.memory.deallocateArray(commands, count: pointee.commandCapacity)
        pointee.commands = nil
        if let native = pointee.nativeCommands {
            gpu.pointee.memory.deallocateArray(native, count: pointee.commandCapacity)
            pointee.nativeCommands = nil
        }
    }
}

/// A fence that a job awaited has signalled.
private func jobAwaitEnded(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let fence = fence.assumingMemoryBound(to: Fence.self)
    let error = fence.error
    takeOff(callback, fence).complete(error: error)
}

/// The same, when it does not matter how.
private func jobEndAwaited(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    takeOff(callback, fence.assumingMemoryBound(to: Fence.self)).complete(error: 0)
}

private func takeOff(_ callback: UnsafeMutableRawPointer, _ fence: FencePointer) -> JobPointer {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let job = edge.pointee.waiter.assumingMemoryBound(to: Job.self)
    job.pointee.gpu.pointee.awaits.give(edge, on: fence)
    return job
}

/// The last reference to a job's fence has gone.
private func releaseJob(_ memory: UnsafeMutableRawPointer) {
    let job = memory.assumingMemoryBound(to: Job.self)
    let gpu = job.pointee.gpu
    let (owner, jobReleased) = (gpu.pointee.owner, gpu.pointee.jobReleased)
    job.fence.kernelPoint!.clear()
    job.deinitialize(count: 1)
    gpu.pointee.jobs.give(memory)
    jobReleased?(owner)
}
