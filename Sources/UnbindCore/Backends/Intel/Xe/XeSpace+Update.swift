// XeSpace: mapping and unmapping, one VM_BIND for all ranges of an update. Never waits; what was begun ends when the
// queue's timeline reaches its point.

import CLibDRM
import CSystem
import CUnbind
import Synchronization

extension UnsafeMutablePointer where Pointee == XeSpace {
    /// All maps or all unmaps. True: there was nothing to do, as the space is dead. Else the completion follows; before
    /// it can, `taken` is told the timeline, whose next point it is.
    /// - Failure: again: more than the kernel or the timeline takes just now; ENOBUFS: too many ranges; lost: a map in
    ///   a dead space; others as the kernel has them. Nothing has changed then.
    func update(
        _ ranges: UnsafePointer<unbind_backend_range>, count: Int, completion: PointCompletion,
        taken: (KernelTimelinePointer) -> Void
    ) throws(Status) -> Bool {
        guard count > 0, count <= XeSpace.mostRanges else { throw Status(raw: -ENOBUFS) }
        let isUnmap = ranges[0].op == UNBIND_BACKEND_UNMAP
        if isUnmap, isDead { return true }
        let queue = isUnmap ? pointee.unmaps : pointee.maps
        try queue.timeline.reserve(growing: !isUnmap)
        for index in 0..<count { (pointee.operations + index).initialize(to: operation(ranges[index])) }
        do throws(Status) {
            try begin(count, on: queue, completion: completion, taken: taken)
        } catch {
            if isUnmap, isDead { return true }
            throw error
        }
        return false
    }

    var isDead: Bool { pointee.isDead.load(ordering: .relaxed) }

    /// Unmaps all that the space has of two buffers. The completion follows.
    /// - Failure: as of update.
    func unmapAll(
        _ first: XeBufferPointer, _ second: XeBufferPointer, completion: PointCompletion
    ) throws(Status) {
        try pointee.unmaps.timeline.reserve(growing: false)
        pointee.operations.initialize(to: unmapAll(first))
        (pointee.operations + 1).initialize(to: unmapAll(second))
        try begin(2, on: pointee.unmaps, completion: completion) { _ in }
    }

    private func begin(
        _ count: Int, on queue: XeBindQueue, completion: PointCompletion, taken: (KernelTimelinePointer) -> Void
    ) throws(Status) {
        try bind(pointee.operations, count: count, on: queue.id, after: .none, signalling: queue.outFence)
        taken(queue.timeline)
        queue.fences?.expect(queue.timeline.nextPoint)
        // Last: once it is told, which may be at once, the space may be gone.
        queue.timeline.watch(completion)
    }

    /// Hands operations to a bind queue (0: the space's default one).
    /// - Parameter isLast: nobody would come back.
    /// - Failure: again: what is to be changed is still being bound; lost: the space is dead, which the kernel may say
    ///   of an unmap; others as the kernel has them.
    func bind(
        _ operations: UnsafePointer<unbind_drm_xe_vm_bind_op>, count: Int, on queue: UInt32,
        after waits: UnsafeBufferPointer<KernelWait>, signalling outFence: unbind_drm_xe_sync?, isLast: Bool = false
    ) throws(Status) {
        if isDead { throw Status.lost }
        let kind: DRMNode.Request = !pointee.isLongRunning ? .submission : isLast ? .ending : .binding
        var syncs = InlineArray<5, unbind_drm_xe_sync>(repeating: unbind_drm_xe_sync())
        invariant(waits.count < syncs.count, "binds await more than a call has room for")
        for index in 0..<waits.count { syncs[index] = .wait(waits[index]) }
        var syncCount = waits.count
        if let outFence {
            syncs[syncCount] = outFence
            syncCount += 1
        }
        var status = Status(raw: 0)
        syncs.span.withUnsafeBufferPointer { syncs in
            var request = unbind_drm_xe_vm_bind()
            request.vm_id = pointee.id
            request.exec_queue_id = queue
            request.num_binds = UInt32(count)
            if count == 1 {
                request.bind = operations[0]
            } else {
                request.vector_of_binds = UInt64(UInt(bitPattern: operations))
            }
            request.num_syncs = UInt32(syncCount)
            if syncCount > 0 { request.syncs = UInt64(UInt(bitPattern: syncs.baseAddress!)) }
            do throws(Status) {
                try pointee.backend.pointee.node.call(UNBIND_DRM_IOCTL_XE_VM_BIND, &request, as: kind)
            } catch {
                status = error
            }
        }
        if status == .busy, pointee.isLongRunning { throw Status.again }
        // An unmap names nothing that could be missing but the space.
        if status == .closed, operations[0].op == UNBIND_DRM_XE_VM_BIND_OP_UNMAP {
            pointee.isDead.store(true, ordering: .relaxed)
            throw Status.lost
        }
        if status.raw != 0 { throw status }
    }

    /// For what is in the space by the backend's own doing: all that shows the buffer there is meant.
    func unmapAll(_ buffer: XeBufferPointer) -> unbind_drm_xe_vm_bind_op {
        var operation = unbind_drm_xe_vm_bind_op()
        operation.op = UNBIND_DRM_XE_VM_BIND_OP_UNMAP_ALL
        operation.obj = buffer.pointee.handle
        // It has no meaning here, but has to fit the object.
        operation.pat_index = pointee.backend.pointee.configuration.pageAttributes.coherent
        return operation
    }

    func operation(_ range: unbind_backend_range) -> unbind_drm_xe_vm_bind_op {
        var operation = unbind_drm_xe_vm_bind_op()
        operation.addr = range.address
        operation.range = range.size
        // An index that every platform has, and that is looked at in unmaps, too.
        operation.pat_index = 0
        if range.op == UNBIND_BACKEND_UNMAP {
            operation.op = UNBIND_DRM_XE_VM_BIND_OP_UNMAP
            return operation
        }
        if range.flags & UNBIND_BACKEND_READ_ONLY != 0 { operation.flags |= UNBIND_DRM_XE_VM_BIND_FLAG_READONLY }
        if range.flags & UNBIND_BACKEND_CAPTURE != 0 { operation.flags |= UNBIND_DRM_XE_VM_BIND_FLAG_DUMPABLE }
        operation.op = UNBIND_DRM_XE_VM_BIND_OP_MAP
        if range.op == UNBIND_BACKEND_MAP_NULL {
            operation.flags |= UNBIND_DRM_XE_VM_BIND_FLAG_NULL
            return operation
        }
        let buffer = range.bo.assumingMemoryBound(to: XeBuffer.self)
        let attributes = pointee.backend.pointee.configuration.pageAttributes
        operation.pat_index =
            buffer.pointee.isCached ? attributes.coherent : attributes.index(forCacheLevel: range.cache_level)
        if buffer.pointee.handle == 0 {
            operation.op = UNBIND_DRM_XE_VM_BIND_OP_MAP_USERPTR
            operation.userptr = UInt64(UInt(bitPattern: buffer.pointee.cpu)) &+ range.offset
        } else {
            operation.obj = buffer.pointee.handle
            operation.obj_offset = range.offset
        }
        return operation
    }
}

extension UnsafeBufferPointer where Element == KernelWait {
    static var none: UnsafeBufferPointer<KernelWait> { UnsafeBufferPointer(start: nil, count: 0) }
}

extension XeBindQueue {
    /// Of the timeline's next point.
    var outFence: unbind_drm_xe_sync {
        guard let fences else { return .signal(timeline, point: timeline.nextPoint) }
        return .write(timeline.nextPoint, at: UInt64(UInt(bitPattern: fences.word)))
    }
}

extension unbind_drm_xe_sync {
    /// A user fence: an address of the process for a VM_BIND, of the space for an EXEC.
    static func write(_ value: UInt64, at address: UInt64) -> unbind_drm_xe_sync {
        var sync = unbind_drm_xe_sync()
        sync.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE
        sync.flags = UNBIND_DRM_XE_SYNC_FLAG_SIGNAL
        sync.addr = address
        sync.timeline_value = value
        return sync
    }

    /// The kernel signals the point.
    static func signal(_ timeline: KernelTimelinePointer, point: UInt64) -> unbind_drm_xe_sync {
        var sync = wait(KernelWait(syncobj: timeline.pointee.syncobj, point: point))
        sync.flags = UNBIND_DRM_XE_SYNC_FLAG_SIGNAL
        return sync
    }

    /// The kernel awaits the point, which has its fence already.
    static func wait(_ wait: KernelWait) -> unbind_drm_xe_sync {
        var sync = unbind_drm_xe_sync()
        sync.type = UNBIND_DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ
        sync.handle = wait.syncobj.handle
        sync.timeline_value = wait.point
        return sync
    }
}
