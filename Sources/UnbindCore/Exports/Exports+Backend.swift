// Exports of <unbind/backend.h>.

import CUnbind

@implementation @_cdecl("unbind_device_open_custom")
public func unbind_device_open_custom(
    _ ops: UnsafePointer<unbind_backend_ops>!, _ backend: UnsafeMutableRawPointer!,
    _ options: UnsafePointer<unbind_device_options>!, _ outDevice: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let out = try required(outDevice)
        guard let ops else { throw Status.invalid }
        let description = BackendDescription(ops: try checkedOps(ops), context: backend)
        var checked = DeviceOptions()
        var memory = Memory()
        if let options {
            let options = try read(options, zero: unbind_device_options())
            checked = try checkedDeviceOptions(options)
            memory = try checkedAllocator(options.allocator)
        }
        out.pointee = OpaquePointer(try DevicePointer.open(checked, memory: memory, backend: description))
    }
}

private func checkedOps(_ pointer: UnsafePointer<unbind_backend_ops>) throws(Status) -> unbind_backend_ops {
    let ops = try read(pointer, zero: unbind_backend_ops())
    guard ops.bo_create != nil, ops.bo_destroy != nil, ops.vm_create != nil, ops.vm_destroy != nil,
        ops.update != nil
    else { throw Status.invalid }
    let hasQueues = ops.queue_create != nil
    guard (ops.queue_destroy != nil) == hasQueues, (ops.submit != nil) == hasQueues else { throw Status.invalid }
    let possible =
        Capability.explicitUnbind | Capability.partialUnbind | Capability.aliasing | Capability.nullMappings
        | Capability.readOnly | Capability.userMemory | Capability.localMemory | Capability.faultReports
        | Capability.asyncUpdates | Capability.batchBuffers
    guard ops.capabilities & ~possible == 0, (ops.capabilities & Capability.userMemory == 0) || ops.bo_wrap != nil
    else { throw Status.invalid }
    guard ops.page_sizes != 0, ops.page_sizes & ~PageSize.all == 0,
        ops.address_limit == 0 || ops.address_limit >= pageSize
    else { throw Status.invalid }
    return ops
}

@implementation @_cdecl("unbind_backend_complete")
public func unbind_backend_complete(_ token: OpaquePointer!, _ error: Int32) {
    guard let token else { return }
    BackendTokenPointer(token).complete(error: error)
}

@implementation @_cdecl("unbind_backend_report_fault")
public func unbind_backend_report_fault(
    _ handle: OpaquePointer!, _ fault: UnsafePointer<unbind_backend_fault>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        guard let fault else { throw Status.invalid }
        let read = try read(fault, zero: unbind_backend_fault())
        guard let kind = FaultKind(rawValue: read.kind), let access = FaultAccess(rawValue: read.access) else {
            throw Status.invalid
        }
        try device.report(
            BackendFault(
                kind: kind, access: access, commandIndex: read.command_index, vmID: read.vm_id, address: read.address,
                token: read.token.map { BackendTokenPointer($0) }))
    }
}

@implementation @_cdecl("unbind_device_capabilities")
public func unbind_device_capabilities(_ handle: OpaquePointer!) -> UInt64 {
    guard let device: DevicePointer = try? object(handle) else { return 0 }
    return device.capabilities
}
