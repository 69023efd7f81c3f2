// Executor: the threads of the worker pool.
//
// A worker that finds nothing sleeps until the earliest timer or a submit. Every sleeping worker knows the earliest
// timer (a submit of an earlier one wakes them all), so that a timer is served even when whoever slept for it has got
// other work.

import CSystem
import Synchronization

extension UnsafeMutablePointer where Pointee == Executor {
    /// - Failure: noMemory, or again if not all could be started; those that were are ended by stop.
    func startWorkers(_ count: Int) throws(Status) {
        guard let threads = pointee.memory.allocateArray(of: pthread_t.self, count: count) else {
            throw Status.noMemory
        }
        pointee.threads = threads
        pointee.threadCapacity = count
        // The host program's signal handlers do not run on the library's threads.
        var signals = sigset_t()
        csys_signals_block(&signals)
        defer { csys_signals_restore(&signals) }
        for index in 0..<count {
            (threads + index).initialize(to: pthread_t())
            if pthread_create(threads + index, nil, executorWorker, UnsafeMutableRawPointer(self)) != 0 {
                throw Status.again
            }
            // Those that run already use the executor.
            pointee.lock.acquire()
            pointee.threadCount = index + 1
            pointee.lock.release()
        }
    }

    func joinWorkers() {
        guard let threads = pointee.threads else { return }
        for index in 0..<pointee.threadCount {
            invariant(pthread_join(threads[index], nil) == 0, "a worker thread could not be joined")
        }
    }

    fileprivate func work() {
        pointee.lock.acquire()
        while true {
            promoteTimers()
            if pointee.firstReady != nil {
                perform(takeReady(after: nil))
            } else if pointee.isStopping {
                break
            } else {
                _ = sleepForWork(until: earliestTimer)
            }
        }
        pointee.lock.release()
    }
}

private func executorWorker(_ executor: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    executor!.assumingMemoryBound(to: Executor.self).work()
    return nil
}
