// XeOperations: the vtable of the xe backend, whose functions turn C arguments into the backend's methods.

import CUnbind

extension UnsafeMutablePointer where Pointee == XeBackend {
    /// What the device is opened with; the context is the backend.
    var operations: unbind_backend_ops {
        var operations = unbind_backend_ops()
        operations.struct_size = UInt32(MemoryLayout<unbind_backend_ops>.size)
        operations.max_ranges = UInt32(XeSpace.mostRanges)
        operations.capabilities =
            UNBIND_CAP_EXPLICIT_UNBIND | UNBIND_CAP_PARTIAL_UNBIND | UNBIND_CAP_ALIASING | UNBIND_CAP_NULL_MAPPINGS
            | UNBIND_CAP_READ_ONLY | UNBIND_CAP_USER_MEMORY | UNBIND_CAP_ASYNC_UPDATES
        if pointee.configuration.local.placement != 0 { operations.capabilities |= UNBIND_CAP_LOCAL_MEMORY }
        operations.page_sizes = UNBIND_PAGE_SIZE_4K | UNBIND_PAGE_SIZE_64K | UNBIND_PAGE_SIZE_2M
        operations.address_limit = pointee.addressLimit
        operations.destroy = xeDestroy
        operations.bo_create = xeBufferCreate
        operations.bo_wrap = xeBufferWrap
        operations.bo_destroy = xeBufferDestroy
        operations.vm_create = xeSpaceCreate
        operations.vm_destroy = xeSpaceDestroy
        operations.update = xeUpdate
        return operations
    }
}

private func backend(_ context: UnsafeMutableRawPointer?) -> XeBackendPointer {
    context!.assumingMemoryBound(to: XeBackend.self)
}

private func xeDestroy(_ context: UnsafeMutableRawPointer?) { backend(context).free() }

private func xeBufferCreate(
    _ context: UnsafeMutableRawPointer?, _ size: UInt64, _ region: UInt32,
    _ outBuffer: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
    _ outCPU: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        let buffer = try backend(context).makeBuffer(size: size, isLocal: region == UNBIND_REGION_LOCAL)
        outBuffer!.pointee = UnsafeMutableRawPointer(buffer)
        outCPU!.pointee = buffer.pointee.cpu
    }
}

private func xeBufferWrap(
    _ context: UnsafeMutableRawPointer?, _ memory: UnsafeMutableRawPointer?, _ size: UInt64,
    _ outBuffer: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        outBuffer!.pointee = UnsafeMutableRawPointer(try backend(context).wrapBuffer(memory!, size: size))
    }
}

private func xeBufferDestroy(_ context: UnsafeMutableRawPointer?, _ buffer: UnsafeMutableRawPointer?) {
    backend(context).destroyBuffer(buffer!.assumingMemoryBound(to: XeBuffer.self))
}

private func xeSpaceCreate(
    _ context: UnsafeMutableRawPointer?, _ id: UInt64, _ size: UInt64, _ pageSizes: UInt64, _ flags: UInt32,
    _ outSpace: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        outSpace!.pointee = UnsafeMutableRawPointer(try backend(context).makeSpace())
    }
}

private func xeSpaceDestroy(_ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?) {
    space!.assumingMemoryBound(to: XeSpace.self).free()
}

private func xeUpdate(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
    _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ token: OpaquePointer?
) -> Int32 {
    let completion = PointCompletion(context: UnsafeMutableRawPointer(token!), function: completeToken)
    do throws(Status) {
        try space!.assumingMemoryBound(to: XeSpace.self).update(ranges!, count: Int(count), completion: completion)
        return UNBIND_BACKEND_PENDING
    } catch {
        return error.raw
    }
}

/// What the SyncobjWaiter calls.
func completeToken(_ token: UnsafeMutableRawPointer, _ error: Int32) {
    unbind_backend_complete(OpaquePointer(token), error)
}
