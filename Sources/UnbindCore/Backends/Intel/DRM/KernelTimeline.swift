// KernelTimeline: a timeline sync object whose points the kernel signals in order, one for each queue of the kernel's
// that works in order, and what is to be done as each signals.
//
// The owner takes the next point, hands it to the kernel as an out-fence, and says then who is to be told (watch). No
// two threads do so at the same time. The SyncobjWaiter tells them. The ring of those that are waited for is under its
// lock; it has room beforehand, so that an unbind allocates nothing.
//
// Life: make, any number of points, free by each who has a reference; by the last once nothing is awaited.

import Synchronization

/// Who is told that a point has signalled.
struct PointCompletion: BitwiseCopyable {
    /// With no lock held, on the waiter's thread, or on the caller's if the device is lost. May use the timeline.
    typealias Function = @convention(c) (_ context: UnsafeMutableRawPointer, _ error: Int32) -> Void

    let function: Function
    let context: UnsafeMutableRawPointer
    var point: UInt64 = 0

    init(context: UnsafeMutableRawPointer, function: @escaping Function) {
        self.context = context
        self.function = function
    }
}

typealias KernelTimelinePointer = UnsafeMutablePointer<KernelTimeline>

struct KernelTimeline: ~Copyable {
    let syncobj: Syncobj
    let waiter: UnsafeMutablePointer<SyncobjWaiter>
    fileprivate let references = Atomic<Int>(1)
    /// Of the last point that the kernel took. The owner's.
    var lastPoint: UInt64 = 0

    // Under the waiter's lock.

    /// A ring: `count` from `first` on, in the order of their points.
    var entries: UnsafeMutablePointer<PointCompletion>
    var capacity: Int
    var first = 0
    var count = 0
    var next: KernelTimelinePointer?
    var previous: KernelTimelinePointer?
    /// The waiter's thread will come by, and looks at it then.
    var isGathered = false
    /// It was freed meanwhile: the thread does what is left of that.
    var isDead = false
}

extension UnsafeMutablePointer where Pointee == KernelTimeline {
    /// - Parameter capacity: points that can be awaited at the same time, a power of two.
    static func make(
        waiter: UnsafeMutablePointer<SyncobjWaiter>, capacity: Int
    ) throws(Status) -> KernelTimelinePointer {
        invariant(capacity > 0 && capacity & (capacity - 1) == 0, "a ring's size is a power of two")
        let (memory, node) = (waiter.pointee.memory, waiter.pointee.node)
        guard let timeline = memory.allocateApart(of: KernelTimeline.self) else { throw Status.noMemory }
        guard let entries = memory.allocateArray(of: PointCompletion.self, count: capacity) else {
            memory.deallocateApart(timeline)
            throw Status.noMemory
        }
        do throws(Status) {
            let syncobj = try node.makeSyncobj()
            timeline.initialize(
                to: KernelTimeline(syncobj: syncobj, waiter: waiter, entries: entries, capacity: capacity))
            do throws(Status) {
                try waiter.add(timeline)
            } catch {
                node.destroySyncobj(syncobj)
                timeline.deinitialize(count: 1)
                throw error
            }
        } catch {
            memory.deallocateArray(entries, count: capacity)
            memory.deallocateApart(timeline)
            throw error
        }
        return timeline
    }

    func retain() { _ = pointee.references.wrappingAdd(1, ordering: .relaxed) }

    /// Drops a reference. With the last nothing may be awaited any more. Also from within a completion.
    func free() {
        if pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue != 1 { return }
        if pointee.waiter.remove(self) { dispose() }
    }

    /// It is in nobody's list.
    func dispose() {
        let waiter = pointee.waiter
        let memory = waiter.pointee.memory
        waiter.pointee.node.destroySyncobj(pointee.syncobj)
        memory.deallocateArray(pointee.entries, count: pointee.capacity)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    /// The point to be handed to the kernel next; it is used up by `watch`.
    var nextPoint: UInt64 { pointee.lastPoint &+ 1 }

    /// The kernel has taken the next point, and nobody is to be told.
    func skip() { pointee.lastPoint = nextPoint }

    /// Room to await one more point.
    /// - Parameter growing: may allocate.
    /// - Failure: again, or noMemory if it may; lost.
    func reserve(growing: Bool) throws(Status) {
        try pointee.waiter.reserve(on: self, growing: growing)
    }

    /// The kernel has taken the next point: who is to be told when it signals. Room was reserved.
    func watch(_ completion: PointCompletion) {
        let point = nextPoint
        pointee.lastPoint = point
        var completion = completion
        completion.point = point
        pointee.waiter.watch(completion, on: self)
    }

    /// As watch, for a point that the kernel took before; after all others that are watched.
    func watch(_ completion: PointCompletion, at point: UInt64) {
        var completion = completion
        completion.point = point
        pointee.waiter.watch(completion, on: self)
    }

    /// Takes back all that is awaited: nobody is told. False if there was nothing, or it is being told now.
    func unwatch() -> Bool { pointee.waiter.unwatch(self) }
}
