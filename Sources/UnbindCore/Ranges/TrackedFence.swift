// TrackedFence: one fence that concerns one range, in the index of a RangeTracker until it has signalled.
//
// Made by whoever inserts it (an OwnedRange begins with one). Its callback hangs on the fence while it is in the index;
// when the fence signals, it hands the record to its tracker without a lock, and the next call takes it out. The
// reference to the fence goes only then: a look-up may be reading the fence while it signals.
//
// - Locking: its tracker's, but for `next` once the fence has signalled.

typealias TrackedFencePointer = UnsafeMutablePointer<TrackedFence>

struct TrackedFence {
    /// First: a pointer to it is a pointer to the TrackedFence. Its context is the tracker.
    var callback: FenceCallback
    /// At `nodeOffset`.
    var node = IntervalNode()
    /// A counted reference while the record is in the index.
    fileprivate var fence: FencePointer?
    /// Of those whose fences have signalled, the one that did before.
    var next: TrackedFencePointer?

    static var nodeOffset: Int { roundUp(MemoryLayout<FenceCallback>.size, to: MemoryLayout<IntervalNode>.alignment) }

    init(tracker: RangeTrackerPointer) {
        callback = FenceCallback(function: trackedFenceSignalled, context: UnsafeMutableRawPointer(tracker))
    }
}

extension UnsafeMutablePointer where Pointee == TrackedFence {
    init(having node: IntervalNodePointer) {
        self = (UnsafeMutableRawPointer(node) - TrackedFence.nodeOffset).assumingMemoryBound(to: TrackedFence.self)
    }

    var node: IntervalNodePointer { memberPointer(of: self, at: TrackedFence.nodeOffset, as: IntervalNode.self) }

    var callback: FenceCallbackPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: FenceCallback.self) }

    /// Of one in the index.
    var fence: FencePointer { pointee.fence.unsafelyUnwrapped }

    /// Before it is in the index; the reference is the record's then.
    func set(_ fence: FencePointer) { pointee.fence = fence }
}

private func trackedFenceSignalled(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let record = callback.assumingMemoryBound(to: TrackedFence.self)
    let context = record.pointee.callback.context.unsafelyUnwrapped
    let tracker = context.assumingMemoryBound(to: RangeTracker.self)
    tracker.push(record)
    tracker.drop()
}
