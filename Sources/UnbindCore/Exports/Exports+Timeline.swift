// Exports of <unbind/timeline.h>.

import CUnbind

@implementation @_cdecl("unbind_timeline_create")
public func unbind_timeline_create(
    _ deviceHandle: OpaquePointer!, _ outTimeline: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outTimeline)
        out.pointee = OpaquePointer(try TimelinePointer.make(device: device))
    }
}

@implementation @_cdecl("unbind_timeline_ref")
public func unbind_timeline_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let timeline: TimelinePointer = try? object(handle) else { return nil }
    timeline.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_timeline_unref")
public func unbind_timeline_unref(_ handle: OpaquePointer!) {
    guard let timeline: TimelinePointer = try? object(handle) else { return }
    timeline.dropHandle()
}

@implementation @_cdecl("unbind_timeline_add_point")
public func unbind_timeline_add_point(
    _ handle: OpaquePointer!, _ seqno: UInt64, _ fenceHandle: OpaquePointer!
) -> Int32 {
    cStatus { () throws(Status) in
        let timeline: TimelinePointer = try object(handle)
        let fence: FencePointer = try object(fenceHandle)
        guard fence.device == timeline.pointee.device else { throw Status.invalid }
        try timeline.add(seqno, awaiting: fence)
    }
}

@implementation @_cdecl("unbind_timeline_signal")
public func unbind_timeline_signal(_ handle: OpaquePointer!, _ seqno: UInt64) -> Int32 {
    cStatus { () throws(Status) in
        let timeline: TimelinePointer = try object(handle)
        try timeline.signal(seqno)
    }
}

@implementation @_cdecl("unbind_timeline_get_point")
public func unbind_timeline_get_point(
    _ handle: OpaquePointer!, _ seqno: UInt64, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let timeline: TimelinePointer = try object(handle)
        let out = try required(outFence)
        handOut(try timeline.fence(at: seqno), to: out)
    }
}

@implementation @_cdecl("unbind_timeline_value")
public func unbind_timeline_value(_ handle: OpaquePointer!, _ outValue: UnsafeMutablePointer<UInt64>!) -> Int32 {
    cStatus { () throws(Status) in
        let timeline: TimelinePointer = try object(handle)
        let out = try required(outValue)
        out.pointee = timeline.value
    }
}
