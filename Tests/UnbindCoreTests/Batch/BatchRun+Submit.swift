// Submitting batches and jobs, and telling the model.

import CUnbind
import Glibc

/// One call of unbind_vm_submit, as the program has chosen it.
struct BatchCall {
    var operations: [BatchOperation] = []
    var mode = UNBIND_BATCH_SYNC
    var flags: UInt32 = 0
    var limit = 0
    var queue: Int?
    var waits: [BatchGate] = []
    var jobs: [BatchJob] = []
    var signals: BatchGate?

    /// A sync call, or one in a VM that waits for its unbinds, would wait for these for ever.
    var isBlocked: Bool { waits.contains { !$0.isSignaled } || jobs.contains { $0.gate?.isSignaled == false } }
}

/// What the library answered.
struct BatchAnswer {
    var status: Int32 = 0
    var fence: OpaquePointer?
    var done: UInt32 = 0
}

extension BatchRun {
    func submitBatch() throws {
        let call = try makeCall()
        let problems = model.problems(of: call.operations, regions: regions)
        say("batch of \(call.operations.count), mode \(call.mode), limit \(call.limit), flags \(call.flags), "
            + "queue \(call.queue ?? -1), \(call.waits.count) fences, problems \(problems)")
        if plan.isVerbose { for operation in call.operations { say("    \(operation)") } }
        coverage.batches += 1
        if isStarved { try starve(call, problems) } else { try finish(call, problems, make(call), failures: 0) }
        if let signals = call.signals, !records.contains(where: { $0.signals === signals }) {
            unbind_fence_unref(signals.handle)
        }
    }

    private func makeCall() throws -> BatchCall {
        var call = BatchCall()
        call.operations = makeOperations()
        call.mode = random.pick([UNBIND_BATCH_SYNC, UNBIND_BATCH_ASYNC, UNBIND_BATCH_ASYNC, UNBIND_BATCH_DEFER_TO_IDLE])
        if !bindQueues.isEmpty, random.chance(40) { call.queue = random.below(bindQueues.count) }
        if random.chance(10) {
            call.limit = 1 + random.below(8)
            // Where it is then cut for want of memory is the library's choice.
            if random.chance(70), isSettled || !isStarved { call.flags |= UNBIND_BATCH_SPLIT }
        }
        if random.chance(10), call.mode != UNBIND_BATCH_SYNC { call.flags |= UNBIND_BATCH_NO_WAIT }
        if !isSettled {
            if random.chance(35) { call.waits.append(try makeGate()) }
            if random.chance(20), let gate = random.pickOptional(gates) { call.waits.append(gate) }
            if random.chance(15) { call.jobs = jobs }
        }
        if random.chance(10) {
            var handle: OpaquePointer?
            try require(unbind_fence_create(device, &handle) == 0, "a fence to signal")
            call.signals = BatchGate(handle!)
        }
        return call
    }

    private func make(_ call: BatchCall) -> BatchAnswer {
        var answer = BatchAnswer(status: 0, fence: nil, done: 12345)
        var batch = makeHeaderStruct(unbind_batch())
        batch.mode = call.mode
        batch.flags = call.flags
        batch.limit = UInt32(call.limit)
        batch.queue = call.queue.map { bindQueues[$0] }
        let waits = (call.waits.map(\.handle) + call.jobs.map(\.fence)).map {
            unbind_sync(fence: $0, timeline: nil, point: 0)
        }
        let signals = call.signals.map { [unbind_sync(fence: $0.handle, timeline: nil, point: 0)] } ?? []
        let operations = call.operations.map(native)
        batch.wait_count = UInt32(waits.count)
        batch.signal_count = UInt32(signals.count)
        waits.withUnsafeBufferPointer { waits in
            signals.withUnsafeBufferPointer { signals in
                withUnsafeMutablePointer(to: &answer.fence) { fence in
                    withUnsafeMutablePointer(to: &answer.done) { done in
                        batch.waits = waits.baseAddress
                        batch.signals = signals.baseAddress
                        batch.out_fence = fence
                        batch.out_done = done
                        answer.status = unbind_vm_submit(space, operations, UInt32(operations.count), &batch)
                    }
                }
            }
        }
        say("  gave \(answer.status), done \(answer.done)")
        return answer
    }

    /// The same batch with ever more memory, until it has all that it needs: each time before nothing has happened.
    private func starve(_ call: BatchCall, _ problems: Set<Int32>) throws {
        var call = call
        for successes in 0..<2000 {
            hooks.failAllocations(after: successes, count: random.chance(70) ? Int.max : 1)
            let pages = isSettled ? walkPages(space) : nil
            let before = batchStats()
            let answer = make(call)
            let failures = hooks.stopFailing()
            if answer.status != -ENOMEM || failures == 0 || answer.done > 0 {
                return try finish(call, problems, answer, failures: failures)
            }
            coverage.starved += 1
            try checkRefused(answer, before, pages)
            if let signals = call.signals {
                try require(unbind_fence_is_signaled(signals.handle) == 0, "a batch that failed has signalled")
            }
            call.jobs.removeAll(where: \.isDone)
        }
        throw SimulationFailure("a batch needs more than 2000 allocations")
    }

    private func checkRefused(
        _ answer: BatchAnswer, _ before: unbind_batch_stats, _ pages: [SimulationPage]?
    ) throws {
        try require(answer.fence == nil, "a batch that failed gave a fence")
        let stats = batchStats()
        try require(
            stats.mappings == before.mappings && stats.batches == before.batches && stats.maps == before.maps
                && stats.unmaps == before.unmaps && stats.operations == before.operations
                && stats.splits == before.splits && stats.merges == before.merges && stats.kept == before.kept
                && stats.failed <= before.failed + 1, "a batch that failed changed the figures: \(before), \(stats)")
        if let pages { try require(walkPages(space) == pages, "a batch that failed changed the page tables") }
        try check()
    }

    // MARK: What has happened

    private func finish(
        _ call: BatchCall, _ problems: Set<Int32>, _ answer: BatchAnswer, failures: Int
    ) throws {
        var done = Int(answer.done)
        var allowed = problems
        let isTooLarge = call.limit > 0 && call.operations.count > call.limit
        let isCut = call.flags & UNBIND_BATCH_SPLIT != 0
        if isTooLarge && !isCut { allowed = allowed.union([-ENOBUFS]) }
        let mayDeadlock = !isSettled && (call.mode == UNBIND_BATCH_SYNC || policy == UNBIND_POLICY_SYNC || failures > 0)
        if answer.status == 0 {
            try require(allowed.isEmpty, "a batch succeeded that has the problems \(allowed)")
            try require(done == call.operations.count, "\(done) of \(call.operations.count) are done, status 0")
        } else {
            coverage.refusals += 1
            let isKnown =
                allowed.contains(answer.status) || (answer.status == -EDEADLK && mayDeadlock)
                || (answer.status == -ENOMEM && failures > 0) || (answer.status == -EAGAIN && failures > 0)
            try require(isKnown, "a batch was refused with \(answer.status), allowed \(allowed)")
            try require(done == 0 || isCut || answer.status == -EDEADLK, "\(done) are done, status \(answer.status)")
            if answer.status != -EDEADLK { done = try pieces(call, done) }
        }
        // A batch that fails may have moved a buffer before.
        for operation in call.operations where operation.kind == UNBIND_OP_PREFETCH && operation.flaw == nil {
            regions[operation.memory] = unbind_bo_region(memories[operation.memory].handle)
        }
        if done == 0 && answer.status != 0 {
            try require(answer.fence == nil, "a batch of which nothing is done gave a fence")
            if answer.status != -EDEADLK { return }
            return try check()
        }
        let record = try take(call, done, answer, failures)
        if answer.status == 0 && call.mode == UNBIND_BATCH_SYNC {
            try require(record.isDone, "a synchronous batch is not done")
        }
    }

    /// What is done of a list that was cut: whole pieces, and nothing of the piece with the error.
    private func pieces(_ call: BatchCall, _ done: Int) throws -> Int {
        try require(done < call.operations.count, "all is done, and an error")
        let problems = model.problems(of: Array(call.operations[..<done]), regions: regions)
        try require(problems.isEmpty, "what is done has the problems \(problems)")
        return done
    }

    private func take(_ call: BatchCall, _ done: Int, _ answer: BatchAnswer, _ failures: Int) throws -> BatchRecord {
        let operations = call.operations[..<done]
        for memory in memories.indices {
            let moves = operations.filter { $0.kind == UNBIND_OP_PREFETCH && $0.memory == memory }
            if answer.status == 0, let last = moves.last {
                try require(regions[memory] == last.region, "memory \(memory) was not moved")
            }
        }
        let record = BatchRecord(number: step)
        record.fence = answer.fence
        record.waits = call.waits.filter { !$0.isSignaled }
        record.jobs = call.jobs
        if call.mode == UNBIND_BATCH_DEFER_TO_IDLE { record.jobs = jobs }
        record.signals = answer.status == 0 ? call.signals : nil
        if let queue = call.queue {
            record.predecessor = lastOnQueue[queue].flatMap { $0.isDone ? nil : $0 }
            lastOnQueue[queue] = record
        }
        record.ranges = ranges(of: operations)
        // A page may change in one piece, and change back in another.
        let piece = failures > 0 && call.flags & UNBIND_BATCH_SPLIT != 0 ? 1 : call.limit > 0 ? call.limit : Int.max
        var rest = operations
        while !rest.isEmpty {
            takeChanges(by: rest.prefix(piece), record)
            rest = rest.dropFirst(piece)
        }
        coverage.operations += done
        try require(answer.fence != nil, "\(done) operations are done, and there is no fence")
        records.append(record)
        try collect()
        if !record.isDone { coverage.blocked += 1 }
        return record
    }

    private func ranges(of operations: ArraySlice<BatchOperation>) -> [Range<Int>] {
        var result: [Range<Int>] = []
        for operation in operations {
            switch operation.kind {
            case UNBIND_OP_UNMAP_ALL:
                for index in model.pages.indices where model.pages[index].contents.contains(where: {
                    $0.memory == operation.memory
                }) { result.append(index..<index + 1) }
            case UNBIND_OP_PREFETCH, UNBIND_OP_SYNC_ONLY: break
            default: result.append(operation.range)
            }
        }
        return result
    }

    private func takeChanges(by operations: some Sequence<BatchOperation>, _ record: BatchRecord) {
        let new = model.result(of: operations)
        // Jobs that use what changes may fault now, unless the batch comes after them.
        let later = jobs.filter { job in !record.jobs.contains { $0 === job } }
        for index in new.indices where new[index] != model.pages[index].last {
            for job in later { job.pageChanges(index, to: new[index]) }
        }
        model.take(new, by: record)
    }

    // MARK: Jobs

    /// A job on random pages; `strays`: on one that is not there, or may not be written.
    func submitJob(strays: Bool = false) throws {
        var accesses: [BatchJob.Access] = []
        var mustSucceed: Bool? = true
        for _ in 0..<(strays ? 1 : 1 + random.below(12)) {
            stamps += 1
            let index = random.below(pageCount)
            let history = model.pages[index]
            var isStore = random.chance(40)
            if strays {
                if history.last.kind == .null || history.last.kind == .vma { continue }
                isStore = history.last.isThere
                if isStore && history.last.isWritable { continue }
                mustSucceed = nil
            } else {
                if !history.contents.contains(where: \.isThere) || history.last.kind == .vma { continue }
                if isStore && !history.contents.allSatisfy({ $0.isWritable || $0.kind == .null }) { isStore = false }
                if !history.isSettled { mustSucceed = false }
            }
            accesses.append(BatchJob.Access(page: index, isStore: isStore, stamp: stamps, possible: history.contents))
        }
        if accesses.isEmpty { return }
        try submit(accesses, mustSucceed: mustSucceed)
    }

    private func submit(_ accesses: [BatchJob.Access], mustSucceed: Bool?) throws {
        let results = UnsafeMutablePointer<UInt64>.allocate(capacity: accesses.count)
        results.initialize(repeating: BatchJob.unread, count: accesses.count)
        let commands = accesses.enumerated().map { index, access in
            var command = unbind_command()
            command.op = access.isStore ? UNBIND_COMMAND_STORE : UNBIND_COMMAND_LOAD
            command.address = UInt64(access.page * unit + (access.isStore ? 8 : 0))
            if access.isStore { command.value = access.stamp } else { command.result = results + index }
            return command
        }
        let gate = !isSettled && random.chance(30) ? try makeGate() : nil
        var submit = makeHeaderStruct(unbind_submit())
        submit.command_count = UInt32(commands.count)
        submit.wait_fence_count = gate == nil ? 0 : 1
        var fence: OpaquePointer?
        let status = commands.withUnsafeBufferPointer { commands in
            [gate?.handle].withUnsafeBufferPointer { waits in
                submit.commands = commands.baseAddress
                submit.wait_fences = gate == nil ? nil : waits.baseAddress
                return unbind_queue_submit(gpuQueue, &submit, &fence)
            }
        }
        try require(status == 0, "a job was refused: \(status)")
        coverage.jobs += 1
        if mustSucceed == nil { coverage.faults += 1 }
        say("job of \(accesses.count), must succeed: \(mustSucceed.map(String.init) ?? "fault")")
        jobs.append(
            BatchJob(fence: fence!, gate: gate, accesses: accesses, results: results, mustSucceed: mustSucceed))
    }
}
