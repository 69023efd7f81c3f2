// SyncobjWaiter: the thread that learns from the kernel what has ended.
//
// One for each opened Intel device. It sleeps in one wait for the first awaited point of every timeline, and for a
// point of its own, the kick, by which others make it look again: when a timeline has something to be awaited that had
// nothing before, and at the end. While nothing is awaited it sleeps on a word of its own, the bell, and not in the
// kernel's wait. Nobody else ever waits for the kernel, and nothing is polled: a bind or an unbind that the kernel
// takes long for costs its caller nothing.
//
// No wait lasts longer than a second or so, after which the thread looks again: a GPU that has been unplugged answers
// nothing any more, not even the kick.
//
// With a manual executor it is the one thread that the library has: what it is told goes to the executor, and is run
// by unbind_device_run. On a simulated one nothing may happen by itself, so Intel devices are refused there.
//
// If the kernel refuses to wait again and again, or takes no kick, the device is lost: all that is awaited, then and
// later, ends with EIO.
//
// Life: make, stop when no timeline is left, which also frees it.
//
// Locking: `lock` (LockRank.kernelWaits) guards the timelines' rings, the list, and the kick; held for a few
// instructions.

import CLibDRM
import CSystem
import Synchronization

struct SyncobjWaiter: ~Copyable {
    let node: DRMNode
    let memory: UnsafeMutablePointer<Memory>
    let kick: Syncobj
    let lock = FutexLock(.kernelWaits)
    /// Changes with each kick.
    let bell = Atomic<UInt32>(0)

    // Under the lock.

    var firstTimeline: KernelTimelinePointer?
    var timelineCount = 0
    /// Of the kick: the last point that was signalled, or is about to be.
    var kickPoint: UInt64 = 0
    /// The thread has looked at the timelines, and does not look again before something wakes it.
    var isWaiting = false
    /// Something is awaited: it does so in the kernel's wait, else on the bell.
    var isInKernel = false
    var isKicked = false
    var isStopping = false
    var isLost = false
    /// Larger arrays that the thread is to use from now on.
    var larger: WaitArrays?
    /// Of the largest arrays so far.
    var capacity = 0

    var thread = pthread_t()

    fileprivate init(node: DRMNode, kick: Syncobj, memory: UnsafeMutablePointer<Memory>) {
        self.node = node
        self.kick = kick
        self.memory = memory
    }
}

/// The arguments of a wait. The first entry is the kick.
struct WaitArrays: BitwiseCopyable {
    let handles: UnsafeMutablePointer<UInt32>
    let points: UnsafeMutablePointer<UInt64>
    let timelines: UnsafeMutablePointer<KernelTimelinePointer?>
    let capacity: Int

    static func make(capacity: Int, memory: UnsafeMutablePointer<Memory>) throws(Status) -> WaitArrays {
        guard let handles = memory.allocateArray(of: UInt32.self, count: capacity) else { throw Status.noMemory }
        guard let points = memory.allocateArray(of: UInt64.self, count: capacity) else {
            memory.deallocateArray(handles, count: capacity)
            throw Status.noMemory
        }
        guard let timelines = memory.allocateArray(of: KernelTimelinePointer?.self, count: capacity) else {
            memory.deallocateArray(handles, count: capacity)
            memory.deallocateArray(points, count: capacity)
            throw Status.noMemory
        }
        return WaitArrays(handles: handles, points: points, timelines: timelines, capacity: capacity)
    }

    func free(memory: UnsafeMutablePointer<Memory>) {
        memory.deallocateArray(handles, count: capacity)
        memory.deallocateArray(points, count: capacity)
        memory.deallocateArray(timelines, count: capacity)
    }
}

extension UnsafeMutablePointer where Pointee == SyncobjWaiter {
    // MARK: Life

    /// - Failure: noMemory; again if no thread could be started; unsupported if the kernel has no timelines.
    static func make(
        node: DRMNode, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> UnsafeMutablePointer<SyncobjWaiter> {
        guard try node.capability(UNBIND_DRM_CAP_SYNCOBJ_TIMELINE) == 1 else { throw Status.unsupported }
        guard let waiter = memory.allocateApart(of: SyncobjWaiter.self) else { throw Status.noMemory }
        do throws(Status) {
            let kick = try node.makeSyncobj()
            waiter.initialize(to: SyncobjWaiter(node: node, kick: kick, memory: memory))
            do throws(Status) {
                try waiter.makeRoom(for: 7)
                try waiter.startThread()
            } catch {
                waiter.dispose()
                throw error
            }
        } catch {
            memory.deallocateApart(waiter)
            throw error
        }
        return waiter
    }

    /// Ends the thread and frees the waiter. No timeline is left.
    func stop() {
        LockOrder.assertNoneHeld("a thread was ended with a lock held")
        pointee.lock.acquire()
        pointee.isStopping = true
        let point = takeKick()
        pointee.lock.release()
        sendKick(point)
        invariant(pthread_join(pointee.thread, nil) == 0, "a waiter's thread could not be joined")
        invariant(pointee.firstTimeline == nil, "a waiter was stopped before its timelines were freed")
        let memory = pointee.memory
        dispose()
        memory.deallocateApart(self)
    }

    private func dispose() {
        pointee.larger?.free(memory: pointee.memory)
        pointee.node.destroySyncobj(pointee.kick)
        deinitialize(count: 1)
    }

    private func startThread() throws(Status) {
        // The host program's signal handlers do not run on the library's threads.
        var signals = sigset_t()
        csys_signals_block(&signals)
        defer { csys_signals_restore(&signals) }
        var thread = pthread_t()
        if pthread_create(&thread, nil, syncobjWaiterThread, UnsafeMutableRawPointer(self)) != 0 {
            throw Status.again
        }
        pointee.thread = thread
    }

    // MARK: Timelines

    func add(_ timeline: KernelTimelinePointer) throws(Status) {
        pointee.lock.acquire()
        pointee.timelineCount = pointee.timelineCount + 1
        let count = pointee.timelineCount
        pointee.lock.release()
        do throws(Status) {
            try makeRoom(for: count)
        } catch {
            pointee.lock.acquire()
            pointee.timelineCount = pointee.timelineCount - 1
            pointee.lock.release()
            throw error
        }
        pointee.lock.acquire()
        timeline.pointee.next = pointee.firstTimeline
        pointee.firstTimeline?.pointee.previous = timeline
        pointee.firstTimeline = timeline
        pointee.lock.release()
    }

    /// False if the thread has it before its eyes: it will dispose of it.
    func remove(_ timeline: KernelTimelinePointer) -> Bool {
        pointee.lock.acquire()
        invariant(timeline.pointee.count == 0, "a timeline was freed with points that are awaited")
        if timeline.pointee.isGathered {
            timeline.pointee.isDead = true
            let point = takeKick()
            pointee.lock.release()
            sendKick(point)
            return false
        }
        unlink(timeline)
        pointee.lock.release()
        return true
    }

    /// Under the lock.
    func unlink(_ timeline: KernelTimelinePointer) {
        let (next, previous) = (timeline.pointee.next, timeline.pointee.previous)
        next?.pointee.previous = previous
        if let previous { previous.pointee.next = next } else { pointee.firstTimeline = next }
        pointee.timelineCount = pointee.timelineCount - 1
    }

    func unwatch(_ timeline: KernelTimelinePointer) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        let wasWatched = timeline.pointee.count > 0
        timeline.pointee.count = 0
        return wasWatched
    }

    /// Arrays for so many timelines and the kick.
    private func makeRoom(for count: Int) throws(Status) {
        while true {
            pointee.lock.acquire()
            let capacity = pointee.capacity
            pointee.lock.release()
            if count < capacity { return }
            let arrays = try WaitArrays.make(capacity: (count + 1) * 2, memory: pointee.memory)
            pointee.lock.acquire()
            var unused: WaitArrays? = arrays
            if arrays.capacity > pointee.capacity {
                unused = pointee.larger
                pointee.larger = arrays
                pointee.capacity = arrays.capacity
            }
            pointee.lock.release()
            unused?.free(memory: pointee.memory)
        }
    }

    func reserve(on timeline: KernelTimelinePointer, growing: Bool) throws(Status) {
        pointee.lock.acquire()
        let (isLost, isFull) = (pointee.isLost, timeline.pointee.count == timeline.pointee.capacity)
        pointee.lock.release()
        if isLost { throw Status.lost }
        if !isFull { return }
        if !growing { throw Status.again }
        // Only the owner changes the capacity, and it is here.
        let (memory, capacity) = (pointee.memory, timeline.pointee.capacity)
        guard let entries = memory.allocateArray(of: PointCompletion.self, count: capacity * 2) else {
            throw Status.noMemory
        }
        let old = timeline.pointee.entries
        pointee.lock.acquire()
        for index in 0..<timeline.pointee.count {
            (entries + index).initialize(to: old[(timeline.pointee.first &+ index) & (capacity - 1)])
        }
        timeline.pointee.first = 0
        timeline.pointee.entries = entries
        timeline.pointee.capacity = capacity * 2
        pointee.lock.release()
        memory.deallocateArray(old, count: capacity)
    }

    func watch(_ completion: PointCompletion, on timeline: KernelTimelinePointer) {
        pointee.lock.acquire()
        if pointee.isLost {
            pointee.lock.release()
            completion.function(completion.context, Status.lost.raw)
            return
        }
        let (count, capacity) = (timeline.pointee.count, timeline.pointee.capacity)
        invariant(count < capacity, "a point is awaited for which no room was reserved")
        let slot = (timeline.pointee.first &+ count) & (capacity - 1)
        (timeline.pointee.entries + slot).initialize(to: completion)
        timeline.pointee.count = count + 1
        // If it had any before, the thread comes by anyway.
        let point = count == 0 ? takeKick() : nil
        pointee.lock.release()
        sendKick(point)
    }

    /// The kernel does not do what nothing here goes on without: the device is lost. Any thread.
    func lose() {
        pointee.lock.acquire()
        pointee.isLost = true
        let point = takeKick()
        pointee.lock.release()
        sendKick(point)
    }

    // MARK: The kick

    /// Under the lock: the point to signal, if the thread has to be woken; 0 if it sleeps on the bell.
    private func takeKick() -> UInt64? {
        if !pointee.isWaiting || pointee.isKicked { return nil }
        pointee.isKicked = true
        _ = pointee.bell.wrappingAdd(1, ordering: .acquiringAndReleasing)
        if !pointee.isInKernel { return 0 }
        pointee.kickPoint = pointee.kickPoint + 1
        return pointee.kickPoint
    }

    /// The kernel may be out of memory for a moment. If it stays so, the thread looks again by itself, a little later.
    private func sendKick(_ point: UInt64?) {
        guard let point else { return }
        if point == 0 { return csys_futex_wake(pointee.bell.address, 1) }
        var status = Status(raw: 0)
        for _ in 0..<1000 where status != .noDevice {
            do throws(Status) {
                return try pointee.node.signal(pointee.kick, point: point)
            } catch {
                status = error
                csys_nap()
            }
        }
        pointee.lock.acquire()
        // Else it is another kick's.
        if pointee.kickPoint == point { pointee.isKicked = false }
        if status != .noMemory { pointee.isLost = true }
        pointee.lock.release()
    }
}

private func syncobjWaiterThread(_ waiter: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    waiter!.assumingMemoryBound(to: SyncobjWaiter.self).work()
    return nil
}
