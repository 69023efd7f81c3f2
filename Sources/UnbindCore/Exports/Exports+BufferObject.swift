// Exports of <unbind/bo.h>.

import CUnbind

@implementation @_cdecl("unbind_bo_create")
public func unbind_bo_create(
    _ deviceHandle: OpaquePointer!, _ size: UInt64, _ region: UInt32, _ flags: UInt32,
    _ outBO: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outBO)
        try check(flags, allowed: 0)
        try checkBufferSize(size)
        guard region == UNBIND_REGION_SYSTEM || region == UNBIND_REGION_LOCAL else { throw Status.invalid }
        try device.checkOpen()
        let bo = try BufferObjectPointer.make(device: device) { () throws(Status) in
            if device.pointee.backend != nil {
                return try PageListPointer.makeBackend(
                    device: device, size: size, isLocal: region == UNBIND_REGION_LOCAL)
            }
            return region == UNBIND_REGION_LOCAL
                ? try PageListPointer.makeLocal(device: device, size: size)
                : try PageListPointer.makeSystem(device: device, size: size)
        }
        out.pointee = OpaquePointer(bo)
    }
}

@implementation @_cdecl("unbind_bo_wrap")
public func unbind_bo_wrap(
    _ deviceHandle: OpaquePointer!, _ memory: UnsafeMutableRawPointer!, _ size: UInt64,
    _ release: unbind_release_fn!, _ userData: UnsafeMutableRawPointer!, _ outBO: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outBO)
        guard let memory else { throw Status.invalid }
        let address = UInt64(UInt(bitPattern: memory))
        try checkBufferSize(size)
        // Page-table entries have 52 bits of address, and the end of the memory must fit too.
        guard isAligned(address, to: pageSize), address.addingSaturating(size) <= PageTableEntry.addressMask else {
            throw Status.invalid
        }
        try device.checkOpen()
        let bo = try BufferObjectPointer.make(device: device) { () throws(Status) in
            if device.pointee.backend != nil {
                return try PageListPointer.makeBackendWrapped(
                    device: device, memory: memory, size: size, release: release, userData: userData)
            }
            return try PageListPointer.makeWrapped(
                device: device, memory: memory, size: size, release: release, userData: userData)
        }
        out.pointee = OpaquePointer(bo)
    }
}

private func checkBufferSize(_ size: UInt64) throws(Status) {
    if size == 0 || !isAligned(size, to: pageSize) { throw Status.invalid }
}

@implementation @_cdecl("unbind_bo_ref")
public func unbind_bo_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let bo: BufferObjectPointer = try? object(handle) else { return nil }
    bo.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_bo_unref")
public func unbind_bo_unref(_ handle: OpaquePointer!) {
    guard let bo: BufferObjectPointer = try? object(handle) else { return }
    bo.dropHandle()
}

@implementation @_cdecl("unbind_bo_cpu_pointer")
public func unbind_bo_cpu_pointer(_ handle: OpaquePointer!) -> UnsafeMutableRawPointer! {
    guard let bo: BufferObjectPointer = try? object(handle) else { return nil }
    return bo.withPages { $0.pointee.memory }
}

@implementation @_cdecl("unbind_bo_size")
public func unbind_bo_size(_ handle: OpaquePointer!) -> UInt64 {
    guard let bo: BufferObjectPointer = try? object(handle) else { return 0 }
    return bo.size
}

@implementation @_cdecl("unbind_bo_id")
public func unbind_bo_id(_ handle: OpaquePointer!) -> UInt64 {
    guard let bo: BufferObjectPointer = try? object(handle) else { return 0 }
    return bo.pointee.id
}

@implementation @_cdecl("unbind_bo_wait")
public func unbind_bo_wait(_ handle: OpaquePointer!, _ timeout: UInt64, _ flags: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let flags = try WaitFlags(flags)
        try bo.wait(timeout: timeout, absolute: flags.absolute, interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_bo_unbind")
public func unbind_bo_unbind(_ handle: OpaquePointer!, _ flags: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let known =
            UNBIND_BO_UNBIND_ACTIVE | UNBIND_BO_UNBIND_BARRIER | UNBIND_BO_UNBIND_TEST | UNBIND_BO_UNBIND_VM_TRYLOCK
            | UNBIND_BO_UNBIND_ASYNC | UNBIND_WAIT_INTERRUPTIBLE
        try check(flags, allowed: known)
        try bo.unbindAll(
            ObjectUnbindOptions(
                waitsForActive: flags & UNBIND_BO_UNBIND_ACTIVE != 0,
                waitsForClosing: flags & UNBIND_BO_UNBIND_BARRIER != 0,
                onlyTests: flags & UNBIND_BO_UNBIND_TEST != 0,
                triesLock: flags & UNBIND_BO_UNBIND_VM_TRYLOCK != 0,
                isAsynchronous: flags & UNBIND_BO_UNBIND_ASYNC != 0,
                interruptible: flags & UNBIND_WAIT_INTERRUPTIBLE != 0))
    }
}

@implementation @_cdecl("unbind_bo_region")
public func unbind_bo_region(_ handle: OpaquePointer!) -> UInt32 {
    guard let bo: BufferObjectPointer = try? object(handle) else { return UNBIND_REGION_SYSTEM }
    return bo.region.rawValue
}

@implementation @_cdecl("unbind_bo_migrate")
public func unbind_bo_migrate(
    _ handle: OpaquePointer!, _ region: UInt32, _ flags: UInt32, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let known = UNBIND_BO_MIGRATE_NO_CPU_COPY | UNBIND_BO_MIGRATE_AFTER_UNBIND | UNBIND_WAIT_INTERRUPTIBLE
        try check(flags, allowed: known)
        guard let region = MemoryRegion(rawValue: region) else { throw Status.invalid }
        let options = MigrationOptions(
            mayCopyByCPU: flags & UNBIND_BO_MIGRATE_NO_CPU_COPY == 0,
            copiesAfterUnbinds: flags & UNBIND_BO_MIGRATE_AFTER_UNBIND != 0,
            interruptible: flags & UNBIND_WAIT_INTERRUPTIBLE != 0)
        handOut(try bo.migrate(to: region, options) ?? bo.pointee.device.signalledFence, to: outFence)
    }
}
