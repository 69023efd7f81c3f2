// Executor: waiting for a word that somebody else sets, for what is no fence because it happens again and again: a
// buffer's lock that is handed over.
//
// The word may lie on the waiter's stack. Whoever sets it touches the waiter's memory for the last time then, and wakes
// by the address alone.

import CSystem
import Synchronization

extension UnsafeMutablePointer where Pointee == Executor {
    /// Returns when the word is not 0. On the manual executor the waiting thread runs the device's work meanwhile, on
    /// the simulated one it runs the simulation.
    /// - Locking: nothing may be held.
    /// - Failure: interrupted by a signal handler, if `interruptible`; deadlock on the simulated executor if no work is
    ///   left that could set the word.
    func wait(
        forWord word: UnsafeMutablePointer<Atomic<UInt32>>, interruptible: Bool
    ) throws(Status) {
        LockOrder.assertNoneHeld("a thread waited for a buffer with a lock held")
        switch pointee.kind {
        case .pool: try sleep(untilSet: word, interruptible: interruptible)
        case .manual: try waitManually(forWord: word, interruptible: interruptible)
        case .simulated:
            pointee.lock.acquire()
            defer { pointee.lock.release() }
            while !isSet(word) {
                if runSimulated(until: .max) || isSet(word) { continue }
                throw Status.deadlock
            }
        }
    }

    /// The word at this address has been set: the one thread that may wait for it looks again. The word itself may be
    /// gone.
    /// - Locking: takes the executor's lock: any lock of a lower rank may be held.
    func wake(wordAt address: UnsafeMutablePointer<UInt32>) {
        if pointee.kind == .pool {
            csys_futex_wake(address, 1)
        } else {
            pointee.lock.acquire()
            wakeAll()
            pointee.lock.release()
        }
    }

    private func isSet(_ word: UnsafeMutablePointer<Atomic<UInt32>>) -> Bool {
        word.pointee.load(ordering: .acquiring) != 0
    }

    /// A finite deadline, however far: see sleepEnd of the other waits.
    private func lastMoment(_ interruptible: Bool) -> UInt64 { interruptible ? .max - 1 : .max }

    private func sleep(
        untilSet word: UnsafeMutablePointer<Atomic<UInt32>>, interruptible: Bool
    ) throws(Status) {
        while !isSet(word) {
            let status = csys_futex_wait(word.pointee.address, 0, lastMoment(interruptible))
            if status == -EINTR, interruptible, !isSet(word) { throw Status.interrupted }
        }
    }

    private func waitManually(
        forWord word: UnsafeMutablePointer<Atomic<UInt32>>, interruptible: Bool
    ) throws(Status) {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        while true {
            clearEvent()
            // Under the lock, which whoever sets the word takes after that: no wake is missed.
            if isSet(word) { break }
            if let work = takeManual(submittedBefore: .max, dueBy: .max) {
                perform(work)
                continue
            }
            let status = sleepForWork(until: Swift.min(earliestTimer, lastMoment(interruptible)))
            if status == -EINTR, interruptible, !isSet(word) {
                leaveManually()
                throw Status.interrupted
            }
        }
        leaveManually()
    }
}
