// Submitting a batch: who waits for what, and what is done when memory is short (unbind_vm_submit).
//
// When a try finds no memory, each step only after the one before: idle VMAs are unbound, if that is allowed; what is
// pending, and what the batch awaits, is waited for; the list is cut in halves, if that is allowed. Each step is
// followed by another try, and the last one's failure is the call's.

import Synchronization

/// What came of a batch.
struct BatchResult {
    /// With a reference, if anything happened.
    var fence: FencePointer?
    /// Operations that took effect.
    var done = 0
    var status: Status?
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// - Locking: nothing may be held.
    func submit(_ request: BatchRequest) -> BatchResult {
        var result = BatchResult()
        do throws(Status) {
            try checkBatches()
            if let backend = pointee.backendSpace { try backend.checkBatch(request) }
            try prefetch(request)
            let waits = request.mode == .sync || pointee.options.policy == .sync
            if waits { try waitBefore(request) }
            try submitPieces(request, &result)
            // What the caller or the GPU could hold up has been waited for.
            if waits { try pointee.device.wait(for: result.fence!) }
            // A map that the backend could not do.
            if waits, pointee.backendSpace != nil, result.fence!.error != 0 { throw Status(raw: result.fence!.error) }
        } catch {
            if result.done == 0 { pointee.batches.pointee.failed.add(1) }
            result.status = error
        }
        return result
    }

    /// Batches keep no distance between mappings, and know nothing of the modes of tables or of power.
    private func checkBatches() throws(Status) {
        let options = pointee.options
        if options.coloring || options.isGlobal || options.hasTableModes || options.guardSize != 0 {
            throw Status.unsupported
        }
        if isClosed { throw Status.closed }
    }

    private func prefetch(_ request: BatchRequest) throws(Status) {
        for index in 0..<request.count where request.operations[index].kind == .prefetch {
            let operation = request.operations[index]
            let bo = operation.bo!
            if bo.region == operation.region {
                try bo.fetch(in: self)
                continue
            }
            let options = MigrationOptions(interruptible: request.interruptible)
            try bo.migrate(to: operation.region, options)?.drop()
        }
    }

    /// For what the GPU would wait for otherwise.
    private func waitBefore(_ request: BatchRequest) throws(Status) {
        let device = pointee.device
        for index in 0..<request.waitCount {
            try device.wait(for: request.waits![index], interruptible: request.interruptible)
        }
        while let last = request.queue?.unfinished() {
            defer { last.drop() }
            try device.wait(for: last, interruptible: request.interruptible)
        }
        if request.mode != .deferToIdle { return }
        while let job = anyLastJob() {
            defer { job.drop() }
            try device.wait(for: job, interruptible: request.interruptible)
        }
    }

    // MARK: Pieces

    private func submitPieces(_ request: BatchRequest, _ result: inout BatchResult) throws(Status) {
        var limit = request.limit
        if request.count > limit, !request.mayCut { throw Status.noBuffers }
        repeat {
            let count = Swift.min(limit, request.count - result.done)
            let isLast = result.done + count == request.count
            if !isLast { pointee.batches.pointee.cuts.add(1) }
            if let fence = try submitPiece(request, first: result.done, count: count, isLast: isLast, result.fence) {
                result.fence?.drop()
                result.fence = fence
                result.done += count
            } else {
                limit = count / 2
            }
        } while result.done < request.count
    }

    /// Its fence, with a reference; nil: it is to be cut.
    private func submitPiece(
        _ request: BatchRequest, first: Int, count: Int, isLast: Bool, _ previous: FencePointer?
    ) throws(Status) -> FencePointer? {
        var step = MemoryStep.evict
        while true {
            do throws(Status) {
                var attempt = BatchAttempt(
                    self, request, first: first, count: count, previous: previous, signals: isLast)
                return try attempt.run()
            } catch {
                if error != .noMemory { throw error }
            }
            if try !relieveMemory(request, &step) {
                if request.mayCut, count > 1 { return nil }
                throw Status.noMemory
            }
        }
    }

    // MARK: When memory is short

    /// False if nothing is left to be done.
    private func relieveMemory(_ request: BatchRequest, _ step: inout MemoryStep) throws(Status) -> Bool {
        if step == .evict {
            step = .wait
            if request.mayEvict {
                pointee.batches.pointee.evictions.add(1)
                do throws(Status) { try evict(.everything, .idle, waits: false, interruptible: false) } catch {}
                return true
            }
        }
        if step == .wait {
            step = .end
            if request.mayWait, !pointee.device.pointee.executor.isRunningOnThisThread {
                pointee.batches.pointee.waits.add(1)
                try waitForMemory(request)
                return true
            }
        }
        return false
    }

    /// For what the batch awaits and for the unbinds that are pending. That nothing could end them is no failure.
    private func waitForMemory(_ request: BatchRequest) throws(Status) {
        do throws(Status) {
            try waitBefore(request)
            var left = pointee.pendingCount.load(ordering: .relaxed)
            while left > 0, let fence = anyPendingUnbind() {
                defer { fence.drop() }
                try pointee.device.wait(for: fence, interruptible: request.interruptible)
                left -= 1
            }
        } catch {
            if error != .deadlock { throw error }
        }
    }

    private func anyPendingUnbind() -> FencePointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        pointee.pending.reap()
        let fence = pointee.pending.firstUnfinished(overlapping: 0...UInt64.max)?.fence
        fence?.retain()
        return fence
    }

    // MARK: Jobs

    /// Calls body with the fence of each queue's last job that has not ended.
    /// - Locking: the VM's lock is held.
    func forEachLastJob(_ body: (FencePointer) -> Void) {
        func ask(_ engines: EnginePointer?) {
            var next = engines
            while let engine = next {
                next = engine.pointee.nextInSpace
                if let fence = engine.lastJobFence() {
                    if !fence.isSignalled { body(fence) }
                    fence.drop()
                }
            }
        }
        if let backend = pointee.backendSpace { return backend.withEngines(ask) }
        let space = pointee.space
        space.pointee.engineLock.acquire()
        ask(space.pointee.engines)
        space.pointee.engineLock.release()
    }

    private func anyLastJob() -> FencePointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var found: FencePointer?
        forEachLastJob { fence in
            if found != nil { return }
            fence.retain()
            found = fence
        }
        return found
    }
}

private enum MemoryStep { case evict, wait, end }

extension UnsafeMutablePointer where Pointee == Engine {
    /// Of the job that was appended last, with a reference; nil if it has none.
    func lastJobFence() -> FencePointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard let job = pointee.lastJob else { return nil }
        job.fence.retain()
        return job.fence
    }
}
