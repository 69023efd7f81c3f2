// BackendQueue: what a backend has of a queue, and what its engine has to know of a submit under way. Or the device's
// one for moves, which is no queue to the backend: each of its commands is a call that copies.
//
// - Lifetime: the engine's, which is idle when it goes.

import CSystem
import CUnbind

typealias BackendQueuePointer = UnsafeMutablePointer<BackendQueue>

struct BackendQueue: ~Copyable {
    let backend: BackendPointer
    /// At `tokenOffset`.
    let token: BackendToken
    /// What the backend calls the queue.
    let handle: UnsafeMutableRawPointer?
    /// Nil: for moves.
    let space: BackendSpacePointer?
    /// The engine has been submitted by the completion of what it began.
    var isResumed = false
    /// The commands of the submit under way end before this one.
    var end = 0
    /// Of a move: so often the backend asked to come again.
    var retries = 0

    static var tokenOffset: Int { MemoryLayout<BackendPointer>.size }
}

extension UnsafeMutablePointer where Pointee == BackendQueue {
    /// For the engine, whose item has its place already.
    /// - Failure: lost, unsupported, noMemory, and whatever the backend says.
    static func make(
        _ space: BackendSpacePointer, flags: UInt32, for engine: EnginePointer
    ) throws(Status) -> BackendQueuePointer {
        let backend = space.pointee.backend
        try backend.checkNotLost()
        guard let create = backend.pointee.ops.queue_create else { throw Status.unsupported }
        let device = backend.pointee.device
        guard let queue = device.pointee.memory.allocateApart(of: BackendQueue.self) else {
            throw Status.noMemory
        }
        var handle: UnsafeMutableRawPointer?
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        let status = create(backend.pointee.context, space.pointee.handle, flags, &handle)
        if status != 0 {
            device.pointee.memory.deallocateApart(queue)
            throw status < 0 ? Status(raw: status) : Status.unsupported
        }
        queue.initialize(
            to: BackendQueue(
                backend: backend,
                token: BackendToken(
                    executor: device.pointee.executor, item: engine.itemPointer, engine: engine,
                    isAwaited: backend.pointee.link != nil),
                handle: handle, space: space))
        return queue
    }

    /// For the device's moves.
    /// - Failure: noMemory.
    static func makeForMoves(_ backend: BackendPointer, engine: EnginePointer) throws(Status) -> BackendQueuePointer {
        let device = backend.pointee.device
        guard let queue = device.pointee.memory.allocateApart(of: BackendQueue.self) else {
            throw Status.noMemory
        }
        queue.initialize(
            to: BackendQueue(
                backend: backend,
                token: BackendToken(
                    executor: device.pointee.executor, item: engine.itemPointer,
                    isAwaited: backend.pointee.link != nil),
                handle: nil, space: nil))
        return queue
    }

    /// - Locking: nothing may be held.
    func free() {
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        let backend = pointee.backend
        if pointee.space != nil { backend.pointee.ops.queue_destroy(backend.pointee.context, pointee.handle) }
        deinitialize(count: 1)
        backend.pointee.device.pointee.memory.deallocateApart(self)
    }

    var token: BackendTokenPointer { memberPointer(of: self, at: BackendQueue.tokenOffset, as: BackendToken.self) }

    /// Submits commands, or takes the result of the submit that was pending. Nil: it is pending now, and nothing here
    /// is ours.
    func submit(
        _ commands: UnsafeMutablePointer<unbind_command>, count: Int, of job: JobPointer, isLast: Bool
    ) -> Int32? {
        if pointee.isResumed {
            pointee.isResumed = false
            return token.pointee.takeResult()
        }
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        pointee.isResumed = true
        token.pointee.arm()
        let result = begin(commands, count: count, of: job, isLast: isLast)
        if result == UNBIND_BACKEND_PENDING {
            if token.pointee.park() { return nil }
            pointee.isResumed = false
            return token.pointee.takeResult()
        }
        pointee.isResumed = false
        return Swift.min(result, 0)
    }

    /// What a job awaits may be left to the kernel behind the backend.
    var handsOver: Bool { pointee.space != nil && pointee.backend.pointee.link?.submit != nil }

    private func begin(
        _ commands: UnsafeMutablePointer<unbind_command>, count: Int, of job: JobPointer, isLast: Bool
    ) -> Int32 {
        let (ops, context) = (pointee.backend.pointee.ops, pointee.backend.pointee.context)
        if pointee.space == nil {
            let source = UnsafeMutableRawPointer(bitPattern: UInt(commands.pointee.source))
            let target = UnsafeMutableRawPointer(bitPattern: UInt(commands.pointee.address))
            return ops.copy(context, source, target, commands.pointee.size, token.handle)
        }
        let link = pointee.backend.pointee.link
        if let declare = link?.declare {
            declare(context, pointee.handle, job.pointee.uses, UInt32(job.pointee.useCount))
        }
        guard let submit = link?.submit else {
            return ops.submit(context, pointee.handle, commands, UInt32(count), token.handle)
        }
        var waits = InlineArray<16, KernelWait>(repeating: KernelWait(syncobj: Syncobj(handle: 0), point: 0))
        let waitCount: Int
        do throws(Status) {
            waitCount = try job.gather(&waits)
        } catch {
            return error.raw
        }
        let place = isLast ? UnsafeMutableRawPointer(job.fence.kernelPoint) : nil
        return waits.span.withUnsafeBufferPointer { waits in
            submit(
                context, pointee.handle, commands, UInt32(count), waits.baseAddress, UInt32(waitCount), place,
                token.handle)
        }
    }

    /// After how long a move that ended so is tried again; nil: not any more.
    func pauseBeforeRetry(after status: Int32) -> UInt64? {
        guard pointee.space == nil, status == -EINTR || status == -EAGAIN || status == -ENOMEM, pointee.retries < 8
        else {
            pointee.retries = 0
            return nil
        }
        pointee.retries = pointee.retries &+ 1
        return 50_000 &<< UInt64(pointee.retries)
    }
}
