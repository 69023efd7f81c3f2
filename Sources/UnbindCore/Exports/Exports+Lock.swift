// Exports of <unbind/resv.h>: lock contexts and the lock of a buffer.

import CUnbind

/// A context that has begun and not ended.
private func begunContext(_ pointer: UnsafePointer<unbind_lock_context>?) throws(Status) -> LockContextPointer {
    guard let pointer, UInt(bitPattern: pointer) & 7 == 0 else { throw Status.invalid }
    let context = UnsafeMutableRawPointer(mutating: pointer).assumingMemoryBound(to: LockContext.self)
    if !context.isNamed { throw Status.invalid }
    return context
}

/// Nil for NULL; else a context of the buffer's device.
func lockContext(
    _ pointer: UnsafePointer<unbind_lock_context>?, for bo: BufferObjectPointer
) throws(Status) -> LockContextPointer? {
    guard let pointer else { return nil }
    let context = try begunContext(pointer)
    if context.pointee.device != bo.pointee.device { throw Status.invalid }
    return context
}

// MARK: Contexts

@implementation @_cdecl("unbind_lock_context_init")
public func unbind_lock_context_init(
    _ storage: UnsafeMutablePointer<unbind_lock_context>!, _ deviceHandle: OpaquePointer!
) -> Int32 {
    cStatus { () throws(Status) in
        guard let storage, UInt(bitPattern: storage) & 7 == 0 else { throw Status.invalid }
        let device: DevicePointer = try object(deviceHandle)
        try device.checkOpen()
        UnsafeMutableRawPointer(storage).bindMemory(to: LockContext.self, capacity: 1)
            .initialize(to: LockContext(device: device))
    }
}

@implementation @_cdecl("unbind_lock_context_fini")
public func unbind_lock_context_fini(_ pointer: UnsafeMutablePointer<unbind_lock_context>!) {
    guard let context = try? begunContext(pointer) else { return }
    context.end()
}

@implementation @_cdecl("unbind_lock_context_unlock_all")
public func unbind_lock_context_unlock_all(_ pointer: UnsafeMutablePointer<unbind_lock_context>!) {
    guard let context = try? begunContext(pointer) else { return }
    context.unlock()
}

@implementation @_cdecl("unbind_lock_context_retry")
public func unbind_lock_context_retry(_ pointer: UnsafeMutablePointer<unbind_lock_context>!, _ flags: UInt32) -> Int32 {
    var isAgain = false
    let status = cStatus { () throws(Status) in
        let context = try begunContext(pointer)
        let flags = try WaitFlags(flags, allowed: UNBIND_WAIT_INTERRUPTIBLE)
        isAgain = try context.retry(interruptible: flags.interruptible)
    }
    return status < 0 ? status : isAgain ? 1 : 0
}

@implementation @_cdecl("unbind_lock_context_is_wounded")
public func unbind_lock_context_is_wounded(_ pointer: UnsafePointer<unbind_lock_context>!) -> Int32 {
    guard let context = try? begunContext(pointer) else { return Status.invalid.raw }
    return context.isWounded ? 1 : 0
}

// MARK: Locks

@implementation @_cdecl("unbind_bo_lock")
public func unbind_bo_lock(
    _ handle: OpaquePointer!, _ context: UnsafeMutablePointer<unbind_lock_context>!, _ flags: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let context = try lockContext(context, for: bo)
        let flags = try WaitFlags(flags, allowed: UNBIND_WAIT_INTERRUPTIBLE)
        try bo.lock(by: context, interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_bo_lock_slow")
public func unbind_bo_lock_slow(
    _ handle: OpaquePointer!, _ context: UnsafeMutablePointer<unbind_lock_context>!, _ flags: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        guard let context = try lockContext(context, for: bo), context.pointee.acquired == 0 else {
            throw Status.invalid
        }
        let flags = try WaitFlags(flags, allowed: UNBIND_WAIT_INTERRUPTIBLE)
        try bo.lock(by: context, interruptible: flags.interruptible)
        // What retry would wait for is no longer of interest.
        context.clearContended()
    }
}

@implementation @_cdecl("unbind_bo_trylock")
public func unbind_bo_trylock(
    _ handle: OpaquePointer!, _ context: UnsafeMutablePointer<unbind_lock_context>!
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        try bo.tryLock(by: try lockContext(context, for: bo))
    }
}

@implementation @_cdecl("unbind_bo_unlock")
public func unbind_bo_unlock(
    _ handle: OpaquePointer!, _ context: UnsafeMutablePointer<unbind_lock_context>!
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        if !bo.unlock(by: try lockContext(context, for: bo)) { throw Status.invalid }
    }
}

@implementation @_cdecl("unbind_bo_lock_array")
public func unbind_bo_lock_array(
    _ bos: UnsafePointer<OpaquePointer?>!, _ count: UInt32, _ slots: UInt32,
    _ contextPointer: UnsafeMutablePointer<unbind_lock_context>!, _ flags: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let context = try begunContext(contextPointer)
        let flags = try WaitFlags(flags, allowed: UNBIND_WAIT_INTERRUPTIBLE)
        if count > listLimit || slots > listLimit { throw Status.invalid }
        if count == 0 { return }
        guard let bos else { throw Status.invalid }
        for index in 0..<Int(count) {
            let bo: BufferObjectPointer = try object(bos[index])
            if bo.pointee.device != context.pointee.device { throw Status.invalid }
        }
        try context.lock(bos, count: Int(count), slots: Int(slots), interruptible: flags.interruptible)
    }
}
