// BufferCopier: copies all of one buffer to another with a copy engine, for moves between system and local memory.
//
// In an address space of its own, where nothing else is: both buffers are mapped, a job copies, both are unmapped, and
// then the copy is over. Each step begins when the kernel has ended the one before, so that nobody waits. Where the
// program has the source mapped, or unmaps it meanwhile, is no matter here: the kernel keeps an object that is mapped.
//
// The space is made for the first copy and stays. What cannot be unmapped is left to its end, before the next copy.
//
// One copy at a time, as the library has them: first the thread that begins it, then the waiter's.

import CUnbind

typealias BufferCopierPointer = UnsafeMutablePointer<BufferCopier>

struct BufferCopier {
    /// With its queue.
    enum Space {
        case xe(XeSpacePointer, XeQueuePointer)
        case i915(I915SpacePointer, I915QueuePointer)
    }

    fileprivate enum Step { case map, copy, unmap }

    /// First: the commands of a job have to stay where they are, and a pointer to it is one to the copier.
    fileprivate var command = unbind_command()
    fileprivate var space: Space?
    fileprivate var step = Step.map
    /// Something is mapped that should not be.
    fileprivate var isSpoilt = false
    /// Of the copy under way: what is mapped, how it ended, and who is told.
    fileprivate var ranges = InlineArray<2, unbind_backend_range>(repeating: unbind_backend_range())
    fileprivate var error: Int32 = 0
    fileprivate var completion: PointCompletion?

    /// Of each buffer: a multiple of the largest page there is.
    fileprivate static var unit: UInt64 { 2 << 20 }
}

extension UnsafeMutablePointer where Pointee == BufferCopier {
    static func make(memory: UnsafeMutablePointer<Memory>) throws(Status) -> BufferCopierPointer {
        guard let copier = memory.allocateApart(of: BufferCopier.self) else { throw Status.noMemory }
        copier.initialize(to: BufferCopier())
        return copier
    }

    /// No copy is under way.
    func free(memory: UnsafeMutablePointer<Memory>) {
        freeSpace()
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    private func freeSpace() {
        switch pointee.space {
        case .xe(let space, let queue):
            queue.free()
            space.free()
        case .i915(let space, let queue):
            queue.free()
            space.free()
        case nil: break
        }
        pointee.space = nil
    }

    /// Begins a copy. The completion follows.
    /// - Failure: what makeSpace says; tooBig; what mapping says. Nothing has begun then.
    func copy(
        _ source: UnsafeMutableRawPointer, to target: UnsafeMutableRawPointer, size: UInt64,
        completion: PointCompletion, makeSpace: () throws(Status) -> BufferCopier.Space
    ) throws(Status) {
        if pointee.isSpoilt { freeSpace() }
        pointee.isSpoilt = false
        if pointee.space == nil { pointee.space = try makeSpace() }
        if size > 1 << 45 { throw Status.tooBig }
        let unit = BufferCopier.unit
        // A unit between the two stays empty.
        let place = unit &+ roundUp(size, to: unit) &+ unit
        pointee.ranges[0] = Self.map(source, at: unit, size: size)
        pointee.ranges[1] = Self.map(target, at: place, size: size)
        pointee.command = unbind_command()
        pointee.command.op = UNBIND_COMMAND_COPY
        pointee.command.source = unit
        pointee.command.address = place
        pointee.command.size = size
        pointee.error = 0
        pointee.completion = completion
        pointee.step = .map
        _ = try update()
    }

    private static func map(
        _ buffer: UnsafeMutableRawPointer, at address: UInt64, size: UInt64
    ) -> unbind_backend_range {
        var range = unbind_backend_range()
        range.op = UNBIND_BACKEND_MAP
        range.address = address
        range.size = size
        range.bo = buffer
        return range
    }

    private var ended: PointCompletion {
        PointCompletion(context: UnsafeMutableRawPointer(self), function: copyStepEnded)
    }

    /// True: it is done already.
    private func update() throws(Status) -> Bool {
        let ranges = pointee.ranges
        var isDone = false
        var status: Status?
        ranges.span.withUnsafeBufferPointer { ranges in
            do throws(Status) {
                switch pointee.space! {
                case .xe(let space, _):
                    isDone = try space.update(ranges.baseAddress!, count: 2, completion: ended) { _ in }
                case .i915(let space, _):
                    isDone = try space.update(ranges.baseAddress!, count: 2, completion: ended)
                }
            } catch {
                status = error
            }
        }
        if let status { throw status }
        return isDone
    }

    /// The step has come to its end.
    fileprivate func stepEnded(error: Int32) {
        switch pointee.step {
        case .map:
            if error != 0 {
                pointee.isSpoilt = true
                return end(error)
            }
            beginCopy()
        case .copy:
            pointee.error = error
            beginUnmap()
        case .unmap:
            if error != 0 { pointee.isSpoilt = true }
            end(pointee.error)
        }
    }

    private func beginCopy() {
        pointee.step = .copy
        do throws(Status) {
            let command = UnsafeMutableRawPointer(self).assumingMemoryBound(to: unbind_command.self)
            switch pointee.space! {
            case .xe(_, let queue):
                try queue.submit(command, count: 1, after: .none, place: nil, completion: ended)
            case .i915(_, let queue): try queue.submit(command, count: 1, completion: ended)
            }
        } catch {
            pointee.error = error.raw
            beginUnmap()
        }
    }

    private func beginUnmap() {
        pointee.step = .unmap
        do throws(Status) {
            if !(try unmap()) { return }
        } catch {
            pointee.isSpoilt = true
        }
        end(pointee.error)
    }

    /// True: it is done already.
    private func unmap() throws(Status) -> Bool {
        if case .xe(let space, _) = pointee.space! {
            let (source, target) = (pointee.ranges[0].bo!, pointee.ranges[1].bo!)
            try space.unmapAll(
                source.assumingMemoryBound(to: XeBuffer.self), target.assumingMemoryBound(to: XeBuffer.self),
                completion: ended)
            return false
        }
        for index in 0..<2 {
            pointee.ranges[index].op = UNBIND_BACKEND_UNMAP
            pointee.ranges[index].bo = nil
        }
        return try update()
    }

    /// The next copy may begin as soon as this is told.
    private func end(_ error: Int32) {
        let completion = pointee.completion!
        pointee.completion = nil
        completion.function(completion.context, error)
    }
}

private func copyStepEnded(_ copier: UnsafeMutableRawPointer, _ error: Int32) {
    copier.assumingMemoryBound(to: BufferCopier.self).stepEnded(error: error)
}

// MARK: The drivers

extension UnsafeMutablePointer where Pointee == XeBackend {
    /// - Failure: as of BufferCopier.copy.
    func copy(
        _ source: UnsafeMutableRawPointer, to target: UnsafeMutableRawPointer, size: UInt64,
        completion: PointCompletion
    ) throws(Status) {
        if pointee.copier == nil { pointee.copier = try BufferCopierPointer.make(memory: pointee.memory) }
        try pointee.copier!.copy(source, to: target, size: size, completion: completion) { () throws(Status) in
            let space = try makeSpace(isLongRunning: false)
            do throws(Status) {
                return .xe(space, try space.makeQueue(UNBIND_QUEUE_COPY))
            } catch {
                space.free()
                throw error
            }
        }
    }
}

extension UnsafeMutablePointer where Pointee == I915Backend {
    /// - Failure: as of BufferCopier.copy.
    func copy(
        _ source: UnsafeMutableRawPointer, to target: UnsafeMutableRawPointer, size: UInt64,
        completion: PointCompletion
    ) throws(Status) {
        if pointee.copier == nil { pointee.copier = try BufferCopierPointer.make(memory: pointee.memory) }
        try pointee.copier!.copy(source, to: target, size: size, completion: completion) { () throws(Status) in
            let space = try makeSpace()
            do throws(Status) {
                return .i915(space, try space.makeQueue(UNBIND_QUEUE_COPY))
            } catch {
                space.free()
                throw error
            }
        }
    }
}

// MARK: The functions of <unbind/backend.h>

func xeCopy(
    _ context: UnsafeMutableRawPointer?, _ source: UnsafeMutableRawPointer?, _ target: UnsafeMutableRawPointer?,
    _ size: UInt64, _ token: OpaquePointer?
) -> Int32 {
    let completion = PointCompletion(context: UnsafeMutableRawPointer(token!), function: completeToken)
    do throws(Status) {
        let backend = context!.assumingMemoryBound(to: XeBackend.self)
        try backend.copy(source!, to: target!, size: size, completion: completion)
        return UNBIND_BACKEND_PENDING
    } catch {
        return error.raw
    }
}

func i915Copy(
    _ context: UnsafeMutableRawPointer?, _ source: UnsafeMutableRawPointer?, _ target: UnsafeMutableRawPointer?,
    _ size: UInt64, _ token: OpaquePointer?
) -> Int32 {
    let completion = PointCompletion(context: UnsafeMutableRawPointer(token!), function: completeToken)
    do throws(Status) {
        let backend = context!.assumingMemoryBound(to: I915Backend.self)
        try backend.copy(source!, to: target!, size: size, completion: completion)
        return UNBIND_BACKEND_PENDING
    } catch {
        return error.raw
    }
}
