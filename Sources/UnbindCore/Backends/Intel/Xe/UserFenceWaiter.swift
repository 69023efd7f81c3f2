// UserFenceWaiter: the bridge from a user fence to a KernelTimeline, for address spaces that are long-running.
//
// There the kernel signals no sync object; it writes a number into a word of memory (a user fence), and a thread can
// wait for one such word at a time. So each timeline of such a space has a thread of its own, which sleeps until the
// kernel has taken a point, then waits for the word to reach it, and then signals the point itself. To all others the
// timeline is like any; but no kernel has a fence for a point that has not signalled, so none may be told to wait for
// one.
//
// The word of a VM_BIND is at an address of the process, that of an EXEC at an address of the space, where the CPU sees
// it elsewhere. Its values are the points.
//
// If the kernel refuses to wait again and again, the device is lost, as with the SyncobjWaiter; and as there, no wait
// lasts longer than a second, after which it is asked for again.
//
// Life: make, expect..., stop when nothing is expected any more that does not end by itself; that waits until the
// kernel has written the word for the last time, and frees.

import CLibDRM
import CSystem
import Synchronization

typealias UserFenceWaiterPointer = UnsafeMutablePointer<UserFenceWaiter>

struct UserFenceWaiter: ~Copyable {
    let timeline: KernelTimelinePointer
    /// Nil: `ownWord`.
    fileprivate let givenWord: UnsafeMutableRawPointer?
    fileprivate let ownWord = Atomic<UInt64>(0)
    /// The last point that the kernel has taken, and the queue that is to reach it; 0: binds.
    fileprivate let taken = Atomic<UInt64>(0)
    fileprivate let queue = Atomic<UInt32>(0)
    fileprivate let isStopping = Atomic<Bool>(false)
    /// Changes when there is something to look at; what the thread sleeps on.
    fileprivate let bell = Atomic<UInt32>(0)
    fileprivate var thread = pthread_t()

    fileprivate init(timeline: KernelTimelinePointer, word: UnsafeMutableRawPointer?) {
        self.timeline = timeline
        givenWord = word
    }
}

extension UnsafeMutablePointer where Pointee == UserFenceWaiter {
    // MARK: Life

    /// - Parameter word: as the CPU sees it: 0, and 8-byte aligned; it stays until the end. Nil: the waiter has one.
    /// - Failure: noMemory; again: no thread.
    static func make(
        _ timeline: KernelTimelinePointer, word: UnsafeMutableRawPointer? = nil
    ) throws(Status) -> UserFenceWaiterPointer {
        let memory = timeline.pointee.waiter.pointee.memory
        guard let waiter = memory.allocateApart(of: UserFenceWaiter.self) else { throw Status.noMemory }
        waiter.initialize(to: UserFenceWaiter(timeline: timeline, word: word))
        // The host program's signal handlers do not run on the library's threads.
        var signals = sigset_t()
        csys_signals_block(&signals)
        defer { csys_signals_restore(&signals) }
        var thread = pthread_t()
        if pthread_create(&thread, nil, userFenceWaiterThread, UnsafeMutableRawPointer(waiter)) != 0 {
            waiter.deinitialize(count: 1)
            memory.deallocateApart(waiter)
            throw Status.again
        }
        waiter.pointee.thread = thread
        return waiter
    }

    /// Ends the thread, after what the kernel does by itself, and frees the waiter. The timeline is still there.
    func stop() {
        LockOrder.assertNoneHeld("a thread was ended with a lock held")
        let memory = pointee.timeline.pointee.waiter.pointee.memory
        pointee.isStopping.store(true, ordering: .releasing)
        ring()
        invariant(pthread_join(pointee.thread, nil) == 0, "a user fence's thread could not be joined")
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    // MARK: What is expected

    /// The word, as the CPU sees it.
    var word: UnsafeMutableRawPointer { pointee.givenWord ?? pointee.ownWord.location }

    /// The kernel has taken a point, which is the next: of an EXEC on a queue, or (0) of a VM_BIND.
    func expect(_ point: UInt64, of queue: UInt32 = 0) {
        pointee.queue.store(queue, ordering: .relaxed)
        pointee.taken.store(point, ordering: .releasing)
        ring()
    }

    private func ring() {
        _ = pointee.bell.wrappingAdd(1, ordering: .acquiringAndReleasing)
        csys_futex_wake(pointee.bell.address, 1)
    }

    // MARK: The thread

    fileprivate func work() {
        var reached: UInt64 = 0
        var isLost = false
        while true {
            let rung = pointee.bell.load(ordering: .acquiring)
            if reached < pointee.taken.load(ordering: .acquiring) {
                reached += 1
                let queue = pointee.queue.load(ordering: .relaxed)
                if !isLost, !(wait(for: reached, of: queue) && signal(reached)) {
                    isLost = true
                    pointee.timeline.pointee.waiter.lose()
                }
                if isLost, queue == 0 { linger(until: reached) }
            } else if pointee.isStopping.load(ordering: .acquiring) {
                return
            } else {
                _ = csys_futex_wait(pointee.bell.address, rung, .max)
            }
        }
    }

    private var node: DRMNode { pointee.timeline.pointee.waiter.pointee.node }

    private var longestWait: Int64 { 1_000_000_000 }

    /// False: the kernel does not wait. A queue that was banned, or is gone, has ended what it had.
    private func wait(for point: UInt64, of queue: UInt32) -> Bool {
        var patience = KernelPatience()
        while true {
            var request = unbind_drm_xe_wait_user_fence()
            request.addr = UInt64(UInt(bitPattern: word))
            request.op = UInt16(UNBIND_DRM_XE_UFENCE_WAIT_OP_GTE)
            request.value = point
            request.mask = .max
            request.timeout = longestWait
            request.exec_queue_id = queue
            do throws(Status) {
                try node.call(UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &request)
                return true
            } catch {
                if error == .lost || error == .closed, queue != 0, isXeQueueDead(queue, node) { return true }
                if error == .timedOut {
                    patience = KernelPatience()
                } else if !patience.bear(error) {
                    return false
                }
            }
        }
    }

    /// The kernel may be out of memory for a moment.
    private func signal(_ point: UInt64) -> Bool {
        var patience = KernelPatience()
        while true {
            do throws(Status) {
                try node.signal(pointee.timeline.pointee.syncobj, point: point)
                return true
            } catch {
                if !patience.bear(error) { return false }
            }
        }
    }

    /// What the kernel is still to write must not be given back before. It takes no notice of whether anybody waits.
    private func linger(until point: UInt64) {
        let longest: UInt64 = 10_000_000_000
        let end = csys_monotonic_ns() &+ longest
        let word = word.assumingMemoryBound(to: Atomic<UInt64>.self)
        while word.pointee.load(ordering: .acquiring) < point, csys_monotonic_ns() < end { csys_nap() }
    }
}

private func userFenceWaiterThread(_ waiter: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    waiter!.assumingMemoryBound(to: UserFenceWaiter.self).work()
    return nil
}

extension Atomic where Value == UInt64 {
    /// Where the value lives, for whom it is no atomic of Swift's.
    /// SAFETY: an Atomic is its value's storage and does not move; the address is valid as long as the atomic.
    fileprivate var location: UnsafeMutableRawPointer {
        unsafe withUnsafePointer(to: self) { UnsafeMutableRawPointer(mutating: UnsafeRawPointer($0)) }
    }
}
