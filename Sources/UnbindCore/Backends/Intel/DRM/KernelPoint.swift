// KernelPoint: says of a fence that it signals after a point of a kernel's timeline, which the kernel has a fence for
// already. Who waits for such a fence may have the kernel wait, and need not be woken in between.
//
// Part of the object that begins with the fence, at the place that the fence's home tells: an imported fence has one
// from the start, a job and an asynchronous bind from when the kernel has taken them. It keeps the timeline, so that
// the handle means the same for as long as somebody has a reference to the fence.
//
// - Any thread may ask for it; one publishes it, once.

import Synchronization

/// What the kernel is told to wait for.
struct KernelWait: BitwiseCopyable {
    let syncobj: Syncobj
    let point: UInt64
}

struct KernelPoint: ~Copyable {
    /// With a reference. Set before the point.
    fileprivate var timeline: KernelTimelinePointer?
    /// 0: there is none yet.
    fileprivate let point = Atomic<UInt64>(0)

    /// The most that one call to the kernel waits for; what comes on top is awaited by the library.
    static var mostWaits: Int { 16 }
}

typealias KernelPointPointer = UnsafeMutablePointer<KernelPoint>

extension UnsafeMutablePointer where Pointee == KernelPoint {
    /// The kernel has taken the point. The first one counts.
    func publish(_ timeline: KernelTimelinePointer, _ point: UInt64) {
        if pointee.timeline != nil { return }
        timeline.retain()
        pointee.timeline = timeline
        pointee.point.store(point, ordering: .releasing)
    }

    /// With the object that it is part of.
    func clear() {
        guard let timeline = pointee.timeline else { return }
        pointee.timeline = nil
        timeline.free()
    }

    /// Nil: the kernel knows nothing of it.
    var place: (timeline: KernelTimelinePointer, point: UInt64)? {
        let point = pointee.point.load(ordering: .acquiring)
        return point == 0 ? nil : (pointee.timeline.unsafelyUnwrapped, point)
    }

    var wait: KernelWait? {
        place.map { KernelWait(syncobj: $0.timeline.pointee.syncobj, point: $0.point) }
    }
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// Nil: fences of its sort are never the kernel's.
    var kernelPoint: KernelPointPointer? {
        let offset = pointee.home.pointee.kernelPointOffset
        return offset == 0 ? nil : memberPointer(of: self, at: offset, as: KernelPoint.self)
    }
}
