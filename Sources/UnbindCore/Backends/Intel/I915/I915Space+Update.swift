// I915Space: binding and unbinding, one execution of the empty batch for all ranges of an update.
//
// The kernel makes room within the call, and would wait there for what uses that room. Nothing does: the library binds
// only where all has been unbound, the dummies of unbinds are not used again before their batches have ended, and an
// unbind of what a batch still uses (a job may use what it did not list) is put off.

import CLibDRM
import CSystem
import CUnbind

extension UnsafeMutablePointer where Pointee == I915Space {
    /// All maps or all unmaps. True: it is done already; else the completion follows.
    /// - Failure: again: what is to be unbound is in use, or more is under way than there is room for; unsupported, and
    ///   invalid, which the log tells; noBuffers (ENOBUFS); others as the kernel has them. Nothing has changed then.
    func update(
        _ ranges: UnsafePointer<unbind_backend_range>, count: Int, completion: PointCompletion
    ) throws(Status) -> Bool {
        guard count > 0, count <= I915Backend.dummyCount else { throw Status(raw: -ENOBUFS) }
        if ranges[0].op != UNBIND_BACKEND_UNMAP {
            try map(ranges, count: count, completion: completion)
            return false
        }
        if pointee.backend.pointee.options.unbindsLazily {
            try forget(ranges, count: count)
            return true
        }
        try unmap(ranges, count: count, completion: completion)
        return false
    }

    // MARK: Binding

    private func map(
        _ ranges: UnsafePointer<unbind_backend_range>, count: Int, completion: PointCompletion
    ) throws(Status) {
        let binder = pointee.binder
        // First: what a lost device was told to map may be there and not.
        try binder.pointee.timeline.reserve(growing: true)
        for index in 0..<count { try check(ranges[index], after: UnsafeBufferPointer(start: ranges, count: index)) }
        var made: I915MappingPointer?
        do throws(Status) {
            binder.beginList()
            for index in 0..<count {
                made = try makeMapping(ranges[index], chain: made)
                try binder.list(made!.pointee.entry)
            }
            try runEmptyBatch()
        } catch {
            discard(made)
            throw error
        }
        pointee.lock.acquire()
        while let mapping = made {
            made = mapping.pointee.chain
            insert(mapping)
        }
        pointee.lock.release()
        binder.pointee.timeline.watch(completion)
    }

    /// - Parameter others: what is bound in the same call.
    /// - Failure: unsupported, invalid, with a line in the log.
    private func check(
        _ range: unbind_backend_range, after others: UnsafeBufferPointer<unbind_backend_range>
    ) throws(Status) {
        let backend = pointee.backend
        let log = backend.pointee.options.log
        guard range.op == UNBIND_BACKEND_MAP, let bo = range.bo else {
            log.error("i915 has no mappings without memory")
            throw Status.unsupported
        }
        if range.flags & UNBIND_BACKEND_READ_ONLY != 0 {
            log.error("i915 has no read-only mappings")
            throw Status.unsupported
        }
        let buffer = bo.assumingMemoryBound(to: I915Buffer.self)
        guard range.offset == 0, range.size == buffer.pointee.size else {
            log.error("i915 binds buffers as a whole, not parts of them")
            throw Status.unsupported
        }
        let limit = backend.pointee.addressLimit
        guard isAligned(range.address, to: buffer.pointee.alignment), range.address <= limit &- min(range.size, limit),
            range.size <= limit
        else {
            log.error("i915: an address that is not in the address space, or, of local memory, no multiple of 2 MiB")
            throw Status.invalid
        }
        let isShared = backend.pointee.handles.isShared(buffer.entry)
        pointee.lock.acquire()
        let next = pointee.mappings.pointee.first(endingAfter: range.address)?.pointee.start ?? .max
        let isElsewhere = isShared && isBound(buffer.pointee.handle)
        pointee.lock.release()
        invariant(next >= range.address &+ range.size, "a range was mapped over another")
        if isElsewhere || isShared && others.contains(where: { handle(of: $0) == buffer.pointee.handle }) {
            log.error("i915 binds a buffer in one place of an address space, also when it came in as a dma-buf")
            throw Status.unsupported
        }
    }

    private func handle(of range: unbind_backend_range) -> UInt32 {
        range.bo.assumingMemoryBound(to: I915Buffer.self).pointee.handle
    }

    /// Under the lock. Looks at everything that is bound.
    private func isBound(_ handle: UInt32) -> Bool {
        var next = pointee.mappings.pointee.first(endingAfter: 0)
        while let mapping = next, mapping.pointee.handle != handle { next = mapping.next }
        return next != nil
    }

    private func makeMapping(
        _ range: unbind_backend_range, chain: I915MappingPointer?
    ) throws(Status) -> I915MappingPointer {
        let memory = pointee.backend.pointee.memory
        guard let mapping = memory.allocateApart(of: I915Mapping.self) else { throw Status.noMemory }
        let isCaptured = range.flags & UNBIND_BACKEND_CAPTURE != 0
        mapping.initialize(
            to: I915Mapping(
                start: range.address, size: range.size,
                handle: handle(of: range),
                flags: isCaptured ? UInt64(UNBIND_EXEC_OBJECT_CAPTURE) : 0, chain: chain))
        return mapping
    }

    private func discard(_ mappings: I915MappingPointer?) {
        var next = mappings
        while let mapping = next {
            next = mapping.pointee.chain
            pointee.backend.pointee.memory.deallocateApart(mapping)
        }
    }

    private func runEmptyBatch() throws(Status) {
        try pointee.binder.list(
            I915Context.entry(pointee.backend.pointee.emptyBatch.pointee.handle, at: address(ofSlot: 0)))
        try pointee.binder.execute(offset: 0, bytes: 8)
    }

    // MARK: Unbinding

    private func unmap(
        _ ranges: UnsafePointer<unbind_backend_range>, count: Int, completion: PointCompletion
    ) throws(Status) {
        let binder = pointee.binder
        try binder.pointee.timeline.reserve(growing: false)
        let dummies = try beginLeaving(ranges, count: count)
        do throws(Status) {
            binder.beginList()
            var left = dummies
            for index in 0..<count {
                let handle = pointee.backend.pointee.dummies[left.trailingZeroBitCount]
                var dummy = I915Context.entry(
                    handle, at: ranges[index].address, flags: UInt64(UNBIND_EXEC_OBJECT_PAD_TO_SIZE))
                dummy.pad_to_size = ranges[index].size
                try binder.list(dummy)
                left &= left &- 1
            }
            try runEmptyBatch()
        } catch {
            endLeaving(ranges, count: count, hasLeft: false)
            giveDummies(dummies)
            // No room for page tables: as with no memory, it may be better in a moment.
            throw error == .noSpace ? Status.noMemory : error
        }
        endLeaving(ranges, count: count, hasLeft: true)
        let flight = pointee.flights + dummies.trailingZeroBitCount
        flight.initialize(to: I915Flight(space: self, dummies: dummies, completion: completion))
        binder.pointee.timeline.watch(
            PointCompletion(context: UnsafeMutableRawPointer(flight), function: i915UnbindEnded))
    }

    /// No batch lists any more what is in the ranges. The dummies to put there: a bit for each.
    /// - Failure: again; unsupported, if a mapping is only partly in a range.
    private func beginLeaving(
        _ ranges: UnsafePointer<unbind_backend_range>, count: Int
    ) throws(Status) -> UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        for index in 0..<count {
            let range = ranges[index]
            var next = pointee.mappings.pointee.first(endingAfter: range.address)
            while let mapping = next, mapping.pointee.start < range.address &+ range.size {
                if mapping.pointee.start < range.address || mapping.pointee.end > range.address &+ range.size {
                    throw Status.unsupported
                }
                if mapping.pointee.users > 0 { throw Status.again }
                next = mapping.next
            }
        }
        let all: UInt64 = (1 &<< UInt64(I915Backend.dummyCount)) &- 1
        var (free, taken) = (all & ~pointee.busyDummies, UInt64(0))
        for _ in 0..<count {
            if free == 0 { throw Status.again }
            taken |= free & (~free &+ 1)
            free &= free &- 1
        }
        pointee.busyDummies = pointee.busyDummies | taken
        forEach(in: ranges, count: count) { $0.pointee.isLeaving = true }
        return taken
    }

    private func endLeaving(_ ranges: UnsafePointer<unbind_backend_range>, count: Int, hasLeft: Bool) {
        pointee.lock.acquire()
        forEach(in: ranges, count: count) { mapping in
            if hasLeft { remove(mapping) } else { mapping.pointee.isLeaving = false }
        }
        pointee.lock.release()
    }

    /// Under the lock. `body` may remove the mapping.
    private func forEach(
        in ranges: UnsafePointer<unbind_backend_range>, count: Int, _ body: (I915MappingPointer) -> Void
    ) {
        for index in 0..<count {
            let end = ranges[index].address &+ ranges[index].size
            var next = pointee.mappings.pointee.first(endingAfter: ranges[index].address)
            while let mapping = next, mapping.pointee.start < end {
                next = mapping.next
                body(mapping)
            }
        }
    }

    /// Unbinds lazily: nobody lists it any more.
    private func forget(_ ranges: UnsafePointer<unbind_backend_range>, count: Int) throws(Status) {
        let dummies = try beginLeaving(ranges, count: count)
        endLeaving(ranges, count: count, hasLeft: true)
        giveDummies(dummies)
    }

    fileprivate func giveDummies(_ dummies: UInt64) {
        pointee.lock.acquire()
        pointee.busyDummies = pointee.busyDummies & ~dummies
        pointee.lock.release()
    }
}

/// On the waiter's thread: the batch that was listed with the dummies has ended.
private func i915UnbindEnded(_ context: UnsafeMutableRawPointer, _ error: Int32) {
    let flight = context.assumingMemoryBound(to: I915Flight.self).pointee
    // The space may go, and the place in the array be taken, as soon as the next two are done.
    flight.space.giveDummies(flight.dummies)
    flight.completion.function(flight.completion.context, error)
}
