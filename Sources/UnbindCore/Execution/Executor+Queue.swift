// Executor: the work that is not running. Submitting, taking the next item, and running one.
//
// An item is on the ready list or in the timers, never both. Timers move to the ready list when somebody looks for work
// and their time has come, earliest first.

import CSystem
import Synchronization

/// What is left of an item once it has been taken: the item itself may be freed or submitted again by its function.
struct TakenWork {
    let function: WorkItem.Function
    let context: UnsafeMutableRawPointer
    let time: UInt64
}

/// The count of a futex wake that is for all. The kernel takes it as signed and stops after one at a negative number.
private var everySleeper: UInt32 { UInt32(Int32.max) }

extension UnsafeMutablePointer where Pointee == Executor {
    // MARK: Submitting

    /// Has the item run as soon as possible. Its function gets the time of this call.
    /// - Locking: takes the executor's lock: any lock of a lower rank may be held. Any thread.
    /// - Signalling: allowed; never allocates.
    func submit(_ item: WorkItemPointer) { submit(item, asOf: now) }

    /// As above, for who knows already what time it is.
    func submit(_ item: WorkItemPointer, asOf present: UInt64) { _ = submit(item, asOf: present, if: { true }) }

    /// As above, unless `claim`, which is called with the lock held, answers false.
    @inline(__always)
    func submit(_ item: WorkItemPointer, asOf present: UInt64, if claim: () -> Bool) -> Bool {
        pointee.lock.acquire()
        if !claim() {
            pointee.lock.release()
            return false
        }
        item.pointee.due = present
        enqueue(item)
        appendReady(item)
        let wakes = wakeForReadyItem()
        pointee.lock.release()
        if wakes > 0 { csys_futex_wake(pointee.workWord.address, wakes) }
        return true
    }

    /// Has the item run when the clock shows `time`, at once if it does already. Its function gets `time`, also if that
    /// was in the past: an engine that is late catches up.
    /// - Locking: as submit.
    /// - Signalling: as submit.
    func submit(_ item: WorkItemPointer, at time: UInt64) {
        pointee.lock.acquire()
        item.pointee.due = time
        enqueue(item)
        var wakes: UInt32 = 0
        if time <= now {
            appendReady(item)
            wakes = wakeForReadyItem()
        } else {
            // Whoever sleeps, sleeps at most until the earliest timer: an earlier one concerns them all.
            let isEarliest = time < earliestTimer
            item.pointee.isTimed = true
            pointee.timers = TimerHeap.inserting(item, into: pointee.timers)
            if isEarliest {
                raiseEvent()
                wakes = wakeSleepers()
            }
        }
        pointee.lock.release()
        if wakes > 0 { csys_futex_wake(pointee.workWord.address, wakes) }
    }

    /// Takes back an item that was submitted for a time which has not come. False if it runs, has run or is about to.
    /// - Locking: as submit.
    /// - Signalling: as submit.
    func cancel(_ item: WorkItemPointer) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard item.pointee.isTimed, let timers = pointee.timers else { return false }
        pointee.timers = TimerHeap.removing(item, from: timers)
        item.pointee.isTimed = false
        item.pointee.isQueued = false
        if isIdle { wakeForCompletion() }
        return true
    }

    @inline(__always)
    private func enqueue(_ item: WorkItemPointer) {
        invariant(!pointee.isStopped, "work was submitted to a stopped executor")
        invariant(
            !pointee.isStopping || isRunningOnThisThread, "work was submitted to an executor that is being stopped")
        invariant(!item.pointee.isQueued, "a work item was submitted while it was queued")
        item.pointee.isQueued = true
        item.pointee.sequence = pointee.nextSequence
        pointee.nextSequence &+= 1
    }

    @inline(__always)
    private func appendReady(_ item: WorkItemPointer) {
        item.pointee.next = nil
        item.pointee.child = nil
        if let last = pointee.lastReady {
            last.pointee.next = item
        } else {
            pointee.firstReady = item
        }
        pointee.lastReady = item
        pointee.readyCount &+= 1
    }

    // MARK: Waking (lock held; the result is for csys_futex_wake after its release)

    /// One worker is enough for one item; of the threads that wait on the other kinds each may be about to leave.
    @inline(__always)
    private func wakeForReadyItem() -> UInt32 {
        raiseEvent()
        if pointee.kind != .pool { return wakeSleepers() }
        if pointee.sleeping <= pointee.woken { return 0 }
        pointee.woken &+= 1
        _ = pointee.workWord.wrappingAdd(1, ordering: .relaxed)
        return 1
    }

    private func wakeSleepers() -> UInt32 {
        if pointee.sleeping <= pointee.woken { return 0 }
        pointee.woken = pointee.sleeping
        _ = pointee.workWord.wrappingAdd(1, ordering: .relaxed)
        return everySleeper
    }

    /// Lock held, and still held during the system call: for rare events.
    func wakeAll() {
        if wakeSleepers() > 0 { csys_futex_wake(pointee.workWord.address, everySleeper) }
    }

    /// Sleeps until woken or until `deadline`, without the lock, which is held again when it returns the futex's
    /// status.
    func sleepForWork(until deadline: UInt64) -> Int32 {
        pointee.sleeping &+= 1
        let seen = pointee.workWord.load(ordering: .relaxed)
        pointee.lock.release()
        let status = csys_futex_wait(pointee.workWord.address, seen, deadline)
        pointee.lock.acquire()
        pointee.sleeping &-= 1
        if pointee.woken > 0 { pointee.woken &-= 1 }
        return status
    }

    // MARK: The event descriptor (lock held)

    /// Work has come that the caller's event loop does not know of.
    @inline(__always)
    func raiseEvent() {
        if pointee.eventDescriptor < 0 || pointee.eventIsRaised { return }
        pointee.eventIsRaised = true
        if pointee.eventIsWatched { csys_eventfd_raise(pointee.eventDescriptor) }
    }

    @inline(__always)
    func clearEvent() {
        if !pointee.eventIsRaised { return }
        pointee.eventIsRaised = false
        if pointee.eventIsWatched { csys_eventfd_clear(pointee.eventDescriptor) }
    }

    /// Somebody is about to poll the descriptor. Until then nothing is written to it: a system call for each piece of
    /// work would cost more than the work.
    func watchEvent() {
        if pointee.eventIsWatched || pointee.eventDescriptor < 0 { return }
        pointee.eventIsWatched = true
        if pointee.eventIsRaised { csys_eventfd_raise(pointee.eventDescriptor) }
    }

    // MARK: Taking (lock held)

    /// The time of the earliest timer, or .max.
    var earliestTimer: UInt64 { pointee.timers?.pointee.due ?? .max }

    var isIdle: Bool {
        pointee.firstReady == nil && pointee.timers == nil && pointee.running == 0
            && pointee.elsewhere.load(ordering: .relaxed) == 0
    }

    /// Moves the timers whose time has come to the ready list.
    @inline(__always)
    func promoteTimers() {
        if let first = pointee.timers { promote(from: first) }
    }

    private func promote(from first: WorkItemPointer) {
        let present = now
        var timer: WorkItemPointer? = first
        while let item = timer, item.pointee.due <= present {
            timer = TimerHeap.removingFirst(of: item)
            item.pointee.isTimed = false
            appendReady(item)
        }
        pointee.timers = timer
    }

    /// The item after `previous` on the ready list, or the first, is taken and counted as running. There must be one.
    @inline(__always)
    func takeReady(after previous: WorkItemPointer?) -> TakenWork {
        let item = previous == nil ? pointee.firstReady! : previous!.pointee.next!
        if let previous {
            previous.pointee.next = item.pointee.next
        } else {
            pointee.firstReady = item.pointee.next
        }
        if pointee.lastReady == item { pointee.lastReady = previous }
        pointee.readyCount &-= 1
        pointee.running &+= 1
        pointee.itemsRun &+= 1
        item.pointee.next = nil
        item.pointee.isQueued = false
        if pointee.kind == .simulated {
            var digest = ScheduleDigest.adding(item.pointee.label, to: pointee.digest)
            digest = ScheduleDigest.adding(item.pointee.due, to: digest)
            pointee.digest = ScheduleDigest.adding(pointee.clock.load(ordering: .relaxed), to: digest)
        }
        return TakenWork(
            function: item.pointee.function, context: item.pointee.context, time: item.pointee.due)
    }

    // MARK: Running

    /// Runs taken work without the lock, which is held before and after.
    @inline(__always)
    func perform(_ work: TakenWork) {
        pointee.lock.release()
        LockOrder.assertNoneHeld("work was run with a lock held")
        RunningDevice.run(pointee.device) { work.function(work.context, work.time) }
        LockOrder.assertNoneHeld("a work item left a lock held")
        pointee.lock.acquire()
        pointee.running &-= 1
        if pointee.kind == .simulated || isIdle { wakeForCompletion() }
    }

    /// For those who wait until nothing is left, and for a second thread of the simulated executor.
    private func wakeForCompletion() {
        if pointee.kind != .pool {
            wakeAll()
        } else if pointee.idleWaiters > 0 {
            _ = pointee.idleWord.wrappingAdd(1, ordering: .relaxed)
            csys_futex_wake(pointee.idleWord.address, everySleeper)
        }
    }
}
