// XeBuffer: memory that the GPU can be shown: an object of the kernel's, which the CPU has mapped, or memory of the
// program's (userptr), of which the kernel learns only when it is bound.
//
// Objects in system memory are cached by the CPU and always bound coherent; those in local memory are not cached.
// The kernel keeps the pages of what is still mapped somewhere, so that a buffer can be destroyed at any time.
//
// The kernel has one handle for an object in a file, however often it is imported, and closes it at the first word. So
// there is one XeBuffer for a handle, which counts its users.
//
// - Locking: the backend's `bufferLock` (LockRank.kernelWaits) guards the list and the counts, and is held while a
//   handle comes or goes, so that no import is given one that is being closed.

import CLibDRM
import CSystem

struct XeBuffer {
    let size: UInt64
    /// 0: the program's own memory, and on no list.
    let handle: UInt32
    let cpu: UnsafeMutableRawPointer
    /// The CPU caches it, or it came from elsewhere, where that may be so.
    let isCached: Bool
    // Under the lock.
    var users = 1
    var next: XeBufferPointer?
    var previous: XeBufferPointer?
}

typealias XeBufferPointer = UnsafeMutablePointer<XeBuffer>

extension UnsafeMutablePointer where Pointee == XeBackend {
    /// - Failure: unsupported: the GPU has no local memory; invalid: not a multiple of its pages; noMemory.
    func makeBuffer(size: UInt64, isLocal: Bool) throws(Status) -> XeBufferPointer {
        let region = isLocal ? pointee.configuration.local : pointee.configuration.system
        guard region.placement != 0 else { throw Status.unsupported }
        guard size != 0, isAligned(size, to: region.pageSize) else { throw Status.invalid }
        guard let buffer = pointee.memory.allocateArray(of: XeBuffer.self, count: 1) else { throw Status.noMemory }
        do throws(Status) {
            let handle = try makeObject(size: size, region: region, isLocal: isLocal)
            do throws(Status) {
                let cpu = try mapObject(handle, size: size)
                buffer.initialize(to: XeBuffer(size: size, handle: handle, cpu: cpu, isCached: !isLocal))
            } catch {
                pointee.node.closeBuffer(handle)
                throw error
            }
        } catch {
            pointee.memory.deallocateArray(buffer, count: 1)
            // No room in local memory.
            throw error == .noSpace ? Status.noMemory : error
        }
        pointee.bufferLock.acquire()
        list(buffer)
        pointee.bufferLock.release()
        return buffer
    }

    /// The program's memory, where it is.
    func wrapBuffer(_ address: UnsafeMutableRawPointer, size: UInt64) throws(Status) -> XeBufferPointer {
        guard let buffer = pointee.memory.allocateArray(of: XeBuffer.self, count: 1) else { throw Status.noMemory }
        buffer.initialize(to: XeBuffer(size: size, handle: 0, cpu: address, isCached: true))
        return buffer
    }

    /// May be called with locks held, but none of the kernel's waits.
    func destroyBuffer(_ buffer: XeBufferPointer) {
        let handle = buffer.pointee.handle
        if handle != 0 {
            pointee.bufferLock.acquire()
            buffer.pointee.users = buffer.pointee.users - 1
            let isLast = buffer.pointee.users == 0
            if isLast {
                unlist(buffer)
                pointee.node.closeBuffer(handle)
            }
            pointee.bufferLock.release()
            if !isLast { return }
            DRMNode.unmap(buffer.pointee.cpu, size: buffer.pointee.size)
        }
        pointee.memory.deallocateArray(buffer, count: 1)
    }

    // MARK: dma-bufs

    /// - Failure: unsupported: the program's own memory.
    func exportBuffer(_ buffer: XeBufferPointer) throws(Status) -> Int32 {
        if buffer.pointee.handle == 0 { throw Status.unsupported }
        return try pointee.node.exportBuffer(buffer.pointee.handle)
    }

    func importBuffer(_ descriptor: Int32) throws(Status) -> XeBufferPointer {
        let size = DRMNode.bufferSize(descriptor)
        guard let buffer = pointee.memory.allocateArray(of: XeBuffer.self, count: 1) else { throw Status.noMemory }
        pointee.bufferLock.acquire()
        do throws(Status) {
            let handle = try pointee.node.importBuffer(descriptor)
            if let known = findBuffer(handle) {
                known.pointee.users = known.pointee.users + 1
                pointee.bufferLock.release()
                pointee.memory.deallocateArray(buffer, count: 1)
                return known
            }
            do throws(Status) {
                guard size > 0, isAligned(size, to: pageSize) else { throw Status.invalid }
                // Through the dma-buf: whose memory it is knows how to map it.
                let cpu = try DRMNode(file: descriptor, isOwned: false).map(offset: 0, size: size)
                buffer.initialize(to: XeBuffer(size: size, handle: handle, cpu: cpu, isCached: true))
            } catch {
                pointee.node.closeBuffer(handle)
                throw error
            }
        } catch {
            pointee.bufferLock.release()
            pointee.memory.deallocateArray(buffer, count: 1)
            throw error
        }
        list(buffer)
        pointee.bufferLock.release()
        return buffer
    }

    // MARK: The list, under the lock

    private func list(_ buffer: XeBufferPointer) {
        buffer.pointee.next = pointee.firstBuffer
        pointee.firstBuffer?.pointee.previous = buffer
        pointee.firstBuffer = buffer
    }

    private func unlist(_ buffer: XeBufferPointer) {
        let (next, previous) = (buffer.pointee.next, buffer.pointee.previous)
        next?.pointee.previous = previous
        if let previous { previous.pointee.next = next } else { pointee.firstBuffer = next }
    }

    private func findBuffer(_ handle: UInt32) -> XeBufferPointer? {
        var next = pointee.firstBuffer
        while let buffer = next, buffer.pointee.handle != handle { next = buffer.pointee.next }
        return next
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
        return create.handle
    }

    private func mapObject(_ handle: UInt32, size: UInt64) throws(Status) -> UnsafeMutableRawPointer {
        var request = unbind_drm_xe_gem_mmap_offset()
        request.handle = handle
        try pointee.node.call(UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET, &request)
        return try pointee.node.map(offset: request.offset, size: size)
    }
}
