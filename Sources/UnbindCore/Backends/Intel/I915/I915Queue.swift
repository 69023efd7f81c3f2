// I915Queue: runs jobs on an engine in an address space, one at a time, as the library hands them over.
//
// A context of its own, and a buffer in the library's part of the address space (JobStage). Each batch lists the buffer
// and all that its commands touch, or for batches of the caller's, all that the job uses; what they touch where nothing
// is bound is a scratch page.
//
// Life: make, jobs, free when none is under way.

import CLibDRM
import CSystem
import CUnbind

struct I915Queue: ~Copyable {
    let space: I915SpacePointer
    let context: I915ContextPointer
    let slot: Int
    let buffer: I915BufferPointer
    var stage: JobStage
    /// Of the job under way.
    var completion: PointCompletion?

    /// Of the job under way: what batches of the caller's use.
    var uses = UnsafeBufferPointer<JobUse>(start: nil, count: 0)

    /// What the present batch lists.
    var touched: UnsafeMutablePointer<I915MappingPointer>
    var capacity: Int
    var count = 0
}

typealias I915QueuePointer = UnsafeMutablePointer<I915Queue>

extension UnsafeMutablePointer where Pointee == I915Space {
    /// - Parameter flags: UNBIND_QUEUE_*.
    /// - Failure: unsupported: no such engine, or one that is not known; again: as many queues as there is room for;
    ///   noMemory; what the driver said.
    func makeQueue(_ flags: UInt32) throws(Status) -> I915QueuePointer {
        guard let kind = EngineKind(queueFlags: flags),
            let engine = pointee.backend.pointee.configuration.jobEngine(kind)
        else { throw Status.unsupported }
        var making = I915QueueInTheMaking(space: self)
        do throws(Status) {
            return try making.make(engine)
        } catch {
            making.undo()
            throw error
        }
    }
}

/// What has been made so far, so that a failure can undo it.
private struct I915QueueInTheMaking {
    let space: I915SpacePointer
    var queue: I915QueuePointer?
    var touched: UnsafeMutablePointer<I915MappingPointer>?
    var slot: Int?
    var buffer: I915BufferPointer?

    static var capacity: Int { 32 }
    private var backend: I915BackendPointer { space.pointee.backend }

    mutating func make(_ engine: JobEngine) throws(Status) -> I915QueuePointer {
        let memory = backend.pointee.memory
        queue = memory.allocateApart(of: I915Queue.self)
        touched = memory.allocateArray(of: I915MappingPointer.self, count: Self.capacity)
        guard let queue, let touched else { throw Status.noMemory }
        let slot = try space.takeSlot()
        self.slot = slot
        let buffer = try backend.buffers.make(size: JobStage.bufferBytes, isLocal: false)
        self.buffer = buffer
        let context = try I915ContextPointer.make(
            backend, space: space.pointee.id, engine: backend.pointee.configuration.engine(engine.kind)!,
            capacity: Self.capacity, points: 1)
        let stage = JobStage(engine: engine, cpu: buffer.pointee.cpu, address: space.address(ofSlot: slot))
        queue.initialize(
            to: I915Queue(
                space: space, context: context, slot: slot, buffer: buffer, stage: stage, touched: touched,
                capacity: Self.capacity))
        return queue
    }

    func undo() {
        let memory = backend.pointee.memory
        if let buffer { backend.buffers.destroy(buffer) }
        if let slot { space.giveSlot(slot) }
        if let touched { memory.deallocateArray(touched, count: Self.capacity) }
        if let queue { memory.deallocateApart(queue) }
    }
}

extension UnsafeMutablePointer where Pointee == I915Queue {
    /// No job is under way.
    func free() {
        let (space, slot) = (pointee.space, pointee.slot)
        let backend = space.pointee.backend
        pointee.context.free()
        // Whoever has the slot next is put over it.
        backend.buffers.destroy(pointee.buffer)
        space.giveSlot(slot)
        backend.pointee.memory.deallocateArray(pointee.touched, count: pointee.capacity)
        deinitialize(count: 1)
        backend.pointee.memory.deallocateApart(self)
    }

    // MARK: Jobs

    /// The completion follows: lost, if a batch did not come to its end.
    /// - Failure: unsupported, with a line in the log; invalid, tooBig; noMemory; others as the kernel has them.
    func submit(
        _ commands: UnsafePointer<unbind_command>?, count: Int, completion: PointCompletion
    ) throws(Status) {
        pointee.stage.begin(commands, count: count)
        pointee.completion = completion
        try runBatch()
    }

    private func runBatch() throws(Status) {
        let context = pointee.context
        try context.pointee.timeline.reserve(growing: true)
        let bytes: Int
        do throws(Status) {
            bytes = try pointee.stage.encode()
        } catch {
            if error == .unsupported {
                pointee.space.pointee.backend.pointee.options.log.error(
                    "a queue's engine lacks a command: only copy engines FILL and COPY, and in version 9 lack BATCH")
            }
            throw error
        }
        do throws(Status) {
            try listTouched()
            try context.list(
                I915Context.entry(
                    pointee.buffer.pointee.handle, at: pointee.stage.address, flags: UInt64(UNBIND_EXEC_OBJECT_WRITE)))
            try context.execute(offset: JobStage.batchOffset, bytes: bytes)
        } catch {
            releaseTouched()
            throw error
        }
        context.pointee.timeline.watch(
            PointCompletion(context: UnsafeMutableRawPointer(self), function: i915BatchEnded))
    }

    /// On the waiter's thread.
    fileprivate func batchEnded(error: Int32) {
        releaseTouched()
        if error != 0 { return endJob(error: error) }
        if !pointee.stage.hasEnded { return endJob(error: Status.lost.raw) }
        if pointee.stage.finishBatch() { return endJob(error: 0) }
        do throws(Status) {
            try runBatch()
        } catch {
            endJob(error: error.raw)
        }
    }

    /// The queue may be freed as soon as this is told.
    private func endJob(error: Int32) {
        let completion = pointee.completion!
        pointee.completion = nil
        completion.function(completion.context, error)
    }

    // MARK: What a batch touches

    private func listTouched() throws(Status) {
        let space = pointee.space
        pointee.context.beginList()
        pointee.count = 0
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        space.pointee.listSerial = space.pointee.listSerial &+ 1
        for command in pointee.stage.batch {
            if command.op == UNBIND_COMMAND_BATCH {
                for use in pointee.uses { try list(use.address, use.size, isWritten: use.isWritten) }
                continue
            }
            let isCopy = command.op == UNBIND_COMMAND_COPY
            let size = isCopy || command.op == UNBIND_COMMAND_FILL ? command.size : 8
            try list(command.address, size, isWritten: command.op != UNBIND_COMMAND_LOAD)
            if isCopy { try list(command.source, size, isWritten: false) }
        }
    }

    private func list(_ address: UInt64, _ size: UInt64, isWritten: Bool) throws(Status) {
        let space = pointee.space
        let serial = space.pointee.listSerial
        var next = space.pointee.mappings.pointee.first(endingAfter: address)
        while let mapping = next, mapping.pointee.start < address &+ size {
            next = mapping.next
            if mapping.pointee.isLeaving { continue }
            if mapping.pointee.listedBy != serial {
                if pointee.count == pointee.capacity { try grow() }
                try pointee.context.list(mapping.pointee.entry)
                mapping.pointee.listedBy = serial
                mapping.pointee.listIndex = pointee.count
                mapping.pointee.users = mapping.pointee.users &+ 1
                (pointee.touched + pointee.count).initialize(to: mapping)
                pointee.count = pointee.count &+ 1
            }
            if isWritten {
                let object = pointee.context.pointee.objects + mapping.pointee.listIndex
                object.pointee.flags |= UInt64(UNBIND_EXEC_OBJECT_WRITE)
            }
        }
    }

    private func grow() throws(Status) {
        let memory = pointee.space.pointee.backend.pointee.memory
        let (old, capacity) = (pointee.touched, pointee.capacity)
        guard let touched = memory.allocateArray(of: I915MappingPointer.self, count: capacity * 2) else {
            throw Status.noMemory
        }
        touched.initialize(from: old, count: capacity)
        memory.deallocateArray(old, count: capacity)
        pointee.touched = touched
        pointee.capacity = capacity * 2
    }

    private func releaseTouched() {
        let space = pointee.space
        space.pointee.lock.acquire()
        for index in 0..<pointee.count {
            let mapping = pointee.touched[index]
            mapping.pointee.users = mapping.pointee.users &- 1
        }
        space.pointee.lock.release()
        pointee.count = 0
    }
}

private func i915BatchEnded(_ queue: UnsafeMutableRawPointer, _ error: Int32) {
    queue.assumingMemoryBound(to: I915Queue.self).batchEnded(error: error)
}
