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
        guard isAligned(bo.withPages { $0.pointee.physical }, to: vm.pointee.alignment) else { throw Status.invalid }
        var raw = unbind_vma_options()
        if let options { raw = try read(options, zero: raw) }
        let layout = try checkedViewLayout(raw.view, vm: vm, bo: bo)
        let size = layout.kind == .normal ? bo.size : layout.size
        let checked = try checkedVMAOptions(raw, vm: vm, size: size)
        out.pointee = OpaquePointer(try VMAPointer.make(vm: vm, bo: bo, options: checked, layout: layout))
    }
}

@implementation @_cdecl("unbind_vma_lookup")
public func unbind_vma_lookup(
    _ vmHandle: OpaquePointer!, _ boHandle: OpaquePointer!, _ view: UnsafePointer<unbind_view>!,
    _ outVMA: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(vmHandle)
        let bo: BufferObjectPointer = try object(boHandle)
        let out = try required(outVMA)
        guard vm.pointee.device == bo.pointee.device else { throw Status.invalid }
        let layout = try checkedViewLayout(view, vm: vm, bo: bo)
        guard let vma = bo.vmaWithHandle(in: vm, layout) else { throw Status.closed }
        out.pointee = OpaquePointer(vma)
    }
}

private let knownVMAFlags = UNBIND_VMA_FIXED | UNBIND_VMA_HIGH | UNBIND_VMA_READ_ONLY | UNBIND_VMA_AVOID_PENDING

private func checkedVMAOptions(
    _ options: unbind_vma_options, vm: VMPointer, size: UInt64
) throws(Status) -> VMAOptions {
    var checked = VMAOptions()
    let spaceSize = vm.pointee.options.size
    let alignment = vm.pointee.alignment
    if !isAligned(size, to: alignment) { throw Status.invalid }
    try check(options.flags, allowed: knownVMAFlags)
    guard options.reserved == 0 else { throw Status.invalid }
    guard options.color == 0 || vm.pointee.options.coloring else { throw Status.invalid }
    guard isAligned(options.guard, to: alignment) else { throw Status.invalid }
    checked.color = options.color
    checked.guardSize = options.guard
    checked.isReadOnly = options.flags & UNBIND_VMA_READ_ONLY != 0
    checked.isHigh = options.flags & UNBIND_VMA_HIGH != 0
    checked.avoidsPending = options.flags & UNBIND_VMA_AVOID_PENDING != 0
    // With its guards it must fit; saturating, as a guard may be anything.
    let guardSize = max(options.guard, vm.pointee.options.guardSize)
    let needed = size.addingSaturating(guardSize).addingSaturating(guardSize)
    if options.flags & UNBIND_VMA_FIXED != 0 {
        guard isAligned(options.address, to: alignment), options.alignment == 0, !checked.isHigh,
            !checked.avoidsPending
        else {
            throw Status.invalid
        }
        if options.address.addingReportingOverflow(size).overflow { throw Status.invalid }
        if options.address < guardSize || options.address - guardSize > spaceSize
            || needed > spaceSize - (options.address - guardSize)
        {
            throw Status.noDevice
        }
        checked.fixedAddress = options.address
    } else {
        guard options.address == 0 else { throw Status.invalid }
        guard options.alignment == 0 || isPowerOfTwo(options.alignment) else { throw Status.invalid }
        checked.alignment = options.alignment
    }
    if needed > spaceSize { throw Status.noDevice }
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

private let knownBindFlags = UNBIND_BIND_READ_ONLY | UNBIND_BIND_EVICT | UNBIND_BIND_NONBLOCK

extension BindRequest {
    fileprivate mutating func apply(bindFlags flags: UInt32) throws(Status) {
        if flags & UNBIND_BIND_READ_ONLY != 0 { isReadOnly = true }
        let evicts = flags & UNBIND_BIND_EVICT != 0
        let sparesActive = flags & UNBIND_BIND_NONBLOCK != 0
        if sparesActive && !evicts { throw Status.invalid }
        eviction = evicts ? (sparesActive ? .idle : .any) : .none
    }
}

@implementation @_cdecl("unbind_vma_bind")
public func unbind_vma_bind(_ handle: OpaquePointer!, _ flags: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        let waitFlags = try WaitFlags(flags & ~knownBindFlags, allowed: UNBIND_WAIT_INTERRUPTIBLE)
        var request = vma.plainRequest
        try request.apply(bindFlags: flags)
        try vma.bindAndWait(request, interruptible: waitFlags.interruptible)
    }
}

@implementation @_cdecl("unbind_vma_bind_async")
public func unbind_vma_bind_async(
    _ handle: OpaquePointer!, _ flags: UInt32, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        try check(flags, allowed: knownBindFlags)
        var request = vma.plainRequest
        try request.apply(bindFlags: flags)
        try vma.bind(request, fenceTo: outFence)
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// The fence for a bind that is done within the call is made first: afterwards nothing may fail.
    fileprivate func bind(
        _ request: BindRequest, fenceTo out: UnsafeMutablePointer<OpaquePointer?>?
    ) throws(Status) {
        let device = pointee.vm.pointee.device
        let ready = out == nil ? nil : try device.makeUnlistedFence()
        do throws(Status) {
            if let fence = try bindWithoutWaiting(request) {
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

// MARK: Pins

private let knownPinFlags =
    UNBIND_PIN_LOW | UNBIND_PIN_HIGH | UNBIND_PIN_MAPPABLE | UNBIND_PIN_BIAS | UNBIND_PIN_FIXED
    | UNBIND_PIN_READ_ONLY | UNBIND_PIN_EVICT | UNBIND_PIN_NONBLOCK | UNBIND_PIN_ASYNC | UNBIND_PIN_INTERRUPTIBLE

@implementation @_cdecl("unbind_vma_pin")
public func unbind_vma_pin(_ handle: OpaquePointer!, _ pointer: UnsafePointer<unbind_pin_options>!) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        var options = unbind_pin_options()
        if let pointer { options = try read(pointer, zero: options) }
        let request = try vma.pinRequest(options)
        if options.flags & UNBIND_PIN_ASYNC != 0 {
            try vma.bind(request, fenceTo: options.out_fence)
        } else {
            try vma.bindAndWait(request, interruptible: options.flags & UNBIND_PIN_INTERRUPTIBLE != 0)
        }
    }
}

@implementation @_cdecl("unbind_vma_unpin")
public func unbind_vma_unpin(_ handle: OpaquePointer!) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        try vma.unpin()
    }
}

@implementation @_cdecl("unbind_vma_pin_count")
public func unbind_vma_pin_count(_ handle: OpaquePointer!) -> UInt32 {
    guard let vma: VMAPointer = try? object(handle) else { return 0 }
    return vma.pinCount
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// What the VMA and the pin ask for together.
    /// - Failure: invalid for contradictions; noSpace for what no address space of this size could hold.
    fileprivate func pinRequest(_ options: unbind_pin_options) throws(Status) -> BindRequest {
        let flags = options.flags
        let vm = pointee.vm
        try check(flags, allowed: knownPinFlags)
        let isFixed = flags & UNBIND_PIN_FIXED != 0
        let isBiased = flags & UNBIND_PIN_BIAS != 0
        let isAsynchronous = flags & UNBIND_PIN_ASYNC != 0
        guard flags & UNBIND_PIN_LOW == 0 || flags & UNBIND_PIN_HIGH == 0,
            !isFixed || flags & (UNBIND_PIN_LOW | UNBIND_PIN_HIGH | UNBIND_PIN_BIAS) == 0,
            isFixed || isBiased || options.address == 0,
            options.out_fence == nil || isAsynchronous,
            !isAsynchronous || flags & UNBIND_PIN_INTERRUPTIBLE == 0,
            options.alignment == 0 || isPowerOfTwo(options.alignment),
            isAligned(options.address | options.size, to: vm.pointee.alignment)
        else { throw Status.invalid }

        var request = plainRequest
        request.pins = true
        try request.apply(
            bindFlags: (flags & UNBIND_PIN_READ_ONLY != 0 ? UNBIND_BIND_READ_ONLY : 0)
                | (flags & UNBIND_PIN_EVICT != 0 ? UNBIND_BIND_EVICT : 0)
                | (flags & UNBIND_PIN_NONBLOCK != 0 ? UNBIND_BIND_NONBLOCK : 0))
        if flags & UNBIND_PIN_LOW != 0 { request.isHigh = false }
        if flags & UNBIND_PIN_HIGH != 0 { request.isHigh = true }
        if flags & UNBIND_PIN_MAPPABLE != 0 { request.limit = min(request.limit, vm.pointee.options.mappableSize) }
        if options.alignment != 0 { request.pinAlignment = options.alignment }
        request.size = max(request.size, options.size)
        if isFixed {
            if let own = request.fixedAddress, own != options.address { throw Status.invalid }
            request.fixedAddress = options.address
        } else if isBiased {
            request.lowest = options.address
        }
        try request.checkPlace()
        return request
    }
}

extension BindRequest {
    /// The order of the checks is the kernel's: what is too large for any place first.
    fileprivate func checkPlace() throws(Status) {
        if nodeSize > limit { throw Status.noSpace }
        guard let fixedAddress else {
            if lowest > limit || nodeSize > limit - lowest { throw Status.noSpace }
            return
        }
        guard isAligned(fixedAddress, to: pinAlignment), fixedAddress <= limit, size <= limit - fixedAddress,
            fixedAddress >= lowest
        else { throw Status.invalid }
        if fixedAddress < guardSize || guardSize > limit - fixedAddress - size { throw Status.noSpace }
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
