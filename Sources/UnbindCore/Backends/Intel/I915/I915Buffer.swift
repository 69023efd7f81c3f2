// I915Buffer: an object of the kernel's that the CPU has mapped, or memory of the program's (userptr).
//
// Objects in system memory are cached by the CPU where it shares a cache with the GPU, and mapped write-combining where
// not; on discrete GPUs the kernel decides. A handle may be closed at any time: the kernel keeps what its work uses.

import CLibDRM
import CSystem

struct I915Buffer: BitwiseCopyable {
    /// First: a pointer to it is one to the buffer.
    var entry: HandleEntry
    let size: UInt64
    let cpu: UnsafeMutableRawPointer
    let isUserMemory: Bool
    /// Of its place in an address space.
    let alignment: UInt64

    var handle: UInt32 { entry.handle }
}

typealias I915BufferPointer = UnsafeMutablePointer<I915Buffer>

extension UnsafeMutablePointer where Pointee == I915Buffer {
    var entry: HandleEntryPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: HandleEntry.self) }
}

struct I915BufferMaker {
    let handles: UnsafeMutablePointer<HandleList>
    let memory: UnsafeMutablePointer<Memory>
    let configuration: I915Configuration
    let log: HostLog

    private var node: DRMNode { handles.pointee.node }

    /// Zeroed memory.
    /// - Failure: unsupported: the GPU has no local memory; invalid: not a multiple of what local memory is given out
    ///   in, which the log tells; noMemory; what the kernel said.
    func make(size: UInt64, isLocal: Bool) throws(Status) -> I915BufferPointer {
        let alignment = isLocal ? configuration.localAlignment : pageSize
        if isLocal, configuration.local.size == 0 { throw Status.unsupported }
        guard size != 0, isAligned(size, to: alignment) else {
            log.error("i915: a buffer in local memory has to be a multiple of 2 MiB, so that it shares no page table")
            throw Status.invalid
        }
        guard let buffer = memory.allocateApart(of: I915Buffer.self) else { throw Status.noMemory }
        do throws(Status) {
            let handle = isLocal ? try makeLocalObject(size: size) : try makeObject(size: size)
            do throws(Status) {
                buffer.initialize(
                    to: I915Buffer(
                        entry: HandleEntry(handle), size: size, cpu: try map(handle, size: size),
                        isUserMemory: false, alignment: alignment))
            } catch {
                node.closeBuffer(handle)
                throw error
            }
        } catch {
            memory.deallocateApart(buffer)
            // More than there is at all.
            throw error == .tooBig || error == .noSpace ? Status.noMemory : error
        }
        handles.add(buffer.entry)
        return buffer
    }

    /// The program's memory, where it is.
    /// - Failure: unsupported: the GPU does not see what the CPU caches; fault: it is no plain memory.
    func wrap(_ address: UnsafeMutableRawPointer, size: UInt64) throws(Status) -> I915BufferPointer {
        guard let buffer = memory.allocateApart(of: I915Buffer.self) else { throw Status.noMemory }
        var request = unbind_drm_i915_gem_userptr()
        request.user_ptr = UInt64(UInt(bitPattern: address))
        request.user_size = size
        request.flags = configuration.probesUserMemory ? UNBIND_I915_USERPTR_PROBE : 0
        do throws(Status) {
            try node.call(UNBIND_DRM_IOCTL_I915_GEM_USERPTR, &request)
        } catch {
            memory.deallocateApart(buffer)
            throw error == .noDevice ? Status.unsupported : error
        }
        // Some incomplete drivers take every request for a success.
        guard request.handle != 0 else {
            memory.deallocateApart(buffer)
            throw Status(raw: -EIO)
        }
        buffer.initialize(
            to: I915Buffer(
                entry: HandleEntry(request.handle), size: size, cpu: address, isUserMemory: true,
                alignment: pageSize))
        handles.add(buffer.entry)
        return buffer
    }

    /// May be called with locks held, but none of the kernel's waits.
    func destroy(_ buffer: I915BufferPointer) {
        if !handles.drop(buffer.entry) { return }
        if !buffer.pointee.isUserMemory { DRMNode.unmap(buffer.pointee.cpu, size: buffer.pointee.size) }
        memory.deallocateApart(buffer)
    }

    /// As a dma-buf.
    /// - Failure: unsupported: the program's own memory.
    func export(_ buffer: I915BufferPointer) throws(Status) -> Int32 {
        if buffer.pointee.isUserMemory { throw Status.unsupported }
        return try node.exportBuffer(buffer.pointee.handle)
    }

    /// What a dma-buf stands for; a buffer of the node's own is itself, with one more user.
    func importBuffer(_ descriptor: Int32) throws(Status) -> I915BufferPointer {
        let size = DRMNode.bufferSize(descriptor)
        let entry = try handles.add(dmaBuf: descriptor) { handle throws(Status) in
            guard size > 0, isAligned(size, to: pageSize) else { throw Status.invalid }
            guard let buffer = memory.allocateApart(of: I915Buffer.self) else { throw Status.noMemory }
            do throws(Status) {
                // Through the dma-buf: whose memory it is knows how to map it.
                let cpu = try DRMNode(file: descriptor, isOwned: false).map(offset: 0, size: size)
                buffer.initialize(
                    to: I915Buffer(
                        entry: HandleEntry(handle), size: size, cpu: cpu, isUserMemory: false, alignment: pageSize))
            } catch {
                memory.deallocateApart(buffer)
                throw error
            }
            return buffer.entry
        }
        return UnsafeMutableRawPointer(entry).assumingMemoryBound(to: I915Buffer.self)
    }

    /// An object in system memory, which the CPU has not mapped.
    func makeObject(size: UInt64) throws(Status) -> UInt32 {
        var create = unbind_drm_i915_gem_create()
        create.size = size
        if !configuration.isDiscrete {
            try node.call(UNBIND_DRM_IOCTL_I915_GEM_CREATE, &create)
            guard create.handle != 0 else { throw Status(raw: -EIO) }
            return create.handle
        }
        return try makeObject(size: size, regions: [system, system], count: 1, flags: 0)
    }

    private var system: unbind_drm_i915_gem_memory_class_instance {
        unbind_drm_i915_gem_memory_class_instance(
            memory_class: UInt16(UNBIND_I915_MEMORY_CLASS_SYSTEM), memory_instance: 0)
    }

    /// The CPU has to see it. Where it does not see all of local memory, the kernel wants to be allowed to move it.
    private func makeLocalObject(size: UInt64) throws(Status) -> UInt32 {
        let local = unbind_drm_i915_gem_memory_class_instance(
            memory_class: UInt16(UNBIND_I915_MEMORY_CLASS_DEVICE), memory_instance: configuration.local.instance)
        let isPartlyVisible = configuration.local.isPartlyVisible
        return try makeObject(
            size: size, regions: [local, system], count: isPartlyVisible ? 2 : 1,
            flags: isPartlyVisible ? UNBIND_I915_GEM_CREATE_EXT_FLAG_NEEDS_CPU_ACCESS : 0)
    }

    private func makeObject(
        size: UInt64, regions: InlineArray<2, unbind_drm_i915_gem_memory_class_instance>, count: UInt32, flags: UInt32
    ) throws(Status) -> UInt32 {
        var regions = regions
        var create = unbind_drm_i915_gem_create_ext()
        create.size = size
        create.flags = flags
        var status = Status(raw: 0)
        withUnsafeMutablePointer(to: &regions) { regions in
            var placement = unbind_drm_i915_gem_create_ext_memory_regions()
            placement.base.name = UNBIND_I915_GEM_CREATE_EXT_MEMORY_REGIONS
            placement.num_regions = count
            placement.regions = UInt64(UInt(bitPattern: regions))
            withUnsafeMutablePointer(to: &placement) { placement in
                create.extensions = UInt64(UInt(bitPattern: placement))
                do throws(Status) {
                    try node.call(UNBIND_DRM_IOCTL_I915_GEM_CREATE_EXT, &create)
                } catch {
                    status = error
                }
            }
        }
        if status.raw != 0 { throw status }
        guard create.handle != 0 else { throw Status(raw: -EIO) }
        // Rounded up: it would need more room than it is given.
        if create.size != size {
            node.closeBuffer(create.handle)
            throw Status.invalid
        }
        return create.handle
    }

    private func map(_ handle: UInt32, size: UInt64) throws(Status) -> UnsafeMutableRawPointer {
        var request = unbind_drm_i915_gem_mmap_offset()
        request.handle = handle
        let flags =
            configuration.isDiscrete
            ? UNBIND_I915_MMAP_OFFSET_FIXED
            : configuration.hasSharedCache ? UNBIND_I915_MMAP_OFFSET_WB : UNBIND_I915_MMAP_OFFSET_WC
        request.flags = UInt64(flags)
        try node.call(UNBIND_DRM_IOCTL_I915_GEM_MMAP_OFFSET, &request)
        return try node.map(offset: request.offset, size: size)
    }
}
