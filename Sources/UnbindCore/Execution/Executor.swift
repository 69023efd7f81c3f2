// Executor: runs the work items of a device, now or at a time of its clock.
//
//   pool        worker threads; real time
//   manual      no thread: whoever calls run, runUntil or a wait runs the work; real time
//   simulated   no thread and no real time: the clock stands still while work runs, moves to the next item's time when
//               nothing is left for the present, and of all that could run next one is picked by a seeded generator.
//               One thread at a time is inside it; a second one waits until the first has left its item
//
// Life: make, any number of submits, waitIdle, stop, free. The device drains its executor before it stops it.
//
// Locking: the ready list, the timers and the counters belong to `lock` (LockRank.executor), which is held for a few
// instructions at a time. Items run, and threads sleep, with nothing held.
// Submitting never allocates: items are linked through themselves.

import CSystem
import Synchronization

/// The values of UNBIND_EXECUTOR_*.
enum ExecutorKind: UInt32 {
    case pool = 0
    case manual = 1
    case simulated = 2
}

typealias ExecutorPointer = UnsafeMutablePointer<Executor>

struct Executor: ~Copyable {
    // Under the lock.

    /// Items whose time has come, first in, first out.
    var firstReady: WorkItemPointer?
    var lastReady: WorkItemPointer?
    var readyCount = 0
    /// The root of a TimerHeap: items whose time has not come.
    var timers: WorkItemPointer?
    /// Items being run now.
    var running = 0
    /// Of the next submit.
    var nextSequence: UInt64 = 0
    /// Threads that sleep on `workWord`, or are about to, and how many of them were already woken.
    var sleeping = 0
    var woken = 0
    /// Threads that sleep on `idleWord` (pool).
    var idleWaiters = 0
    var itemsRun: UInt64 = 0
    /// What the simulated executor ran when.
    var digest: UInt64
    var random: RandomSource
    var isStopping = false
    var isStopped = false
    var eventIsRaised = false
    /// Somebody has asked for the event descriptor.
    var eventIsWatched = false
    /// The thread that asked last when there would be something to do: the event loop.
    var loopThread: pthread_t?

    let lock = FutexLock(.executor)
    /// Changed whenever a sleeper is to look again.
    let workWord = Atomic<UInt32>(0)
    let idleWord = Atomic<UInt32>(0)
    /// What items have begun that others will end, by submitting an item.
    let elsewhere = Atomic<Int>(0)
    /// Virtual time; only the simulated executor's. Written under the lock.
    let clock = Atomic<UInt64>(0)

    // Fixed once made.

    let kind: ExecutorKind
    let device: UnsafeMutableRawPointer
    let memory: UnsafeMutablePointer<Memory>
    /// The pool's threads. The count is of those started, set by the maker.
    var threads: UnsafeMutablePointer<pthread_t>?
    var threadCapacity = 0
    var threadCount = 0
    /// Of the manual executor, else -1.
    let eventDescriptor: Int32

    fileprivate init(
        kind: ExecutorKind, seed: UInt64, device: UnsafeMutableRawPointer, memory: UnsafeMutablePointer<Memory>,
        eventDescriptor: Int32
    ) {
        self.kind = kind
        self.device = device
        self.memory = memory
        self.eventDescriptor = eventDescriptor
        random = RandomSource(seed: seed)
        digest = kind == .simulated ? ScheduleDigest.empty : 0
    }
}

extension UnsafeMutablePointer where Pointee == Executor {
    // MARK: Life

    /// A new executor. `workerCount` (1 or more) is for the pool and `seed` for the simulated one. `device` is what
    /// isRunningOnThisThread goes by: one executor a device.
    /// - Failure: noMemory; again when a thread could not be had; the errno of eventfd. Nothing is left behind.
    static func make(
        kind: ExecutorKind, workerCount: Int, seed: UInt64, memory: UnsafeMutablePointer<Memory>,
        device: UnsafeMutableRawPointer
    ) throws(Status) -> ExecutorPointer {
        invariant(kind != .pool || workerCount >= 1, "a worker pool has at least one worker")
        guard let executor = memory.allocateApart(of: Executor.self) else { throw Status.noMemory }
        var event: Int32 = -1
        if kind == .manual {
            event = csys_eventfd_create(0)
            if event < 0 {
                memory.deallocateApart(executor)
                throw Status(raw: event)
            }
        }
        executor.initialize(
            to: Executor(kind: kind, seed: seed, device: device, memory: memory, eventDescriptor: event))
        if kind == .pool {
            do throws(Status) {
                try executor.startWorkers(workerCount)
            } catch {
                executor.stop()
                executor.free()
                throw error
            }
        }
        return executor
    }

    /// Runs what is ready, on the workers or on the calling thread, and what that submits for now; then ends the
    /// workers. From the call on only running items may submit, and after it nobody.
    ///
    /// Timed work is not waited for and never dropped in silence: there must be none (waitIdle first).
    /// - Locking: nothing may be held. Not from within an item of this executor.
    func stop() {
        LockOrder.assertNoneHeld("an executor was stopped with a lock held")
        invariant(!isRunningOnThisThread, "an executor was stopped by a work item of its own")
        pointee.lock.acquire()
        invariant(!pointee.isStopping, "an executor was stopped twice")
        pointee.isStopping = true
        if pointee.kind == .pool { wakeAll() }
        pointee.lock.release()
        if pointee.kind == .pool { joinWorkers() } else { while runOne() {} }
        pointee.lock.acquire()
        invariant(pointee.timers == nil, "an executor was stopped with timed work pending")
        invariant(pointee.firstReady == nil && pointee.running == 0, "an executor was stopped with work in progress")
        pointee.isStopped = true
        pointee.lock.release()
    }

    /// Gives the memory back. After stop.
    func free() {
        invariant(pointee.isStopped, "an executor was freed before it was stopped")
        if pointee.eventDescriptor >= 0 { csys_fd_close(pointee.eventDescriptor) }
        let memory = pointee.memory
        if let threads = pointee.threads { memory.deallocateArray(threads, count: pointee.threadCapacity) }
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    // MARK: Work elsewhere

    /// For whoever waits for idle, something is under way as long as this was not taken back. Only within an item: the
    /// end of an item is when those are told.
    func workBeganElsewhere() { _ = pointee.elsewhere.wrappingAdd(1, ordering: .relaxed) }

    func workElsewhereEnded() { _ = pointee.elsewhere.wrappingSubtract(1, ordering: .relaxed) }

    // MARK: State

    var kind: ExecutorKind { pointee.kind }

    /// The device's clock in nanoseconds: CLOCK_MONOTONIC, or the virtual time, which begins at 0. Any thread, any
    /// lock.
    @inline(__always)
    var now: UInt64 {
        pointee.kind == .simulated ? pointee.clock.load(ordering: .acquiring) : csys_monotonic_ns()
    }

    /// The same, but on the real clock some milliseconds late: for records of what happened when.
    @inline(__always)
    var approximateNow: UInt64 {
        pointee.kind == .simulated ? pointee.clock.load(ordering: .acquiring) : csys_monotonic_coarse_ns()
    }

    /// When the next item is due: not after `now` if one is ready, .max if none is known.
    var nextEvent: UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        pointee.loopThread = pthread_self()
        if let first = pointee.firstReady { return Swift.min(first.pointee.due, now) }
        return earliestTimer
    }

    /// Manual: readable while submitted work was not seen by run, runUntil or a wait. Other kinds: -1.
    var eventfd: Int32 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        watchEvent()
        return pointee.eventDescriptor
    }

    /// True inside a work item of this executor.
    var isRunningOnThisThread: Bool { RunningDevice.isRunning(pointee.device) }

    /// Items run so far, those running now included.
    var itemsRun: UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.itemsRun
    }

    /// Simulated: equal for equal schedules. Other kinds: 0.
    var scheduleDigest: UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.digest
    }
}

/// FNV-1a (Fowler, Noll, Vo) over 64-bit words, least significant byte first.
enum ScheduleDigest {
    static var empty: UInt64 { 0xCBF2_9CE4_8422_2325 }

    static func adding(_ word: UInt64, to digest: UInt64) -> UInt64 {
        var digest = digest
        var word = word
        for _ in 0..<8 {
            digest = (digest ^ (word & 0xFF)) &* 0x0000_0100_0000_01B3
            word &>>= 8
        }
        return digest
    }
}
