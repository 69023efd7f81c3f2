// I915Operations: the vtable of the i915 backend, whose functions turn C arguments into the backend's methods.

import CUnbind

extension UnsafeMutablePointer where Pointee == I915Backend {
    /// What the device is opened with.
    var description: BackendDescription {
        let link = KernelLink(
            gpu: pointee.gpu, waiter: pointee.waiter, flags: UNBIND_INTEL_INFO_SCRATCH, exportBuffer: i915BufferExport,
            importBuffer: i915BufferImport, declare: i915Declare)
        return BackendDescription(ops: operations, context: UnsafeMutableRawPointer(self), link: link)
    }

    private var operations: unbind_backend_ops {
        let configuration = pointee.configuration
        var operations = unbind_backend_ops()
        operations.struct_size = UInt32(MemoryLayout<unbind_backend_ops>.size)
        operations.max_ranges = UInt32(I915Backend.dummyCount)
        operations.capabilities = Capability.userMemory | Capability.batchBuffers
        if !pointee.options.unbindsLazily { operations.capabilities |= Capability.explicitUnbind }
        if configuration.local.size > 0 { operations.capabilities |= Capability.localMemory }
        operations.page_sizes = PageSize.all
        operations.address_limit = pointee.addressLimit
        operations.destroy = i915Destroy
        operations.bo_create = i915BufferCreate
        operations.bo_wrap = i915BufferWrap
        operations.bo_destroy = i915BufferDestroy
        operations.vm_create = i915SpaceCreate
        operations.vm_destroy = i915SpaceDestroy
        operations.update = i915Update
        operations.queue_create = i915QueueCreate
        operations.queue_destroy = i915QueueDestroy
        operations.submit = i915Submit
        if configuration.engine(.copy) != nil { operations.copy = i915Copy }
        return operations
    }
}

private func backend(_ context: UnsafeMutableRawPointer?) -> I915BackendPointer {
    context!.assumingMemoryBound(to: I915Backend.self)
}

/// The memory has been the backend's alone.
private func i915Destroy(_ context: UnsafeMutableRawPointer?) {
    let memory = backend(context).pointee.memory
    backend(context).free()
    OpeningDevice.free(memory)
}

private func i915BufferCreate(
    _ context: UnsafeMutableRawPointer?, _ size: UInt64, _ region: UInt32,
    _ outBuffer: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
    _ outCPU: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        let buffer = try backend(context).buffers.make(size: size, isLocal: region == UNBIND_REGION_LOCAL)
        outBuffer!.pointee = UnsafeMutableRawPointer(buffer)
        outCPU!.pointee = buffer.pointee.cpu
    }
}

private func i915BufferWrap(
    _ context: UnsafeMutableRawPointer?, _ memory: UnsafeMutableRawPointer?, _ size: UInt64,
    _ outBuffer: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        outBuffer!.pointee = UnsafeMutableRawPointer(try backend(context).buffers.wrap(memory!, size: size))
    }
}

private func i915BufferDestroy(_ context: UnsafeMutableRawPointer?, _ buffer: UnsafeMutableRawPointer?) {
    backend(context).buffers.destroy(buffer!.assumingMemoryBound(to: I915Buffer.self))
}

private func i915BufferExport(_ context: UnsafeMutableRawPointer?, _ buffer: UnsafeMutableRawPointer?) -> Int32 {
    do throws(Status) {
        return try backend(context).buffers.export(buffer!.assumingMemoryBound(to: I915Buffer.self))
    } catch {
        return error.raw
    }
}

private func i915BufferImport(
    _ context: UnsafeMutableRawPointer?, _ descriptor: Int32,
    _ outBuffer: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
    _ outCPU: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ outSize: UnsafeMutablePointer<UInt64>?
) -> Int32 {
    cStatus { () throws(Status) in
        let buffer = try backend(context).buffers.importBuffer(descriptor)
        outBuffer!.pointee = UnsafeMutableRawPointer(buffer)
        outCPU!.pointee = buffer.pointee.cpu
        outSize!.pointee = buffer.pointee.size
    }
}

private func i915SpaceCreate(
    _ context: UnsafeMutableRawPointer?, _ id: UInt64, _ size: UInt64, _ pageSizes: UInt64, _ flags: UInt32,
    _ outSpace: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        outSpace!.pointee = UnsafeMutableRawPointer(try backend(context).makeSpace())
    }
}

private func i915SpaceDestroy(_ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?) {
    space!.assumingMemoryBound(to: I915Space.self).free()
}

private func i915Update(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
    _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ token: OpaquePointer?
) -> Int32 {
    let completion = PointCompletion(context: UnsafeMutableRawPointer(token!), function: completeToken)
    do throws(Status) {
        let space = space!.assumingMemoryBound(to: I915Space.self)
        return try space.update(ranges!, count: Int(count), completion: completion) ? 0 : UNBIND_BACKEND_PENDING
    } catch {
        return error.raw
    }
}

private func i915QueueCreate(
    _ context: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?, _ flags: UInt32,
    _ outQueue: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> Int32 {
    cStatus { () throws(Status) in
        let space = space!.assumingMemoryBound(to: I915Space.self)
        outQueue!.pointee = UnsafeMutableRawPointer(try space.makeQueue(flags))
    }
}

private func i915QueueDestroy(_ context: UnsafeMutableRawPointer?, _ queue: UnsafeMutableRawPointer?) {
    queue!.assumingMemoryBound(to: I915Queue.self).free()
}

private func i915Declare(
    _ context: UnsafeMutableRawPointer?, _ queue: UnsafeMutableRawPointer?, _ uses: UnsafeRawPointer?, _ count: UInt32
) {
    let uses = UnsafeBufferPointer(start: uses?.assumingMemoryBound(to: JobUse.self), count: Int(count))
    queue!.assumingMemoryBound(to: I915Queue.self).pointee.uses = uses
}

private func i915Submit(
    _ context: UnsafeMutableRawPointer?, _ queue: UnsafeMutableRawPointer?,
    _ commands: UnsafePointer<unbind_command>?, _ count: UInt32, _ token: OpaquePointer?
) -> Int32 {
    let completion = PointCompletion(context: UnsafeMutableRawPointer(token!), function: completeToken)
    do throws(Status) {
        let queue = queue!.assumingMemoryBound(to: I915Queue.self)
        try queue.submit(commands, count: Int(count), completion: completion)
        return UNBIND_BACKEND_PENDING
    } catch {
        return error.raw
    }
}
