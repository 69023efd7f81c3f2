// XeQueue: carrying out a job: its commands become one batch, or several that follow each other when they do not fit.
//
// The kernel signals the out-fence of a batch that faulted or was killed all the same, and bans the queue. So each
// batch ends by writing a marker, and where that is missing the job has failed. The kernel's queue is then replaced:
// the next job is not to pay for it.

import CLibDRM
import CSystem
import CUnbind

extension UnsafeMutablePointer where Pointee == XeQueue {
    /// Begins a job. False: there was nothing to do. The completion follows otherwise.
    /// - Failure: unsupported, invalid, tooBig: a command; again: the kernel takes no more just now; others as the
    ///   kernel has them. Nothing runs then.
    func submit(
        _ commands: UnsafePointer<unbind_command>?, count: Int, completion: PointCompletion
    ) throws(Status) -> Bool {
        guard let commands, count > 0 else { return false }
        pointee.job = XeJob(commands: commands, count: count, completion: completion)
        try runBatch()
        return true
    }

    private func runBatch() throws(Status) {
        if pointee.isBanned { try replaceQueue() }
        try pointee.timeline.reserve(growing: false)
        pointee.marker &+= 1
        pointee.job.inBatch = try encode()
        try execute()
        pointee.isBound = true
        pointee.timeline.watch(PointCompletion(context: UnsafeMutableRawPointer(self), function: xeBatchEnded))
    }

    /// Writes as many of the commands as fit: how many.
    private func encode() throws(Status) -> Int {
        // The marker and the end.
        let limit = XeQueue.batchWords - 32
        let base = pointee.address
        let words = (pointee.buffer.pointee.cpu + Int(XeQueue.batchOffset)).assumingMemoryBound(to: UInt32.self)
        var encoder = BatchEncoder(
            BatchWriter(words, capacity: XeQueue.batchWords), engine: pointee.engine, results: base)
        let (commands, done) = (pointee.job.commands!, pointee.job.done)
        var taken = 0
        while done + taken < pointee.job.count {
            var longer = encoder
            try longer.add(commands + done + taken, 1)
            if longer.writer.count > limit || longer.loadCount > XeQueue.mostLoads { break }
            encoder = longer
            taken += 1
        }
        if taken == 0 { throw Status.tooBig }
        var marker = unbind_command()
        marker.op = UNBIND_COMMAND_STORE
        marker.address = base &+ XeQueue.markerOffset
        marker.value = pointee.marker
        try encoder.add(&marker, 1)
        encoder.finish()
        return taken
    }

    /// Hands the batch over, with the timeline's next point as out-fence.
    private func execute() throws(Status) {
        let timeline = pointee.timeline
        var syncs: InlineArray<2, unbind_drm_xe_sync> = [
            .signal(timeline, point: timeline.nextPoint), .wait(timeline, point: 1),
        ]
        var status = Status(raw: 0)
        var span = syncs.mutableSpan
        span.withUnsafeMutableBufferPointer { syncs in
            var request = unbind_drm_xe_exec()
            request.exec_queue_id = pointee.id
            request.num_syncs = pointee.isBound ? 1 : 2
            request.syncs = UInt64(UInt(bitPattern: syncs.baseAddress!))
            request.address = BatchWriter.canonical(pointee.address &+ XeQueue.batchOffset)
            request.num_batch_buffer = 1
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

    private var node: DRMNode { pointee.space.pointee.backend.pointee.node }

    private func replaceQueue() throws(Status) {
        let backend = pointee.space.pointee.backend
        let id = try makeXeQueue(
            node, space: pointee.space.pointee.id, engine: backend.pointee.configuration.engine)
        destroyXeQueue(pointee.id, node)
        pointee.id = id
        pointee.isBanned = false
    }

    /// On the waiter's thread.
    fileprivate func batchEnded(error: Int32) {
        if error != 0 { return endJob(error: error) }
        let cpu = pointee.buffer.pointee.cpu
        if (cpu + Int(XeQueue.markerOffset)).load(as: UInt64.self) != pointee.marker {
            pointee.isBanned = true
            return endJob(error: Status.fault.raw)
        }
        deliverLoads(from: cpu)
        pointee.job.done += pointee.job.inBatch
        if pointee.job.done == pointee.job.count { return endJob(error: 0) }
        do throws(Status) {
            try runBatch()
        } catch {
            endJob(error: error.raw)
        }
    }

    private func deliverLoads(from results: UnsafeMutableRawPointer) {
        var load = 0
        for index in pointee.job.done..<pointee.job.done + pointee.job.inBatch {
            let command = pointee.job.commands![index]
            guard command.op == UNBIND_COMMAND_LOAD else { continue }
            command.result.pointee = (results + load * 8).load(as: UInt64.self)
            load += 1
        }
    }

    /// The queue may be freed as soon as this is told.
    private func endJob(error: Int32) {
        let completion = pointee.job.completion!
        pointee.job = XeJob()
        completion.function(completion.context, error)
    }
}

private func xeBatchEnded(_ queue: UnsafeMutableRawPointer, _ error: Int32) {
    queue.assumingMemoryBound(to: XeQueue.self).batchEnded(error: error)
}
