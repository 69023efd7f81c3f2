// XeOperations: the vtable of the xe backend, whose functions turn C arguments into the backend's methods.

import CUnbind

extension UnsafeMutablePointer where Pointee == XeBackend {
    /// What the device is opened with.
    var description: BackendDescription {
        var flags: UInt32 = 0
        if pointee.options.usesScratch { flags |= UNBIND_INTEL_INFO_SCRATCH }
        if pointee.supportsLongRunning { flags |= UNBIND_INTEL_INFO_LONG_RUNNING }
        if pointee.supportsFaultMode { flags |= UNBIND_INTEL_INFO_FAULT_MODE }
        var link = KernelLink(
            gpu: pointee.gpu, waiter: pointee.waiter, flags: flags, exportBuffer: xeBufferExport,
            importBuffer: xeBufferImport, submit: xeSubmitAfter)
        link.fetch = xeFetch
        link.localPageSize = pointee.configuration.local.pageSize
        // Else it has no fence for what it has taken.
        if !pointee.options.isLongRunning {
            link.update = xeUpdateTelling
            link.unmap = xeUnmapAfter
            link.awaitUnmap = xeAwaitUnmap
        }
        return BackendDescription(ops: operations, context: UnsafeMutableRawPointer(self), link: link)
    }

    private var operations: unbind_backend_ops {
        var operations = unbind_backend_ops()
        operations.struct_size = UInt32(MemoryLayout<unbind_backend_ops>.size)
        operations.max_ranges = UInt32(XeSpace.mostRanges)
        operations.capabilities =
            Capability.explicitUnbind | Capability.partialUnbind | Capability.aliasing | Capability.nullMappings
            | Capability.readOnly | Capability.userMemory | Capability.asyncUpdates | Capability.batchBuffers
        if pointee.configuration.local.placement != 0 { operations.capabilities |= Capability.localMemory }
        operations.page_sizes = PageSize.small | PageSize.medium | PageSize.large
        operations.address_limit = pointee.addressLimit
        operations.destroy = xeDestroy
        operations.bo_create = xeBufferCreate
        operations.bo_wrap = xeBufferWrap
        operations.bo_destroy = xeBufferDestroy
        operations.vm_create = xeSpaceCreate
        operations.vm_destroy = xeSpaceDestroy
        operations.update = xeUpdate
        operations.queue_create = xeQueueCreate
        operations.queue_destroy = xeQueueDestroy
        operations.submit = xeSubmit
        if pointee.configuration.jobEngine(.copy) != nil { operations.copy = xeCopy }
        return operations
    }
}

private func backend(_ context: UnsafeMutableRawPointer?) -> XeBackendPointer {
    context!.assumingMemoryBound(to: XeBackend.self)
}

/// The memory has been the backend's alone.
private func xeDestroy(_ context: UnsafeMutableRawPointer?) {
    let memory = backend(context).pointee.memory
    backend(context).free()
    OpeningDevice.free(memory)
}

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

private func xeBufferExport(_ context: UnsafeMutableRawPointer?, _ buffer: UnsafeMutableRawPointer?) -> Int32 {
    do throws(Status) {
        return try backend(context).exportBuffer(buffer!.assumingMemoryBound(to: XeBuffer.self))
    } catch {
        return error.raw
    }
}

private func xeBufferImport(
    _ context: UnsafeMutableRawPointer?, _ descriptor: Int32,
    _ outBuffer: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
    _ outCPU: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ outSize: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    cStatus { () throws(Status) in
        let buffer = try backend(context).importBuffer(descriptor)
        outBuffer!.pointee = UnsafeMutableRawPointer(buffer)
        outCPU!.pointee = buffer.pointee.cpu
        outSize!.pointee = buffer.pointee.size
    }
}

private func xeSpaceCreate(
    _ context: UnsafeMutableRawPointer?, _ id: UInt64, _ size: UInt64, _ pageSizes: UInt64, _ flags: UInt32,
    _ outSpace: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        let backend = backend(context)
        let space = try backend.makeSpace(isLongRunning: backend.pointee.options.isLongRunning)
        outSpace!.pointee = UnsafeMutableRawPointer(space)
    }
}

private func xeSpaceDestroy(_ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?) {
    space!.assumingMemoryBound(to: XeSpace.self).free()
}

private func xeUpdate(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
    _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ token: OpaquePointer?
) -> Int32 {
    xeUpdateTelling(context, space, ranges, count, nil, nil, token)
}

private func xeUpdateTelling(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
    _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ taken: KernelLink.Taken?,
    _ takenContext: UnsafeMutableRawPointer?, _ token: OpaquePointer?
) -> Int32 {
    let completion = PointCompletion(context: UnsafeMutableRawPointer(token!), function: completeToken)
    do throws(Status) {
        let space = space!.assumingMemoryBound(to: XeSpace.self)
        let isDone = try space.update(ranges!, count: Int(count), completion: completion) { timeline in
            taken?(takenContext, UnsafeMutableRawPointer(timeline), timeline.nextPoint)
        }
        return isDone ? 0 : UNBIND_BACKEND_PENDING
    } catch {
        return error.raw
    }
}

private func xeUnmapAfter(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
    _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ waits: UnsafeRawPointer?, _ waitCount: UInt32,
    _ outPlace: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    let waits = UnsafeBufferPointer(start: waits?.assumingMemoryBound(to: KernelWait.self), count: Int(waitCount))
    return cStatus { () throws(Status) in
        let space = space!.assumingMemoryBound(to: XeSpace.self)
        outPlace!.pointee = try space.unmap(ranges!, count: Int(count), after: waits)
    }
}

private func xeAwaitUnmap(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?, _ place: UInt64, _ token: OpaquePointer?
) -> Int32 {
    let completion = PointCompletion(context: UnsafeMutableRawPointer(token!), function: completeToken)
    do throws(Status) {
        try space!.assumingMemoryBound(to: XeSpace.self).awaitUnmap(place, completion: completion)
        return UNBIND_BACKEND_PENDING
    } catch {
        return error.raw
    }
}

private func xeFetch(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
    _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ region: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let space = space!.assumingMemoryBound(to: XeSpace.self)
        try space.fetch(ranges!, count: Int(count), isLocal: region == UNBIND_REGION_LOCAL)
    }
}

private func xeQueueCreate(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?, _ flags: UInt32,
    _ outQueue: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        let space = space!.assumingMemoryBound(to: XeSpace.self)
        outQueue!.pointee = UnsafeMutableRawPointer(try space.makeQueue(flags))
    }
}

private func xeQueueDestroy(_ context: UnsafeMutableRawPointer?, _ queue: UnsafeMutableRawPointer?) {
    queue!.assumingMemoryBound(to: XeQueue.self).free()
}

private func xeSubmit(
    _ context: UnsafeMutableRawPointer?, _ queue: UnsafeMutableRawPointer?,
    _ commands: UnsafePointer<unbind_command>?, _ count: UInt32, _ token: OpaquePointer?
) -> Int32 {
    xeSubmitAfter(context, queue, commands, count, nil, 0, nil, token)
}

private func xeSubmitAfter(
    _ context: UnsafeMutableRawPointer?, _ queue: UnsafeMutableRawPointer?,
    _ commands: UnsafePointer<unbind_command>?, _ count: UInt32, _ waits: UnsafeRawPointer?, _ waitCount: UInt32,
    _ place: UnsafeMutableRawPointer?, _ token: OpaquePointer?
) -> Int32 {
    let completion = PointCompletion(context: UnsafeMutableRawPointer(token!), function: completeToken)
    let waits = UnsafeBufferPointer(start: waits?.assumingMemoryBound(to: KernelWait.self), count: Int(waitCount))
    do throws(Status) {
        let queue = queue!.assumingMemoryBound(to: XeQueue.self)
        try queue.submit(
            commands, count: Int(count), after: waits, place: place?.assumingMemoryBound(to: KernelPoint.self),
            completion: completion)
        return UNBIND_BACKEND_PENDING
    } catch {
        return error.raw
    }
}

/// What the SyncobjWaiter calls.
func completeToken(_ token: UnsafeMutableRawPointer, _ error: Int32) {
    unbind_backend_complete(OpaquePointer(token), error)
}
