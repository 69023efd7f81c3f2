// Exports of <unbind/range_tracker.h>.

import CUnbind

/// What the index of a tracker can hold: pages below 2^48.
private let trackedLimit: UInt64 = 1 << 48

/// The last address of a range of whole pages.
func checkedLast(_ start: UInt64, _ size: UInt64) throws(Status) -> UInt64 {
    guard size != 0, isAligned(start | size, to: pageSize) else { throw Status.invalid }
    let (end, overflow) = start.addingReportingOverflow(size)
    if overflow { throw Status.invalid }
    if end > trackedLimit { throw Status.noDevice }
    return end - 1
}

@implementation @_cdecl("unbind_range_tracker_create")
public func unbind_range_tracker_create(
    _ deviceHandle: OpaquePointer!, _ outTracker: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outTracker)
        out.pointee = OpaquePointer(try RangeTrackerPointer.make(device: device))
    }
}

@implementation @_cdecl("unbind_range_tracker_ref")
public func unbind_range_tracker_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let tracker: RangeTrackerPointer = try? object(handle) else { return nil }
    tracker.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_range_tracker_unref")
public func unbind_range_tracker_unref(_ handle: OpaquePointer!) {
    guard let tracker: RangeTrackerPointer = try? object(handle) else { return }
    tracker.dropHandle()
}

@implementation @_cdecl("unbind_range_tracker_insert")
public func unbind_range_tracker_insert(
    _ handle: OpaquePointer!, _ start: UInt64, _ size: UInt64, _ fenceHandle: OpaquePointer!
) -> Int32 {
    cStatus { () throws(Status) in
        let tracker: RangeTrackerPointer = try object(handle)
        let fence: FencePointer = try object(fenceHandle)
        guard fence.device == tracker.pointee.device else { throw Status.invalid }
        try tracker.insert(start: start, last: try checkedLast(start, size), fence: fence)
    }
}

@implementation @_cdecl("unbind_range_tracker_get_fences")
public func unbind_range_tracker_get_fences(
    _ handle: OpaquePointer!, _ start: UInt64, _ size: UInt64, _ fences: UnsafeMutablePointer<OpaquePointer?>!,
    _ capacity: UInt32, _ outCount: UnsafeMutablePointer<UInt32>!
) -> Int32 {
    cStatus { () throws(Status) in
        let tracker: RangeTrackerPointer = try object(handle)
        let out = try required(outCount)
        if fences == nil, capacity != 0 { throw Status.invalid }
        let list = try tracker.fences(from: start, through: try checkedLast(start, size))
        handOut(list, to: fences, capacity: capacity)
        out.pointee = UInt32(truncatingIfNeeded: list.count)
    }
}

@implementation @_cdecl("unbind_range_tracker_get_fence")
public func unbind_range_tracker_get_fence(
    _ handle: OpaquePointer!, _ start: UInt64, _ size: UInt64, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let tracker: RangeTrackerPointer = try object(handle)
        let out = try required(outFence)
        handOut(try tracker.mergedFence(from: start, through: try checkedLast(start, size)), to: out)
    }
}

@implementation @_cdecl("unbind_range_tracker_get_count")
public func unbind_range_tracker_get_count(
    _ handle: OpaquePointer!, _ outCount: UnsafeMutablePointer<UInt64>!
) -> Int32 {
    cStatus { () throws(Status) in
        let tracker: RangeTrackerPointer = try object(handle)
        let out = try required(outCount)
        out.pointee = UInt64(tracker.unfinishedCount)
    }
}
