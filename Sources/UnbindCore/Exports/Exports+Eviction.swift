// Exports of <unbind/vm.h> that evict.

import CUnbind

private let knownEvictionFlags = UNBIND_EVICT_ASYNC | UNBIND_EVICT_NONBLOCK | UNBIND_WAIT_INTERRUPTIBLE

/// What the flags of the three functions say.
private struct EvictionFlags {
    let leave: BindRequest.Eviction
    let waits: Bool
    let interruptible: Bool

    init(_ flags: UInt32) throws(Status) {
        try check(flags, allowed: knownEvictionFlags)
        leave = flags & UNBIND_EVICT_NONBLOCK != 0 ? .idle : .any
        waits = flags & UNBIND_EVICT_ASYNC == 0
        interruptible = flags & UNBIND_WAIT_INTERRUPTIBLE != 0
        if interruptible && !waits { throw Status.invalid }
    }
}

@implementation @_cdecl("unbind_vm_evict_something")
public func unbind_vm_evict_something(
    _ handle: OpaquePointer!, _ pointer: UnsafePointer<unbind_evict_request>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        guard let pointer else { throw Status.invalid }
        let raw = try read(pointer, zero: unbind_evict_request())
        let flags = try EvictionFlags(raw.flags & ~UNBIND_EVICT_HIGH)
        let alignment = vm.pointee.alignment
        guard raw.size != 0, raw.reserved == 0, raw.color == 0 || vm.pointee.options.coloring,
            raw.alignment == 0 || isPowerOfTwo(raw.alignment), isAligned(raw.size | raw.start | raw.end, to: alignment),
            raw.end == 0 || raw.end >= raw.start
        else { throw Status.invalid }
        var request = BindRequest(
            size: raw.size, alignment: max(raw.alignment, alignment), limit: vm.pointee.options.size,
            isHigh: raw.flags & UNBIND_EVICT_HIGH != 0, avoidsPending: false, isReadOnly: false, color: raw.color,
            guardSize: 0)
        request.eviction = flags.leave
        request.lowest = raw.start
        if raw.end != 0 { request.limit = min(request.limit, raw.end) }
        if request.lowest > request.limit || raw.size > request.limit - request.lowest { throw Status.noSpace }
        try vm.evict(.room(request), flags.leave, waits: flags.waits, interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_vm_evict_range")
public func unbind_vm_evict_range(
    _ handle: OpaquePointer!, _ start: UInt64, _ size: UInt64, _ color: UInt32, _ flags: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        let flags = try EvictionFlags(flags)
        let (end, overflow) = start.addingReportingOverflow(size)
        guard size != 0, !overflow, isAligned(start | size, to: vm.pointee.alignment),
            color == 0 || vm.pointee.options.coloring
        else { throw Status.invalid }
        if end > vm.pointee.options.size { throw Status.noDevice }
        try vm.evict(
            .range(start: start, size: size, color: color), flags.leave, waits: flags.waits,
            interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_vm_evict_all")
public func unbind_vm_evict_all(_ handle: OpaquePointer!, _ flags: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        let flags = try EvictionFlags(flags)
        try vm.evict(.everything, flags.leave, waits: flags.waits, interruptible: flags.interruptible)
    }
}
