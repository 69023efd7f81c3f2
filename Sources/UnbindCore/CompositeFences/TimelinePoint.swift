// TimelinePoint: one seqno of a timeline that has not been reached: the fence that says when it is, and the edge on the
// fence that it waits for by itself.
//
// Lives as long as its fence; holds its timeline. `error` is that of the awaited fence alone: one that failed does not
// make all later ones fail.
//
// - Locking: `awaited`, `isDone` and `error` belong to the timeline's lock. The error is also read by the drain, which
//   alone has a point that left the ring.

typealias TimelinePointPointer = UnsafeMutablePointer<TimelinePoint>

struct TimelinePoint: ~Copyable {
    /// First: a pointer to it is a pointer to the TimelinePoint.
    fileprivate let fence: OrderedFence
    /// On the awaited fence; at `callbackOffset`.
    var callback: FenceCallback
    let timeline: TimelinePointer
    /// A counted reference, until it has signalled.
    fileprivate(set) var awaited: FencePointer?
    fileprivate(set) var isDone = false
    fileprivate(set) var error: Int32 = 0

    static var callbackOffset: Int { roundUp(MemoryLayout<OrderedFence>.size, to: MemoryLayout<FenceCallback>.alignment) }
}

typealias TimelinePointLinkPointer = UnsafeMutablePointer<TimelinePointLink>

/// In a list of points that are added together, which is ordered by timeline.
struct TimelinePointLink: AddressOrdered {
    /// Of one that is in a list: there.
    var point: TimelinePointPointer?
    var next: TimelinePointLinkPointer?

    static func address(of link: TimelinePointLinkPointer) -> UInt64 { UInt64(UInt(bitPattern: link.timeline)) }
    static func next(of link: TimelinePointLinkPointer) -> TimelinePointLinkPointer? { link.pointee.next }
    static func setNext(of link: TimelinePointLinkPointer, to next: TimelinePointLinkPointer?) {
        link.pointee.next = next
    }
}

extension UnsafeMutablePointer where Pointee == TimelinePointLink {
    var timeline: TimelinePointer { pointee.point!.pointee.timeline }
}

extension UnsafeMutablePointer where Pointee == TimelinePoint {
    /// - Failure: noMemory.
    static func make(
        on timeline: TimelinePointer, seqno: UInt64, awaiting awaited: FencePointer?
    ) throws(Status) -> TimelinePointPointer {
        let device = timeline.pointee.device
        guard let memory = device.cache(.timelinePoint).take() else { throw Status.noMemory }
        let point = memory.bindMemory(to: TimelinePoint.self, capacity: 1)
        point.initialize(
            to: TimelinePoint(
                fence: OrderedFence(
                    home: device.fenceHome(.timelinePoint), context: timeline.pointee.context, seqno: seqno),
                callback: FenceCallback(function: awaitedSignalled, context: memory), timeline: timeline,
                awaited: awaited))
        awaited?.retain()
        timeline.retain()
        return point
    }

    var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    var seqno: UInt64 { fence.seqno }
    var isDone: Bool { pointee.isDone }
    var error: Int32 { pointee.error }
    var awaited: FencePointer? { pointee.awaited }

    /// Hangs the point on its fence; it may be gone when this returns.
    func start(on fence: FencePointer) {
        let callback = memberPointer(of: self, at: TimelinePoint.callbackOffset, as: FenceCallback.self)
        if !fence.add(callback) { pointee.timeline.completed(self, error: fence.error) }
    }

    /// Under the timeline's lock. The fence it waited for, whose reference is now the caller's.
    func complete(error: Int32) -> FencePointer? {
        let awaited = pointee.awaited
        pointee.awaited = nil
        pointee.error = error
        pointee.isDone = true
        return awaited
    }

    /// Frees a point that was not added.
    func discard() {
        pointee.awaited?.drop()
        pointee.awaited = nil
        fence.drop()
    }

    // MARK: Looking inside

    /// How many points of the timeline, this one included, are still to be reached for this one.
    var pendingCount: Int { pointee.timeline.pendingCount(upTo: seqno) }

    /// The fences that this point still waits for, at most `limit`, with a reference each.
    func copyAwaited(to fences: UnsafeMutablePointer<FencePointer>, limit: Int) -> Int {
        pointee.timeline.copyAwaited(upTo: seqno, to: fences, limit: limit)
    }
}

private func awaitedSignalled(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let context = callback.assumingMemoryBound(to: FenceCallback.self).pointee.context
    let point = context.unsafelyUnwrapped.assumingMemoryBound(to: TimelinePoint.self)
    point.pointee.timeline.completed(point, error: fence.assumingMemoryBound(to: Fence.self).error)
}

func releaseTimelinePoint(_ memory: UnsafeMutableRawPointer) {
    let point = memory.assumingMemoryBound(to: TimelinePoint.self)
    let timeline = point.pointee.timeline
    point.deinitialize(count: 1)
    timeline.pointee.device.cache(.timelinePoint).give(memory)
    timeline.drop()
}
