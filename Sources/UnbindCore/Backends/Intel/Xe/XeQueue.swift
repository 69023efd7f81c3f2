// XeQueue: runs jobs on an engine in an address space, one job at a time, as the library hands them over.
//
// A queue has a buffer of its own (JobStage), at the top of its address space, which programs cannot use. It is bound
// on the space's default bind queue, which nothing else uses, with the first point of the queue's timeline as
// out-fence; the first batch awaits that in the kernel. Likewise each job's first batch awaits there what of its waits
// are the kernel's (KernelPoint).
//
// In a long-running space the out-fences of all that are a word in the buffer (UserFenceWaiter), and the kernel cannot
// await the bind of the buffer: a first job that comes before its end begins with it.
//
// The kernel signals the out-fence of a batch that faulted or was killed all the same, and bans the queue: how a job
// ended is what the stage knows. The kernel's queue is then replaced: the next job is not to pay for it.
//
// Life: make, jobs, free when none is under way.

import CLibDRM
import CSystem
import CUnbind
import Synchronization

struct XeQueue: ~Copyable {
    let space: XeSpacePointer
    let slot: Int
    let buffer: XeBufferPointer
    let timeline: KernelTimelinePointer
    /// In a long-running space.
    let fences: UserFenceWaiterPointer?
    /// The kernel's queue. Replaced when the kernel has banned it.
    var id: UInt32
    var isBanned = false
    /// Some batch has awaited that the buffer is bound; in a long-running space: it is.
    var isBound = false
    var stage: JobStage
    /// What the kernel is to await for a job that awaits that bind.
    var waits = InlineArray<16, KernelWait>(repeating: KernelWait(syncobj: Syncobj(handle: 0), point: 0))
    var waitCount = 0
    /// Of the job under way: who is told of its end, and where its last point is published.
    var completion: PointCompletion?
    var place: KernelPointPointer?
}

typealias XeQueuePointer = UnsafeMutablePointer<XeQueue>

extension UnsafeMutablePointer where Pointee == XeSpace {
    /// - Parameter flags: UNBIND_QUEUE_*.
    /// - Failure: unsupported: the GPU has no such engine, or one that is not known; again: as many queues as there
    ///   is room for; noMemory; what the driver said.
    func makeQueue(_ flags: UInt32) throws(Status) -> XeQueuePointer {
        guard let kind = EngineKind(queueFlags: flags),
            let engine = pointee.backend.pointee.configuration.jobEngine(kind)
        else { throw Status.unsupported }
        if isDead { throw Status.lost }
        var making = QueueInTheMaking(space: self)
        do throws(Status) {
            return try making.make(engine)
        } catch {
            making.undo()
            throw error
        }
    }

    // MARK: Places of queues

    fileprivate func takeSlot() throws(Status) -> Int {
        for index in 0..<XeSpace.slotWords {
            let word = pointee.slots + index
            var used = word.pointee.load(ordering: .relaxed)
            while used != .max {
                let bit = (~used).trailingZeroBitCount
                let result = word.pointee.weakCompareExchange(
                    expected: used, desired: used | 1 &<< UInt64(bit), ordering: .acquiringAndReleasing)
                if result.exchanged { return index &* 64 &+ bit }
                used = result.original
            }
        }
        throw Status.again
    }

    fileprivate func giveSlot(_ slot: Int) {
        _ = (pointee.slots + slot / 64).pointee.bitwiseAnd(
            ~(1 &<< UInt64(slot % 64)), ordering: .acquiringAndReleasing)
    }

    func address(ofSlot slot: Int) -> UInt64 {
        pointee.backend.pointee.addressLimit &+ UInt64(slot) &* XeBackend.queueSlotBytes
    }

    /// Binds a queue's buffer at its place.
    fileprivate func bindSlot(
        _ slot: Int, to buffer: XeBufferPointer, signalling outFence: unbind_drm_xe_sync
    ) throws(Status) {
        var operation = unbind_drm_xe_vm_bind_op()
        operation.addr = address(ofSlot: slot)
        operation.range = JobStage.bufferBytes
        operation.op = UNBIND_DRM_XE_VM_BIND_OP_MAP
        operation.obj = buffer.pointee.handle
        operation.pat_index = pointee.backend.pointee.configuration.pageAttributes.coherent
        try bindSlot(operation, signalling: outFence)
    }

    /// Unbinds it, wherever it is. May wait for a moment.
    fileprivate func unbindSlot(of buffer: XeBufferPointer) throws(Status) {
        try bindSlot(unmapAll(buffer), signalling: nil)
    }

    private func bindSlot(
        _ operation: unbind_drm_xe_vm_bind_op, signalling outFence: unbind_drm_xe_sync?
    ) throws(Status) {
        var operation = operation
        try withUnsafeMutablePointer(to: &operation) { operation throws(Status) in
            try bind(operation, count: 1, on: 0, after: .none, signalling: outFence, isLast: outFence == nil)
        }
    }
}

/// What has been made so far, so that a failure can undo it.
private struct QueueInTheMaking {
    let space: XeSpacePointer
    var queue: XeQueuePointer?
    var slot: Int?
    var buffer: XeBufferPointer?
    var timeline: KernelTimelinePointer?
    var fences: UserFenceWaiterPointer?
    var id: UInt32?

    private var backend: XeBackendPointer { space.pointee.backend }

    mutating func make(_ engine: JobEngine) throws(Status) -> XeQueuePointer {
        guard let queue = backend.pointee.memory.allocateApart(of: XeQueue.self) else {
            throw Status.noMemory
        }
        self.queue = queue
        let slot = try space.takeSlot()
        self.slot = slot
        let buffer = try backend.makeBuffer(size: JobStage.bufferBytes, isLocal: false)
        self.buffer = buffer
        let timeline = try KernelTimelinePointer.make(waiter: backend.pointee.waiter, capacity: 1)
        self.timeline = timeline
        let id = try makeXeQueue(
            backend.pointee.node, space: space.pointee.id, engines: backend.pointee.configuration.engines(engine.kind))
        self.id = id
        try bind(buffer, at: slot, timeline)
        queue.initialize(
            to: XeQueue(
                space: space, slot: slot, buffer: buffer, timeline: timeline, fences: fences, id: id,
                stage: JobStage(engine: engine, cpu: buffer.pointee.cpu, address: space.address(ofSlot: slot))))
        return queue
    }

    /// With the timeline's first point as out-fence.
    private mutating func bind(
        _ buffer: XeBufferPointer, at slot: Int, _ timeline: KernelTimelinePointer
    ) throws(Status) {
        if !space.pointee.isLongRunning {
            try space.bindSlot(slot, to: buffer, signalling: .signal(timeline, point: timeline.nextPoint))
            return timeline.skip()
        }
        let word = buffer.pointee.cpu + Int(JobStage.fenceOffset)
        let fences = try UserFenceWaiterPointer.make(timeline, word: word)
        self.fences = fences
        let outFence = unbind_drm_xe_sync.write(timeline.nextPoint, at: UInt64(UInt(bitPattern: word)))
        try space.bindSlot(slot, to: buffer, signalling: outFence)
        timeline.skip()
        fences.expect(timeline.pointee.lastPoint)
    }

    func undo() {
        if let id { destroyXeQueue(id, backend.pointee.node) }
        if let fences { fences.stop() }
        if let timeline { timeline.free() }
        if let buffer { backend.destroyBuffer(buffer) }
        if let slot { space.giveSlot(slot) }
        if let queue { backend.pointee.memory.deallocateApart(queue) }
    }
}

extension UnsafeMutablePointer where Pointee == XeQueue {
    /// No job is under way.
    func free() {
        let (space, slot) = (pointee.space, pointee.slot)
        let backend = space.pointee.backend
        destroyXeQueue(pointee.id, backend.pointee.node)
        // The bind of the buffer may be all that is under way.
        pointee.fences?.stop()
        // If it cannot be unbound now, the next queue at this place replaces it, or it goes with the space.
        try? space.unbindSlot(of: pointee.buffer)
        pointee.timeline.free()
        backend.destroyBuffer(pointee.buffer)
        space.giveSlot(slot)
        deinitialize(count: 1)
        backend.pointee.memory.deallocateApart(self)
    }
}
