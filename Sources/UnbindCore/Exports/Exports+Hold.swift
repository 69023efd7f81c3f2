// Exports of <unbind/hold.h>.

import CUnbind

@implementation @_cdecl("unbind_vma_hold")
public func unbind_vma_hold(_ handle: OpaquePointer!, _ outHold: UnsafeMutablePointer<OpaquePointer?>!) -> Int32 {
    cStatus { () throws(Status) in
        let vma: VMAPointer = try object(handle)
        let out = try required(outHold)
        out.pointee = OpaquePointer(try vma.hold())
    }
}

@implementation @_cdecl("unbind_vm_hold")
public func unbind_vm_hold(
    _ handle: OpaquePointer!, _ address: UInt64, _ outHold: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        let out = try required(outHold)
        out.pointee = OpaquePointer(try vm.hold(at: address))
    }
}

@implementation @_cdecl("unbind_hold_ref")
public func unbind_hold_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let hold: HoldPointer = try? object(handle) else { return nil }
    hold.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_hold_unref")
public func unbind_hold_unref(_ handle: OpaquePointer!) {
    guard let hold: HoldPointer = try? object(handle) else { return }
    hold.dropHandle()
}

@implementation @_cdecl("unbind_hold_get_info")
public func unbind_hold_get_info(_ handle: OpaquePointer!, _ info: UnsafeMutablePointer<unbind_hold_info>!) -> Int32 {
    cStatus { () throws(Status) in
        let hold: HoldPointer = try object(handle)
        let out = try required(info)
        let resource = hold.pointee.resource
        let binding = resource.pointee.binding
        let isBroken = hold.isBroken
        var result = unbind_hold_info()
        if isBroken { result.flags |= UNBIND_HOLD_BROKEN }
        if resource.isUnbinding { result.flags |= UNBIND_HOLD_UNBINDING }
        if binding.isLocal { result.flags |= UNBIND_HOLD_LOCAL }
        if binding.isReadOnly { result.flags |= UNBIND_HOLD_READ_ONLY }
        result.address = binding.start
        result.size = binding.size
        result.bo_id = resource.pointee.boID
        try write(result, to: out)
    }
}

@implementation @_cdecl("unbind_hold_read")
public func unbind_hold_read(
    _ handle: OpaquePointer!, _ offset: UInt64, _ buffer: UnsafeMutableRawPointer!, _ size: UInt64
) -> Int32 {
    cStatus { () throws(Status) in
        let hold: HoldPointer = try object(handle)
        guard let buffer else { throw Status.invalid }
        try hold.read(offset, into: buffer, size: size)
    }
}
