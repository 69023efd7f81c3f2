// XeBuffer: memory that the GPU can be shown: an object of the kernel's, which the CPU has mapped, or memory of the
// program's (userptr), of which the kernel learns only when it is bound.
//
// Objects in system memory are cached by the CPU and always bound coherent; those in local memory are not cached.
// The kernel keeps the pages of what is still mapped somewhere, so that a buffer can be destroyed at any time.

import CLibDRM
import CSystem

struct XeBuffer: BitwiseCopyable {
    /// First: a pointer to it is one to the buffer. Its handle is 0 and it on no list, if this is the program's own
    /// memory.
    var entry: HandleEntry
    let size: UInt64
    let cpu: UnsafeMutableRawPointer
    /// The CPU caches it, or it came from elsewhere, where that may be so.
    let isCached: Bool

    var handle: UInt32 { entry.handle }
}

typealias XeBufferPointer = UnsafeMutablePointer<XeBuffer>

extension UnsafeMutablePointer where Pointee == XeBuffer {
    fileprivate var entry: HandleEntryPointer {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: HandleEntry.self)
    }
}

extension UnsafeMutablePointer where Pointee == XeBackend {
    /// - Failure: unsupported: the GPU has no local memory; invalid: not a multiple of its pages; noMemory.
    func makeBuffer(size: UInt64, isLocal: Bool) throws(Status) -> XeBufferPointer {
        let region = isLocal ? pointee.configuration.local : pointee.configuration.system
        guard region.placement != 0 else { throw Status.unsupported }
        guard size != 0, isAligned(size, to: region.pageSize) else { throw Status.invalid }
        guard let buffer = pointee.memory.allocateApart(of: XeBuffer.self) else { throw Status.noMemory }
        do throws(Status) {
            let handle = try makeObject(size: size, region: region, isLocal: isLocal)
            do throws(Status) {
                let cpu = try mapObject(handle, size: size)
                buffer.initialize(
                    to: XeBuffer(entry: HandleEntry(handle), size: size, cpu: cpu, isCached: !isLocal))
            } catch {
                pointee.node.closeBuffer(handle)
                throw error
            }
        } catch {
            pointee.memory.deallocateApart(buffer)
            // No room in local memory.
            throw error == .noSpace ? Status.noMemory : error
        }
        pointee.handles.add(buffer.entry)
        return buffer
    }

    /// The program's memory, where it is.
    func wrapBuffer(_ address: UnsafeMutableRawPointer, size: UInt64) throws(Status) -> XeBufferPointer {
        guard let buffer = pointee.memory.allocateApart(of: XeBuffer.self) else { throw Status.noMemory }
        buffer.initialize(to: XeBuffer(entry: HandleEntry(0), size: size, cpu: address, isCached: true))
        return buffer
    }

    /// May be called with locks held, but none of the kernel's waits.
    func destroyBuffer(_ buffer: XeBufferPointer) {
        if buffer.pointee.handle != 0 {
            if !pointee.handles.drop(buffer.entry) { return }
            DRMNode.unmap(buffer.pointee.cpu, size: buffer.pointee.size)
        }
        pointee.memory.deallocateApart(buffer)
    }

    // MARK: dma-bufs

    /// - Failure: unsupported: the program's own memory.
    func exportBuffer(_ buffer: XeBufferPointer) throws(Status) -> Int32 {
        if buffer.pointee.handle == 0 { throw Status.unsupported }
        return try pointee.node.exportBuffer(buffer.pointee.handle)
    }

    /// What a dma-buf stands for; a buffer of the node's own is itself, with one more user.
    func importBuffer(_ descriptor: Int32) throws(Status) -> XeBufferPointer {
        let memory = pointee.memory
        let size = DRMNode.bufferSize(descriptor)
        let entry = try pointee.handles.add(dmaBuf: descriptor) { handle throws(Status) in
            guard size > 0, isAligned(size, to: pageSize) else { throw Status.invalid }
            guard let buffer = memory.allocateApart(of: XeBuffer.self) else { throw Status.noMemory }
            do throws(Status) {
                // Through the dma-buf: whose memory it is knows how to map it.
                let cpu = try DRMNode(file: descriptor, isOwned: false).map(offset: 0, size: size)
                buffer.initialize(to: XeBuffer(entry: HandleEntry(handle), size: size, cpu: cpu, isCached: true))
            } catch {
                memory.deallocateApart(buffer)
                throw error
            }
            return buffer.entry
        }
        return UnsafeMutableRawPointer(entry).assumingMemoryBound(to: XeBuffer.self)
    }

    // MARK: Objects of the kernel's

    private func makeObject(size: UInt64, region: XeRegion, isLocal: Bool) throws(Status) -> UInt32 {
        var create = unbind_drm_xe_gem_create()
        create.size = size
        create.placement = region.placement
        let caching = isLocal ? UNBIND_DRM_XE_GEM_CPU_CACHING_WC : UNBIND_DRM_XE_GEM_CPU_CACHING_WB
        create.cpu_caching = UInt16(caching)
        // The CPU has to see it.
        if region.visibleSize < region.size, isLocal {
            create.flags = UNBIND_DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM
        }
        try pointee.node.call(UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create)
        // Some incomplete drivers take every request for a success.
        guard create.handle != 0 else { throw Status(raw: -EIO) }
        return create.handle
    }

    private func mapObject(_ handle: UInt32, size: UInt64) throws(Status) -> UnsafeMutableRawPointer {
        var request = unbind_drm_xe_gem_mmap_offset()
        request.handle = handle
        try pointee.node.call(UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET, &request)
        return try pointee.node.map(offset: request.offset, size: size)
    }
}
