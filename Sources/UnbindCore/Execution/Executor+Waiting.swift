// Executor: waiting for a fence, or for all work to end.
//
// A wait on the pool sleeps. On the manual executor the waiting thread runs the device's work meanwhile and sleeps only
// when there is none; on the simulated one it runs the simulation, so that a wait which nothing can end is found out.

import CSystem
import Synchronization

/// What a thread that waits on the manual executor hangs on the fence.
private struct FenceWaiter {
    /// First: a pointer to it is a pointer to the waiter.
    var callback: FenceCallback
    let executor: ExecutorPointer
    /// Under the executor's lock. The callback does not touch the waiter after setting it.
    var wasCalled = false

    init(executor: ExecutorPointer) {
        self.executor = executor
        callback = FenceCallback(function: fenceWaiterCalled)
    }
}

private func fenceWaiterCalled(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let waiter = callback.assumingMemoryBound(to: FenceWaiter.self)
    let executor = waiter.pointee.executor
    executor.pointee.lock.acquire()
    waiter.pointee.wasCalled = true
    executor.wakeAll()
    executor.pointee.lock.release()
}

extension UnsafeMutablePointer where Pointee == Executor {
    /// Returns when the fence has signalled. `timeout` is in nanoseconds, or with `absolute` a time of the clock;
    /// .max is for ever; 0 and the past ask without running anything.
    /// - Locking: nothing may be held.
    /// - Failure: timedOut; interrupted by a signal handler, if `interruptible`; deadlock on the simulated executor if
    ///   the wait is for ever and no work is left that could end it.
    func wait(for fence: FencePointer, timeout: UInt64, absolute: Bool, interruptible: Bool) throws(Status) {
        LockOrder.assertNoneHeld("a thread waited for a fence with a lock held")
        if fence.isSignalled { return }
        if timeout == 0 { throw Status.timedOut }
        let deadline = deadline(timeout: timeout, absolute: absolute)
        if hasPassed(deadline) { throw Status.timedOut }
        switch pointee.kind {
        case .pool:
            try fence.sleep(until: sleepEnd(deadline, interruptible), interruptible: interruptible)
        case .manual: try waitManually(for: fence, deadline: deadline, interruptible: interruptible)
        case .simulated: try simulate(until: fence, deadline: deadline)
        }
    }

    /// Returns when no work is ready, timed or running. Timeout and failures as for wait, but that nothing is left is
    /// no deadlock; deadlock inside a work item, which would wait for itself.
    /// - Locking: nothing may be held.
    func waitIdle(timeout: UInt64, absolute: Bool, interruptible: Bool) throws(Status) {
        LockOrder.assertNoneHeld("a thread waited for a device with a lock held")
        if isRunningOnThisThread { throw Status.deadlock }
        let deadline = timeout == 0 ? 0 : deadline(timeout: timeout, absolute: absolute)
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if isIdle { return }
        if hasPassed(deadline) { throw Status.timedOut }
        switch pointee.kind {
        case .pool: try sleepUntilIdle(deadline: deadline, interruptible: interruptible)
        case .manual: try workUntilIdle(deadline: deadline, interruptible: interruptible)
        case .simulated:
            while now <= deadline, runSimulated(until: deadline) {}
            if isIdle { return }
            moveClock(to: deadline)
            throw Status.timedOut
        }
    }

    private func deadline(timeout: UInt64, absolute: Bool) -> UInt64 {
        absolute || timeout == .max ? timeout : now.addingSaturating(timeout)
    }

    /// Not for ever, even when virtual time has come to its end.
    private func hasPassed(_ deadline: UInt64) -> Bool { deadline != .max && deadline <= now }

    /// The kernel restarts a futex wait without a deadline after a handler that was installed with SA_RESTART, as all
    /// of signal(2)'s are. One with a deadline, however far, ends with -EINTR.
    private func sleepEnd(_ deadline: UInt64, _ interruptible: Bool) -> UInt64 {
        interruptible ? Swift.min(deadline, .max - 1) : deadline
    }

    // MARK: Simulated

    private func simulate(until fence: FencePointer, deadline: UInt64) throws(Status) {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        while !fence.isSignalled {
            if now <= deadline, runSimulated(until: deadline) { continue }
            // Another thread's item may have signalled it while this one waited for its turn.
            if fence.isSignalled { return }
            if deadline == .max { throw Status.deadlock }
            moveClock(to: deadline)
            throw Status.timedOut
        }
    }

    // MARK: Manual

    private func waitManually(for fence: FencePointer, deadline: UInt64, interruptible: Bool) throws(Status) {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        while true {
            clearEvent()
            if fence.isSignalled { break }
            if let work = takeManual(submittedBefore: .max, dueBy: .max) {
                perform(work)
            } else if try sleepManually(for: fence, deadline: deadline, interruptible: interruptible) {
                break
            }
            if deadline != .max, !fence.isSignalled, now >= deadline {
                leaveManually()
                throw Status.timedOut
            }
        }
        leaveManually()
    }

    /// Sleeps once, until there may be something to do. True if the fence has signalled.
    private func sleepManually(for fence: FencePointer, deadline: UInt64, interruptible: Bool) throws(Status) -> Bool {
        var waiter = FenceWaiter(executor: self)
        let status = withUnsafeMutablePointer(to: &waiter) { waiter in
            sleep(as: waiter, for: fence, until: sleepEnd(deadline, interruptible))
        }
        if fence.isSignalled { return true }
        if status == -EINTR, interruptible {
            leaveManually()
            throw Status.interrupted
        }
        return false
    }

    private func sleep(
        as waiter: UnsafeMutablePointer<FenceWaiter>, for fence: FencePointer, until deadline: UInt64
    ) -> Int32 {
        let callback = UnsafeMutableRawPointer(waiter).assumingMemoryBound(to: FenceCallback.self)
        // The fence's lock is inside the executor's, and nobody takes the executor's with a fence's held.
        if !fence.add(callback) { return 0 }
        let status = sleepForWork(until: Swift.min(earliestTimer, deadline))
        if fence.remove(callback) { return status }
        // The callback has begun, on another thread: the waiter must stay until it is through.
        while !waiter.pointee.wasCalled { _ = sleepForWork(until: .max) }
        return status
    }

    /// The event loop, if another thread has one, has to look at what this wait saw in its place.
    func leaveManually() {
        if pointee.firstReady != nil || pointee.timers != nil { raiseEvent() }
    }

    private func workUntilIdle(deadline: UInt64, interruptible: Bool) throws(Status) {
        while true {
            clearEvent()
            var status: Int32 = 0
            if let work = takeManual(submittedBefore: .max, dueBy: .max) {
                perform(work)
            } else if !isIdle {
                status = sleepForWork(until: Swift.min(earliestTimer, sleepEnd(deadline, interruptible)))
            }
            if isIdle { return }
            if deadline != .max, now >= deadline {
                leaveManually()
                throw Status.timedOut
            }
            if status == -EINTR, interruptible {
                leaveManually()
                throw Status.interrupted
            }
        }
    }

    // MARK: Pool

    private func sleepUntilIdle(deadline: UInt64, interruptible: Bool) throws(Status) {
        pointee.idleWaiters &+= 1
        defer { pointee.idleWaiters &-= 1 }
        while !isIdle {
            let seen = pointee.idleWord.load(ordering: .relaxed)
            pointee.lock.release()
            let status = csys_futex_wait(
                pointee.idleWord.address, seen, sleepEnd(deadline, interruptible))
            pointee.lock.acquire()
            if isIdle { return }
            if status == -ETIMEDOUT { throw Status.timedOut }
            if status == -EINTR, interruptible { throw Status.interrupted }
        }
    }
}
