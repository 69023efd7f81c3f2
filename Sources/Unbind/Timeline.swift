// Timeline: one number that only grows, with a fence for each of its values (<unbind/timeline.h>).

import CUnbind

/// Points that are reached in the order of their numbers, whatever the order in which their fences signal.
public final class Timeline: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer
    /// The device it belongs to.
    public let device: Device

    /// Makes a timeline without points; its value is 0.
    public init(of device: Device) throws(UnbindError) {
        self.device = device
        handle = try UnbindError.make { unbind_timeline_create(device.handle, $0) }
    }

    deinit { unbind_timeline_unref(handle) }

    /// Adds a point that is reached when `fence` has signalled and all points before it are reached.
    ///
    /// - Parameter number: greater than that of every point added so far.
    public func add(_ number: UInt64, after fence: Fence) throws(UnbindError) {
        try UnbindError.check(unbind_timeline_add_point(handle, number, fence.handle))
    }

    /// Adds a point that is reached when all before it are.
    public func signal(_ number: UInt64) throws(UnbindError) {
        try UnbindError.check(unbind_timeline_signal(handle, number))
    }

    /// A fence that signals when the value is `number` or more; throws `.notYet` if no such point was added yet.
    public func point(_ number: UInt64) throws(UnbindError) -> Fence {
        Fence(adopting: try UnbindError.make { unbind_timeline_get_point(handle, number, $0) }, of: device)
    }

    /// The number of the last point that has been reached.
    public var value: UInt64 {
        var value: UInt64 = 0
        _ = unbind_timeline_value(handle, &value)
        return value
    }
}
