// BufferLock: the lock of a buffer that callers hold while they work on it (ww_mutex, kernel/locking/ww_mutex.h).
//
// Wound/wait (Rosenkrantz, Stearns, Lewis 1978): who is older waits, and tells the holder to give way; who is younger
// just waits. A context that was told gives up all its locks when it next asks for one. So whoever waits with locks in
// hand waits for somebody older, and there is no circle.
//
// An outer lock: the library itself never takes it, so that a caller may hold it across every call. It is handed over:
// the oldest of those who wait has it before the one who gave it up has returned, and nobody can barge in.
//
// - Locking: the state belongs to the lock of the buffer's reservation, held for a few instructions; the links `next`
//   and `previous` to the thread of the context that has the lock.

import CSystem
import Synchronization

struct BufferLock {
    /// Who has it; nil: nobody, or somebody without a context.
    fileprivate(set) var owner: LockContextPointer?
    fileprivate(set) var isHeldWithoutContext = false
    /// Who waits, the oldest first.
    fileprivate var firstWaiter: LockWaiterPointer?
    /// Slots of the reservation that the holder reserved and has not filled.
    var slots = 0
    /// The other locks of its owner.
    var next: BufferObjectPointer?
    var previous: BufferObjectPointer?

    var isHeld: Bool { owner != nil || isHeldWithoutContext }
}

/// A thread that waits for a buffer's lock. On its stack; under the lock of the buffer's reservation.
struct LockWaiter {
    fileprivate let context: LockContextPointer
    fileprivate var next: LockWaiterPointer?
}

typealias LockWaiterPointer = UnsafeMutablePointer<LockWaiter>

extension UnsafeMutablePointer where Pointee == BufferObject {
    // MARK: Locking

    /// Locks the buffer for the context, nil: for none.
    /// - Locking: nothing may be held.
    /// - Failure: deadlock if the context has to give way, or on the simulated executor, if no work is left that could
    ///   give the lock up; already; interrupted; closed. Nothing changes then.
    func lock(by context: LockContextPointer?, interruptible: Bool) throws(Status) {
        try pointee.device.checkOpen()
        guard let context else {
            var temporary = LockContext(device: pointee.device, isNamed: false)
            return try withUnsafeMutablePointer(to: &temporary) { context throws(Status) in
                _ = try acquireLock(as: context, interruptible: interruptible)
            }
        }
        do throws(Status) {
            if try acquireLock(as: context, interruptible: interruptible) { return try takePrelocked(by: context) }
        } catch {
            if error == .deadlock { context.setContended(self) }
            throw error
        }
        retain()
        context.didAcquire(self)
    }

    /// - Failure: busy if somebody else has the lock; already; closed.
    func tryLock(by context: LockContextPointer?) throws(Status) {
        try pointee.device.checkOpen()
        pointee.reservation.pointee.lock.acquire()
        let isOwn = context != nil && pointee.outerLock.owner == context
        let isTaken = !isOwn && takeIfFree(for: context)
        pointee.reservation.pointee.lock.release()
        guard let context else {
            if !isTaken { throw Status.busy }
            return
        }
        if isOwn { return try takePrelocked(by: context) }
        if !isTaken { throw Status.busy }
        retain()
        context.didAcquire(self)
    }

    /// What retry has locked in advance counts as locked now.
    private func takePrelocked(by context: LockContextPointer) throws(Status) {
        if context.pointee.prelocked != self { throw Status.already }
        context.pointee.prelocked = nil
    }

    /// Under the reservation's lock.
    private func takeIfFree(for context: LockContextPointer?) -> Bool {
        if pointee.outerLock.isHeld { return false }
        setHolder(context)
        return true
    }

    private func setHolder(_ context: LockContextPointer?) {
        let isNamed = context?.isNamed ?? false
        pointee.outerLock.owner = isNamed ? context : nil
        pointee.outerLock.isHeldWithoutContext = !isNamed
    }

    /// True if the context had the lock already.
    private func acquireLock(as context: LockContextPointer, interruptible: Bool) throws(Status) -> Bool {
        let reservation = pointee.reservation
        reservation.pointee.lock.acquire()
        let isOwn = pointee.outerLock.owner == context
        let givesWay = !isOwn && context.isWounded
        if isOwn || givesWay || takeIfFree(for: context) {
            reservation.pointee.lock.release()
            if givesWay { throw Status.deadlock }
            return isOwn
        }
        var waiter = LockWaiter(context: context)
        try withUnsafeMutablePointer(to: &waiter) { waiter throws(Status) in
            try waitForLock(as: waiter, interruptible: interruptible)
        }
        return false
    }

    /// Begins with the reservation's lock held, and ends without it.
    private func waitForLock(as waiter: LockWaiterPointer, interruptible: Bool) throws(Status) {
        let context = waiter.pointee.context
        let reservation = pointee.reservation
        let wounded = woundHolder(for: context)
        enqueue(waiter)
        reservation.pointee.lock.release()
        if let wounded { pointee.device.pointee.executor.wake(wordAt: wounded) }

        var failure = Status.deadlock
        do throws(Status) {
            try pointee.device.waitForLock(context.word, interruptible: interruptible)
        } catch {
            failure = error
        }
        reservation.pointee.lock.acquire()
        let isGranted = context.word.pointee.load(ordering: .acquiring) & LockContext.granted != 0
        if isGranted {
            _ = context.word.pointee.bitwiseAnd(~LockContext.granted, ordering: .relaxed)
        } else {
            dequeue(waiter)
        }
        reservation.pointee.lock.release()
        if !isGranted { throw failure }
    }

    // MARK: Unlocking

    /// Whether the context has the lock; nil: whether somebody without a context has.
    func isLocked(by context: LockContextPointer?) -> Bool {
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        return isHeld(by: context)
    }

    /// Under the reservation's lock.
    func isHeld(by context: LockContextPointer?) -> Bool {
        context == nil ? pointee.outerLock.isHeldWithoutContext : pointee.outerLock.owner == context
    }

    /// Gives the lock up, with the slots that were reserved under it and not filled. False if the context does not have
    /// it.
    @discardableResult
    func unlock(by context: LockContextPointer?) -> Bool {
        let reservation = pointee.reservation
        reservation.pointee.lock.acquire()
        guard isHeld(by: context) else {
            reservation.pointee.lock.release()
            return false
        }
        context?.willRelease(self)
        let woken = handOver()
        reservation.pointee.lock.release()
        if let woken { pointee.device.pointee.executor.wake(wordAt: woken) }
        if let context {
            context.didRelease()
            drop()
        }
        return true
    }

    /// Under the reservation's lock. The word of the one who has the lock now, for waking it: its memory may be gone as
    /// soon as the reservation's lock is released.
    private func handOver() -> UnsafeMutablePointer<UInt32>? {
        pointee.reservation.unreserve(pointee.outerLock.slots)
        pointee.outerLock.slots = 0
        guard let waiter = pointee.outerLock.firstWaiter else {
            pointee.outerLock.owner = nil
            pointee.outerLock.isHeldWithoutContext = false
            return nil
        }
        pointee.outerLock.firstWaiter = waiter.pointee.next
        let context = waiter.pointee.context
        setHolder(context)
        let word = context.word
        _ = word.pointee.bitwiseOr(LockContext.granted, ordering: .acquiringAndReleasing)
        return word.pointee.address
    }

    // MARK: Waiting (the reservation's lock is held)

    /// Tells a younger holder to give way; its word then, for waking it.
    private func woundHolder(for context: LockContextPointer) -> UnsafeMutablePointer<UInt32>? {
        guard let owner = pointee.outerLock.owner, context.pointee.stamp < owner.pointee.stamp else { return nil }
        let word = owner.word
        let old = word.pointee.bitwiseOr(LockContext.wounded, ordering: .acquiringAndReleasing).oldValue
        return old & LockContext.wounded == 0 ? word.pointee.address : nil
    }

    private func enqueue(_ waiter: LockWaiterPointer) {
        var before: LockWaiterPointer?
        var next = pointee.outerLock.firstWaiter
        while let other = next, other.pointee.context.pointee.stamp < waiter.pointee.context.pointee.stamp {
            before = other
            next = other.pointee.next
        }
        waiter.pointee.next = next
        if let before { before.pointee.next = waiter } else { pointee.outerLock.firstWaiter = waiter }
    }

    private func dequeue(_ waiter: LockWaiterPointer) {
        var before: LockWaiterPointer?
        var next = pointee.outerLock.firstWaiter
        while let other = next, other != waiter {
            before = other
            next = other.pointee.next
        }
        invariant(next == waiter, "who waited for a buffer's lock is not among those who wait")
        if let before {
            before.pointee.next = waiter.pointee.next
        } else {
            pointee.outerLock.firstWaiter = waiter.pointee.next
        }
    }
}
