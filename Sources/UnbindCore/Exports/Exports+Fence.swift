// Exports of <unbind/fence.h>.

import CSystem
import CUnbind

@implementation @_cdecl("unbind_fence_create")
public func unbind_fence_create(
    _ deviceHandle: OpaquePointer!, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outFence)
        let fence = try device.makeCallerFence()
        device.handleCreated(.fence)
        out.pointee = OpaquePointer(fence)
    }
}

@implementation @_cdecl("unbind_fence_signal")
public func unbind_fence_signal(_ handle: OpaquePointer!, _ error: Int32) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        guard fence.pointee.home.pointee.isSignalledByCaller, (-4095...0).contains(error) else { throw Status.invalid }
        // A callback may drop the caller's reference.
        fence.retain()
        defer { fence.drop() }
        if !fence.signal(error: error, at: fence.device.now) { throw Status.invalid }
    }
}

@implementation @_cdecl("unbind_fence_wait")
public func unbind_fence_wait(_ handle: OpaquePointer!, _ timeout: UInt64, _ flags: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        let flags = try WaitFlags(flags)
        if fence.isSignalled { return }
        try fence.device.wait(
            for: fence, timeout: timeout, absolute: flags.absolute, interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_fence_is_signaled")
public func unbind_fence_is_signaled(_ handle: OpaquePointer!) -> Int32 {
    guard let fence: FencePointer = try? object(handle) else { return Status.invalid.raw }
    return fence.isSignalled ? 1 : 0
}

@implementation @_cdecl("unbind_fence_get_error")
public func unbind_fence_get_error(_ handle: OpaquePointer!, _ outError: UnsafeMutablePointer<Int32>!) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        let out = try required(outError)
        if !fence.isSignalled { throw Status.again }
        out.pointee = fence.error
    }
}

@implementation @_cdecl("unbind_fence_get_timestamp")
public func unbind_fence_get_timestamp(_ handle: OpaquePointer!, _ outTime: UnsafeMutablePointer<UInt64>!) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        let out = try required(outTime)
        if !fence.isSignalled { throw Status.again }
        out.pointee = fence.pointee.timestamp
    }
}

@implementation @_cdecl("unbind_fence_add_callback")
public func unbind_fence_add_callback(
    _ handle: OpaquePointer!, _ storage: UnsafeMutablePointer<unbind_fence_callback>!,
    _ function: unbind_fence_callback_fn!, _ userData: UnsafeMutableRawPointer!
) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        guard let storage, let function else { throw Status.invalid }
        if !fence.addCaller(storage: UnsafeMutableRawPointer(storage), function: function, userData: userData) {
            throw Status.closed
        }
    }
}

@implementation @_cdecl("unbind_fence_remove_callback")
public func unbind_fence_remove_callback(
    _ handle: OpaquePointer!, _ storage: UnsafeMutablePointer<unbind_fence_callback>!
) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        guard let storage else { throw Status.invalid }
        if !fence.removeCaller(storage: UnsafeMutableRawPointer(storage)) { throw Status.closed }
    }
}

@implementation @_cdecl("unbind_fence_get_eventfd")
public func unbind_fence_get_eventfd(_ handle: OpaquePointer!, _ outFD: UnsafeMutablePointer<Int32>!) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        let out = try required(outFD)
        out.pointee = try fence.makeEventfd()
    }
}

@implementation @_cdecl("unbind_fence_ref")
public func unbind_fence_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let fence: FencePointer = try? object(handle) else { return nil }
    fence.retain()
    fence.handleCreated()
    return handle
}

@implementation @_cdecl("unbind_fence_unref")
public func unbind_fence_unref(_ handle: OpaquePointer!) {
    guard let fence: FencePointer = try? object(handle) else { return }
    fence.dropHandle()
}

/// Gives a reference to the caller, or drops it if the caller does not want it.
func handOut(_ fence: FencePointer, to out: UnsafeMutablePointer<OpaquePointer?>?) {
    guard let out else {
        fence.drop()
        return
    }
    fence.handleCreated()
    out.pointee = OpaquePointer(fence)
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// A reference is the caller's now. Other fences keep their device by themselves; the stub is a part of it.
    fileprivate func handleCreated() {
        let device = device
        device.handleCreated(.fence)
        if self == device.pointee.stubFence { device.retain() }
    }

    fileprivate func dropHandle() {
        let device = device
        let isStub = self == device.pointee.stubFence
        device.handleDropped(.fence)
        drop()
        if isStub { device.drop() }
    }
}

// MARK: Fences made of fences

@implementation @_cdecl("unbind_fence_get_stub")
public func unbind_fence_get_stub(
    _ deviceHandle: OpaquePointer!, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outFence)
        try device.checkOpen()
        handOut(device.signalledFence, to: out)
    }
}

@implementation @_cdecl("unbind_fence_array_create")
public func unbind_fence_array_create(
    _ fences: UnsafePointer<OpaquePointer?>!, _ count: UInt32, _ flags: UInt32,
    _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let out = try required(outFence)
        try check(flags, allowed: UNBIND_FENCE_ARRAY_ANY)
        let list = try checkedList(fences, count)
        let device = list.fences[0].device
        let signalsOnAny = flags & UNBIND_FENCE_ARRAY_ANY != 0
        handOut(try device.makeFenceArray(of: list.fences, count: list.count, signalsOnAny: signalsOnAny), to: out)
    }
}

@implementation @_cdecl("unbind_fence_merge")
public func unbind_fence_merge(
    _ fences: UnsafePointer<OpaquePointer?>!, _ count: UInt32, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let out = try required(outFence)
        var list = try checkedList(fences, count)
        let device = list.fences[0].device
        handOut(try device.merge(&list), to: out)
    }
}

/// At least one fence, all of one open device.
private func checkedList(_ fences: UnsafePointer<OpaquePointer?>?, _ count: UInt32) throws(Status) -> FenceList {
    guard let fences, count != 0, count <= listLimit else { throw Status.invalid }
    let first: FencePointer = try object(fences[0])
    for index in 1..<max(1, Int(count)) {
        let fence: FencePointer = try object(fences[index])
        if fence.device != first.device { throw Status.invalid }
    }
    try first.device.checkOpen()
    var list = try FenceList(memory: first.device.pointee.memory, capacity: Int(count))
    for index in 0..<Int(count) { list.append(retaining: FencePointer(fences[index].unsafelyUnwrapped)) }
    return list
}

@implementation @_cdecl("unbind_fence_get_leaves")
public func unbind_fence_get_leaves(
    _ handle: OpaquePointer!, _ leaves: UnsafeMutablePointer<OpaquePointer?>!, _ capacity: UInt32,
    _ outCount: UnsafeMutablePointer<UInt32>!
) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        let out = try required(outCount)
        if leaves == nil, capacity != 0 { throw Status.invalid }
        let list = try fence.leaves()
        handOut(list, to: leaves, capacity: capacity)
        out.pointee = UInt32(list.count)
    }
}

/// Gives a reference to each fence of the list to the caller, if there is room for all.
func handOut(_ list: borrowing FenceList, to out: UnsafeMutablePointer<OpaquePointer?>?, capacity: UInt32) {
    guard let out, list.count <= Int(capacity) else { return }
    for index in 0..<list.count {
        list.fences[index].retain()
        handOut(list.fences[index], to: out + index)
    }
}

// MARK: Fences and time

@implementation @_cdecl("unbind_fence_create_timed")
public func unbind_fence_create_timed(
    _ deviceHandle: OpaquePointer!, _ time: UInt64, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outFence)
        handOut(try device.makeTimedFence(at: time), to: out)
    }
}

@implementation @_cdecl("unbind_fence_create_deadline")
public func unbind_fence_create_deadline(
    _ handle: OpaquePointer!, _ deadline: UInt64, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        let out = try required(outFence)
        handOut(try fence.device.makeFence(following: fence, until: deadline), to: out)
    }
}
