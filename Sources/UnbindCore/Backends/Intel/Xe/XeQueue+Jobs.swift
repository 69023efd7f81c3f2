// XeQueue: carrying out a job: its commands become one batch, or several that follow each other when they do not fit.

import CLibDRM
import CSystem
import CUnbind

extension UnsafeMutablePointer where Pointee == XeQueue {
    /// Begins a job; the completion follows. The kernel awaits `waits` before anything runs. When it has taken the last
    /// batch, its point is published at `place`.
    /// - Failure: unsupported, invalid, tooBig: a command; again: the kernel takes no more just now; others as the
    ///   kernel has them. Nothing runs then.
    func submit(
        _ commands: UnsafePointer<unbind_command>?, count: Int, after waits: UnsafeBufferPointer<KernelWait>,
        place: KernelPointPointer?, completion: PointCompletion
    ) throws(Status) {
        pointee.stage.begin(commands, count: count)
        pointee.completion = completion
        pointee.place = place
        if pointee.isBound || pointee.fences == nil { return try runBatch(after: waits) }
        // Its place in the timeline's ring is free: nothing has been awaited yet.
        for index in 0..<waits.count { pointee.waits[index] = waits[index] }
        pointee.waitCount = waits.count
        let bound = PointCompletion(context: UnsafeMutableRawPointer(self), function: xeBufferBound)
        pointee.timeline.watch(bound, at: 1)
    }

    /// On the waiter's thread.
    fileprivate func bufferBound(error: Int32) {
        if error != 0 { return endJob(error: error) }
        pointee.isBound = true
        let waits = pointee.waits
        var status: Status?
        waits.span.withUnsafeBufferPointer { waits in
            do throws(Status) {
                try runBatch(after: UnsafeBufferPointer(rebasing: waits[0..<pointee.waitCount]))
            } catch {
                status = error
            }
        }
        if let status { endJob(error: status.raw) }
    }

    private func runBatch(after waits: UnsafeBufferPointer<KernelWait>) throws(Status) {
        if pointee.space.isDead { throw Status.lost }
        if pointee.isBanned { try replaceQueue() }
        try pointee.timeline.reserve(growing: false)
        _ = try pointee.stage.encode()
        try execute(after: waits)
        pointee.isBound = true
        if let fences = pointee.fences {
            fences.expect(pointee.timeline.nextPoint, of: pointee.id)
        } else if pointee.stage.isLastBatch {
            pointee.place?.publish(pointee.timeline, pointee.timeline.nextPoint)
        }
        // Last: once it is told, which may be at once, the queue may be gone.
        pointee.timeline.watch(PointCompletion(context: UnsafeMutableRawPointer(self), function: xeBatchEnded))
    }

    /// Hands the batch over, with the timeline's next point as out-fence.
    private func execute(after waits: UnsafeBufferPointer<KernelWait>) throws(Status) {
        let timeline = pointee.timeline
        var syncs = InlineArray<18, unbind_drm_xe_sync>(repeating: unbind_drm_xe_sync())
        invariant(waits.count + 2 <= syncs.count, "a batch awaits more than a call has room for")
        syncs[0] = outFence
        var count = 1
        if !pointee.isBound {
            syncs[count] = .wait(KernelWait(syncobj: timeline.pointee.syncobj, point: 1))
            count += 1
        }
        for wait in waits {
            syncs[count] = .wait(wait)
            count += 1
        }
        var request = unbind_drm_xe_exec()
        request.exec_queue_id = pointee.id
        request.num_syncs = UInt32(count)
        request.address = BatchWriter.canonical(pointee.stage.address &+ JobStage.batchOffset)
        request.num_batch_buffer = 1
        var status = Status(raw: 0)
        syncs.span.withUnsafeBufferPointer { syncs in
            request.syncs = UInt64(UInt(bitPattern: syncs.baseAddress!))
            do throws(Status) {
                try node.call(UNBIND_DRM_IOCTL_XE_EXEC, &request, as: .submission)
            } catch {
                status = error
            }
        }
        // Banned by what another batch did.
        if status.raw == -ECANCELED { pointee.isBanned = true }
        if status.raw != 0 { throw status.raw == -ECANCELED ? Status.lost : status }
    }

    /// Of the timeline's next point.
    private var outFence: unbind_drm_xe_sync {
        let point = pointee.timeline.nextPoint
        if pointee.fences == nil { return .signal(pointee.timeline, point: point) }
        return .write(point, at: BatchWriter.canonical(pointee.stage.address &+ JobStage.fenceOffset))
    }

    private var node: DRMNode { pointee.space.pointee.backend.pointee.node }

    private func replaceQueue() throws(Status) {
        let backend = pointee.space.pointee.backend
        let id = try makeXeQueue(
            node, space: pointee.space.pointee.id,
            engines: backend.pointee.configuration.engines(pointee.stage.engine.kind))
        destroyXeQueue(pointee.id, node)
        pointee.id = id
        pointee.isBanned = false
    }

    /// On the waiter's thread.
    fileprivate func batchEnded(error: Int32) {
        if error != 0 { return endJob(error: error) }
        if !pointee.stage.hasEnded {
            pointee.isBanned = true
            return endJob(error: Status.fault.raw)
        }
        if pointee.stage.finishBatch() { return endJob(error: 0) }
        do throws(Status) {
            try runBatch(after: .none)
        } catch {
            endJob(error: error.raw)
        }
    }

    /// The queue may be freed as soon as this is told.
    private func endJob(error: Int32) {
        let completion = pointee.completion!
        pointee.completion = nil
        pointee.place = nil
        completion.function(completion.context, error)
    }
}

private func xeBatchEnded(_ queue: UnsafeMutableRawPointer, _ error: Int32) {
    queue.assumingMemoryBound(to: XeQueue.self).batchEnded(error: error)
}

private func xeBufferBound(_ queue: UnsafeMutableRawPointer, _ error: Int32) {
    queue.assumingMemoryBound(to: XeQueue.self).bufferBound(error: error)
}
