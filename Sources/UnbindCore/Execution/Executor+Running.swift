// Executor: running work on the caller's thread, for the manual and the simulated executor.
//
// run on the manual executor serves an event loop: it runs what was submitted before the call and is due by now, and
// what of that becomes due while it runs. Work submitted during the call waits for the next one, so that a chain of
// work which goes on for ever cannot keep the loop from its other business; the event descriptor stays readable for
// it.

import CSystem
import Synchronization

/// What looking for simulated work came to.
private enum SimulatedStep {
    case take(TakenWork)
    /// Another thread is inside an item.
    case occupied
    /// Nothing is due up to the limit.
    case nothing
}

extension UnsafeMutablePointer where Pointee == Executor {
    // MARK: For callers

    /// Manual: see above; never sleeps. Simulated: runs until no work is left, moving the clock to each item's time.
    /// At most `maxItems`, 0 for no limit. The result is how many were run: none inside a work item or a callback, as
    /// what is due there may run the next item inside itself, and so on until the stack is used up.
    /// - Locking: nothing may be held.
    /// - Failure: unsupported on the pool.
    func run(maxItems: UInt32) throws(Status) -> UInt32 {
        LockOrder.assertNoneHeld("work was run with a lock held")
        if pointee.kind == .pool { throw Status.unsupported }
        if isRunningOnThisThread { return 0 }
        let limit = maxItems == 0 ? UInt32.max : maxItems
        var count: UInt32 = 0
        pointee.lock.acquire()
        if pointee.kind == .simulated {
            while count < limit, runSimulated(until: .max) { count += 1 }
        } else {
            clearEvent()
            let end = pointee.nextSequence
            while count < limit, let work = takeManual(submittedBefore: end, dueBy: .max) {
                perform(work)
                count += 1
            }
            if hasNewsForLoop { raiseEvent() } else { clearEvent() }
        }
        pointee.lock.release()
        return count
    }

    /// Runs all work that is due by `time`, as its time comes. Manual: sleeps in between, and until `time`. Simulated:
    /// the clock then shows `time`, unless it was later already: then nothing happens.
    /// - Locking: nothing may be held.
    /// - Failure: unsupported on the pool; deadlock inside a work item or a callback, where `run` runs nothing either.
    func runUntil(_ time: UInt64) throws(Status) {
        LockOrder.assertNoneHeld("work was run with a lock held")
        if pointee.kind == .pool { throw Status.unsupported }
        if isRunningOnThisThread { throw Status.deadlock }
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if pointee.kind == .simulated {
            if time < now { return }
            while runSimulated(until: time) {}
            moveClock(to: time)
            return
        }
        while true {
            clearEvent()
            if let work = takeManual(submittedBefore: .max, dueBy: time) {
                perform(work)
            } else if now >= time {
                break
            } else {
                _ = sleepForWork(until: Swift.min(earliestTimer, time))
            }
        }
        if hasNewsForLoop { raiseEvent() }
    }

    /// What is left by the clock alone is told by nextEvent, which the event loop asks before it polls; if it polls
    /// already, while another thread runs its work, it has to be told.
    private var hasNewsForLoop: Bool {
        if pointee.firstReady != nil { return true }
        guard pointee.timers != nil, let loop = pointee.loopThread else { return false }
        return loop != pthread_self()
    }

    /// Simulated: the calling thread was busy for so long, and the device went on meanwhile. Nothing inside a work
    /// item, whose duration is the item's own affair, and nothing on the other kinds.
    /// - Locking: nothing may be held.
    func charge(_ nanoseconds: UInt64) {
        if pointee.kind != .simulated || isRunningOnThisThread { return }
        do throws(Status) { try runUntil(now.addingSaturating(nanoseconds)) } catch {}
    }

    /// Runs one item that is ready. False if there is none.
    func runOne() -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if pointee.kind == .simulated { return runSimulated(until: now) }
        guard let work = takeManual(submittedBefore: .max, dueBy: .max) else { return false }
        perform(work)
        return true
    }

    // MARK: Simulated (lock held)

    /// Runs one item that is due by `limit`, moving the clock to its time. False if there is none.
    func runSimulated(until limit: UInt64) -> Bool {
        while true {
            switch nextSimulated(until: limit) {
            case .take(let work):
                perform(work)
                return true
            case .occupied:
                _ = sleepForWork(until: .max)
            case .nothing:
                return false
            }
        }
    }

    private func nextSimulated(until limit: UInt64) -> SimulatedStep {
        if pointee.running > 0, !isRunningOnThisThread { return .occupied }
        promoteTimers()
        if pointee.firstReady == nil {
            guard let timer = pointee.timers, timer.pointee.due <= limit else { return .nothing }
            moveClock(to: timer.pointee.due)
            promoteTimers()
        }
        var previous: WorkItemPointer?
        if pointee.readyCount > 1 {
            // On a copy: a mutating call on the member would count as an access to the whole executor.
            var random = pointee.random
            let pick = random.next(below: pointee.readyCount)
            pointee.random = random
            for _ in 0..<pick { previous = previous == nil ? pointee.firstReady : previous!.pointee.next }
        }
        return .take(takeReady(after: previous))
    }

    /// Time never goes back.
    func moveClock(to time: UInt64) {
        if time > pointee.clock.load(ordering: .relaxed) { pointee.clock.store(time, ordering: .releasing) }
    }

    // MARK: Manual (lock held)

    /// The first ready item with a lower sequence number than `end` that is due by `time`.
    @inline(__always)
    func takeManual(submittedBefore end: UInt64, dueBy time: UInt64) -> TakenWork? {
        promoteTimers()
        var previous: WorkItemPointer?
        var item = pointee.firstReady
        while let candidate = item {
            if candidate.pointee.sequence < end, candidate.pointee.due <= time { return takeReady(after: previous) }
            previous = candidate
            item = candidate.pointee.next
        }
        return nil
    }
}
