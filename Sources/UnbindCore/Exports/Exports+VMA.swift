// Exports of <unbind/vma.h>.

import CUnbind
import Synchronization

@implementation @_cdecl("unbind_vma_create")
public func unbind_vma_create(
    _ vmHandle: OpaquePointer!, _ boHandle: OpaquePointer!, _ options: UnsafePointer<unbind_vma_options>!,
    _ outVMA: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(vmHandle)
        let bo: BufferObjectPointer = try object(boHandle)
        let out = try required(outVMA)
        guard vm.pointee.device == bo.pointee.device else { throw Status.invalid }
        // Wrapped memory may be aligned to 4 KiB only, which no larger page can map.
        guard isAligned(bo.pages.pointee.physical, to: vm.pointee.alignment) else { throw Status.invalid }
        let checked = try checkedVMAOptions(options, vm: vm, size: bo.size)
        out.pointee = OpaquePointer(try VMAPointer.make(vm: vm, bo: bo, options: checked))
    }
}

private let knownVMAFlags = UNBIND_VMA_FIXED | UNBIND_VMA_HIGH | UNBIND_VMA_READ_ONLY | UNBIND_VMA_AVOID_PENDING

private func checkedVMAOptions(
    _ pointer: UnsafePointer<unbind_vma_options>?, vm: VMPointer, size: UInt64
) throws(Status) -> VMAOptions {
    var checked = VMAOptions()
    let spaceSize = vm.pointee.options.size
    let alignment = vm.pointee.alignment
    if !isAligned(size, to: alignment) { throw Status.invalid }
    if let pointer {
        let options = try read(pointer, zero: unbind_vma_options())
        try check(options.flags, allowed: knownVMAFlags)
        guard options.reserved == 0 else { throw Status.invalid }
        guard options.color == 0 || vm.pointee.options.coloring else { throw Status.invalid }
        checked.color = options.color
        checked.isReadOnly = options.flags & UNBIND_VMA_READ_ONLY != 0
        checked.isHigh = options.flags & UNBIND_VMA_HIGH != 0
        checked.avoidsPending = options.flags & UNBIND_VMA_AVOID_PENDING != 0
        if options.flags & UNBIND_VMA_FIXED != 0 {
            guard isAligned(options.address, to: alignment), options.alignment == 0, !checked.isHigh,
                !checked.avoidsPending
            else {
                throw Status.invalid
            }
            if options.address.addingReportingOverflow(size).overflow { throw Status.invalid }
            if options.address > spaceSize || size > spaceSize - options.address { throw Status.noDevice }
            checked.fixedAddress = options.address
        } else {
            guard options.address == 0 else { throw Status.invalid }
            guard options.alignment == 0 || isPowerOfTwo(options.alignment) else { throw Status.invalid }
            checked.alignment = options.alignment
        }
    }
    if size > spaceSize { throw Status.noDevice }
    return checked
}

@implementation @_cdecl("unbind_vma_ref")
public func unbind_vma_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let vma: VMAPointer = try? object(handle) else { return nil }
    vma.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_vma_unref")
public func unbind_vma_unref(_ handle: OpaquePointer!) {
    guard let vma: VMAPointer = try? object(handle) else { return }
    vma.dropHandle()
}

@implementation @_cdecl("unbind_vma_bind")
public func unbind_vma_bind(_ handle: OpaquePointer!, _ flags: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        let flags = try WaitFlags(flags, allowed: UNBIND_WAIT_INTERRUPTIBLE)
        try vma.bindAndWait(interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_vma_bind_async")
public func unbind_vma_bind_async(
    _ handle: OpaquePointer!, _ flags: UInt32, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        try check(flags, allowed: 0)
        try vma.bind(fenceTo: outFence)
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// The fence for a bind that is done within the call is made first: afterwards nothing may fail.
    fileprivate func bind(fenceTo out: UnsafeMutablePointer<OpaquePointer?>?) throws(Status) {
        let device = pointee.vm.pointee.device
        let ready = out == nil ? nil : try device.makeUnlistedFence()
        do throws(Status) {
            if let fence = try bindWithoutWaiting() {
                ready?.drop()
                handOut(fence, to: out)
            } else if let ready {
                ready.signal(at: device.now)
                handOut(ready, to: out)
            }
        } catch {
            ready?.drop()
            throw error
        }
    }
}

@implementation @_cdecl("unbind_vma_unbind")
public func unbind_vma_unbind(_ handle: OpaquePointer!, _ flags: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        let flags = try WaitFlags(flags, allowed: UNBIND_WAIT_INTERRUPTIBLE)
        try vma.unbindAndWait(interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_vma_unbind_async")
public func unbind_vma_unbind_async(
    _ handle: OpaquePointer!, _ flags: UInt32, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        try check(flags, allowed: 0)
        handOut(try vma.unbindUnderPolicy() ?? vma.pointee.vm.pointee.device.signalledFence, to: outFence)
    }
}

@implementation @_cdecl("unbind_vma_add_user")
public func unbind_vma_add_user(_ handle: OpaquePointer!, _ fenceHandle: OpaquePointer!) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        let fence: FencePointer = try object(fenceHandle)
        guard fence.device == vma.pointee.vm.pointee.device else { throw Status.invalid }
        try vma.attach(fence)
    }
}

@implementation @_cdecl("unbind_vma_address")
public func unbind_vma_address(_ handle: OpaquePointer!) -> UInt64 {
    guard let vma: VMAPointer = try? object(handle) else { return VMA.noAddress }
    return vma.pointee.address.load(ordering: .relaxed)
}

@implementation @_cdecl("unbind_vma_size")
public func unbind_vma_size(_ handle: OpaquePointer!) -> UInt64 {
    guard let vma: VMAPointer = try? object(handle) else { return 0 }
    return vma.size
}

@implementation @_cdecl("unbind_vma_state")
public func unbind_vma_state(_ handle: OpaquePointer!) -> Int32 {
    guard let vma: VMAPointer = try? object(handle) else { return Status.invalid.raw }
    return vma.state.rawValue
}
