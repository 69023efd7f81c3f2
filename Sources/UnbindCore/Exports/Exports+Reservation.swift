// Exports of <unbind/resv.h>: the fences of a buffer.

import CUnbind

/// Only the four usages.
private func fenceUsage(_ usage: UInt32) throws(Status) -> FenceUsage {
    guard usage <= UNBIND_USAGE_BOOKKEEP, let usage = FenceUsage(rawValue: UInt8(usage)) else { throw Status.invalid }
    return usage
}

private func checkSlots(_ slots: UInt32) throws(Status) -> Int {
    if slots > listLimit { throw Status.invalid }
    return Int(slots)
}

// MARK: Adding

@implementation @_cdecl("unbind_bo_reserve_fences")
public func unbind_bo_reserve_fences(
    _ handle: OpaquePointer!, _ context: UnsafePointer<unbind_lock_context>!, _ slots: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        try bo.reserveFences(try checkSlots(slots), by: try lockContext(context, for: bo))
    }
}

@implementation @_cdecl("unbind_bo_unreserve_fences")
public func unbind_bo_unreserve_fences(
    _ handle: OpaquePointer!, _ context: UnsafePointer<unbind_lock_context>!, _ slots: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        try bo.unreserveFences(try checkSlots(slots), by: try lockContext(context, for: bo))
    }
}

@implementation @_cdecl("unbind_bo_add_fence")
public func unbind_bo_add_fence(
    _ handle: OpaquePointer!, _ context: UnsafePointer<unbind_lock_context>!, _ fenceHandle: OpaquePointer!,
    _ usage: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let fence: FencePointer = try object(fenceHandle)
        guard fence.device == bo.pointee.device else { throw Status.invalid }
        try bo.add(fence, usage: try fenceUsage(usage), by: try lockContext(context, for: bo))
    }
}

@implementation @_cdecl("unbind_bo_copy_fences")
public func unbind_bo_copy_fences(
    _ handle: OpaquePointer!, _ context: UnsafePointer<unbind_lock_context>!, _ otherHandle: OpaquePointer!
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let other: BufferObjectPointer = try object(otherHandle)
        guard other.pointee.device == bo.pointee.device else { throw Status.invalid }
        try bo.copyFences(from: other, by: try lockContext(context, for: bo))
    }
}

// MARK: Asking

@implementation @_cdecl("unbind_bo_is_signaled")
public func unbind_bo_is_signaled(_ handle: OpaquePointer!, _ usage: UInt32) -> Int32 {
    var isSignalled = false
    let status = cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        isSignalled = bo.isSignalled(usage: try fenceUsage(usage))
    }
    return status < 0 ? status : isSignalled ? 1 : 0
}

@implementation @_cdecl("unbind_bo_wait_usage")
public func unbind_bo_wait_usage(
    _ handle: OpaquePointer!, _ usage: UInt32, _ timeout: UInt64, _ flags: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let usage = try fenceUsage(usage)
        let flags = try WaitFlags(flags)
        try bo.wait(
            usage: usage, timeout: timeout, absolute: flags.absolute, interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_bo_get_fences")
public func unbind_bo_get_fences(
    _ handle: OpaquePointer!, _ usage: UInt32, _ fences: UnsafeMutablePointer<OpaquePointer?>!, _ capacity: UInt32,
    _ outCount: UnsafeMutablePointer<UInt32>!
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let usage = try fenceUsage(usage)
        let out = try required(outCount)
        if fences == nil, capacity != 0 { throw Status.invalid }
        let list = try bo.fences(usage: usage)
        handOut(list, to: fences, capacity: capacity)
        out.pointee = UInt32(list.count)
    }
}

@implementation @_cdecl("unbind_bo_get_fence")
public func unbind_bo_get_fence(
    _ handle: OpaquePointer!, _ usage: UInt32, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let usage = try fenceUsage(usage)
        let out = try required(outFence)
        try bo.pointee.device.checkOpen()
        handOut(try bo.mergedFence(usage: usage), to: out)
    }
}

// MARK: One by one

private func fenceCursor(
    _ pointer: UnsafeMutablePointer<unbind_fence_cursor>?
) throws(Status) -> UnsafeMutablePointer<ReservationCursor> {
    guard let pointer, UInt(bitPattern: pointer) & 7 == 0 else { throw Status.invalid }
    return UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: ReservationCursor.self)
}

@implementation @_cdecl("unbind_fence_cursor_init")
public func unbind_fence_cursor_init(
    _ cursorPointer: UnsafeMutablePointer<unbind_fence_cursor>!, _ handle: OpaquePointer!, _ usage: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let cursor = try fenceCursor(cursorPointer)
        let bo: BufferObjectPointer = try object(handle)
        cursor.initialize(to: bo.makeFenceCursor(usage: try fenceUsage(usage)))
    }
}

@implementation @_cdecl("unbind_fence_cursor_next")
public func unbind_fence_cursor_next(
    _ cursorPointer: UnsafeMutablePointer<unbind_fence_cursor>!, _ handle: OpaquePointer!,
    _ outFence: UnsafeMutablePointer<OpaquePointer?>!, _ outUsage: UnsafeMutablePointer<UInt32>!
) -> Int32 {
    var result: Int32 = 0
    let status = cStatus { () throws(Status) in
        let cursor = try fenceCursor(cursorPointer)
        let bo: BufferObjectPointer = try object(handle)
        let out = try required(outFence)
        guard cursor.pointee.magic == ReservationCursor.magic else { throw Status.invalid }
        let usage = try fenceUsage(cursor.pointee.usage)
        switch bo.step(&cursor.pointee, usage: usage) {
        case .end: result = 0
        case .changed: throw Status.again
        case .fence(let fence, let usage):
            handOut(fence, to: out)
            outUsage?.pointee = UInt32(usage.rawValue)
            result = 1
        }
    }
    return status < 0 ? status : result
}
