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
    /// Of the timeline, that it signals.
    var point: UInt64?
}

/// What a list may be answered with.
struct BatchAllowance {
    var problems: BatchProblems
    var maySucceed: Bool

    init(_ problems: BatchProblems, maySucceed: Bool? = nil) {
        self.problems = problems
        self.maySucceed = maySucceed ?? problems.isEmpty
    }
}

/// Room for the arrays of one call.
final class BatchLists {
    static let capacity = 128
    let operations = UnsafeMutablePointer<unbind_op>.allocate(capacity: capacity)
    let waits = UnsafeMutablePointer<unbind_sync>.allocate(capacity: capacity)
    let signals = UnsafeMutablePointer<unbind_sync>.allocate(capacity: 2)
    let fence = UnsafeMutablePointer<OpaquePointer?>.allocate(capacity: 1)
    let done = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)

    deinit {
        operations.deallocate()
        waits.deallocate()
        signals.deallocate()
        fence.deallocate()
        done.deallocate()
    }
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
        try submitOrFail(call, problems)
        if let signals = call.signals, !records.contains(where: { $0.signals === signals }) {
            unbind_fence_unref(signals.handle)
        }
    }

    private func makeCall() throws -> BatchCall {
        var call = BatchCall()
        call.operations = makeOperations()
        let mode = random.below(4)
        call.mode = mode == 0 ? UNBIND_BATCH_SYNC : mode == 1 ? UNBIND_BATCH_DEFER_TO_IDLE : UNBIND_BATCH_ASYNC
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
        } else if random.chance(5) {
            call.point = points + 1 + UInt64(random.below(3))
        }
        return call
    }

    func make(_ call: BatchCall) -> BatchAnswer {
        var batch = makeHeaderStruct(unbind_batch())
        batch.mode = call.mode
        batch.flags = call.flags
        batch.limit = UInt32(call.limit)
        if let queue = call.queue { batch.queue = bindQueues[queue] }
        for gate in call.waits { add(gate.handle, to: lists.waits, &batch.wait_count) }
        for job in call.jobs { add(job.fence, to: lists.waits, &batch.wait_count) }
        if let signals = call.signals { add(signals.handle, to: lists.signals, &batch.signal_count) }
        if let point = call.point {
            (lists.signals + Int(batch.signal_count)).initialize(
                to: unbind_sync(fence: nil, timeline: timeline, point: point))
            batch.signal_count += 1
        }
        precondition(call.operations.count <= BatchLists.capacity)
        for (index, operation) in call.operations.enumerated() { lists.operations[index] = native(operation) }
        lists.fence.pointee = nil
        lists.done.pointee = 12345
        batch.waits = UnsafePointer(lists.waits)
        batch.signals = UnsafePointer(lists.signals)
        batch.out_fence = lists.fence
        batch.out_done = lists.done
        let status = unbind_vm_submit(space, lists.operations, UInt32(call.operations.count), &batch)
        say("  gave \(status), done \(lists.done.pointee)")
        return BatchAnswer(status: status, fence: lists.fence.pointee, done: lists.done.pointee)
    }

    private func add(_ fence: OpaquePointer, to list: UnsafeMutablePointer<unbind_sync>, _ count: inout UInt32) {
        precondition(count < BatchLists.capacity)
        (list + Int(count)).initialize(to: unbind_sync(fence: fence, timeline: nil, point: 0))
        count += 1
    }

    // MARK: What has happened

    func finish(_ call: BatchCall, _ problems: BatchProblems, _ answer: BatchAnswer, failures: Int) throws {
        try finish(call, BatchAllowance(problems), answer, failures: failures)
    }

    func finish(_ call: BatchCall, _ allowance: BatchAllowance, _ answer: BatchAnswer, failures: Int) throws {
        var done = Int(answer.done)
        var allowed = allowance.problems
        let isTooLarge = call.limit > 0 && call.operations.count > call.limit
        let isCut = call.flags & UNBIND_BATCH_SPLIT != 0
        if isTooLarge && !isCut { allowed.insert(.tooLarge) }
        let mayDeadlock = !isSettled && (call.mode == UNBIND_BATCH_SYNC || policy == UNBIND_POLICY_SYNC || failures > 0)
        if answer.status == 0 {
            try require(
                allowance.maySucceed && !allowed.contains(.tooLarge),
                "a batch succeeded that has the problems \(allowed)")
            try require(done == call.operations.count, "\(done) of \(call.operations.count) are done, status 0")
        } else {
            coverage.refusals += 1
            let isKnown =
                allowed.allow(answer.status) || (answer.status == -EDEADLK && mayDeadlock)
                || (answer.status == -ENOMEM && failures > 0)
            try require(isKnown, "a batch was refused with \(answer.status), allowed \(allowed)")
            try require(done == 0 || isCut || answer.status == -EDEADLK, "\(done) are done, status \(answer.status)")
            if answer.status != -EDEADLK { done = try pieces(call, done) }
        }
        // A batch that fails may have moved a buffer before.
        notePlaces(call)
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

    /// Where the buffers are that it was to move.
    func notePlaces(_ call: BatchCall) {
        for operation in call.operations where operation.kind == UNBIND_OP_PREFETCH && operation.flaw == nil {
            memories[operation.memory].look()
            regions[operation.memory] = unbind_bo_region(memories[operation.memory].handle)
        }
    }

    /// What is done of a list that was cut: whole pieces, and nothing of the piece with the error.
    private func pieces(_ call: BatchCall, _ done: Int) throws -> Int {
        try require(done < call.operations.count, "all is done, and an error")
        let problems = model.problems(of: call.operations[..<done], regions: regions)
        try require(problems.isEmpty, "what is done has the problems \(problems)")
        return done
    }

    private func take(_ call: BatchCall, _ done: Int, _ answer: BatchAnswer, _ failures: Int) throws -> BatchRecord {
        let operations = call.operations[..<done]
        try checkMoves(operations, answer)
        let record = BatchRecord(number: step)
        record.fence = answer.fence
        record.waits = call.waits.filter { !$0.isSignaled }
        record.jobs = call.jobs
        if call.mode == UNBIND_BATCH_DEFER_TO_IDLE { record.jobs = jobs }
        // Also if the wait for its end failed.
        let isWhole = done == call.operations.count
        if isWhole { record.signals = call.signals }
        if isWhole, let point = call.point {
            var fence: OpaquePointer?
            let status = unbind_timeline_get_point(timeline, point, &fence)
            try require(status == 0, "a batch has not added its point: \(status)")
            points = point
            record.signals = BatchGate(fence!, isPoint: true)
        }
        if let queue = call.queue {
            record.predecessor = lastOnQueue[queue].flatMap { $0.isDone ? nil : $0 }
            lastOnQueue[queue] = record
        }
        if !isSettled { record.ranges = ranges(of: operations) }
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

    /// The last PREFETCH of a buffer says where it is.
    private func checkMoves(_ operations: ArraySlice<BatchOperation>, _ answer: BatchAnswer) throws {
        if answer.status != 0 { return }
        for (index, operation) in operations.enumerated() where operation.kind == UNBIND_OP_PREFETCH {
            let isLast = !operations.dropFirst(index + 1).contains {
                $0.kind == UNBIND_OP_PREFETCH && $0.memory == operation.memory
            }
            try require(
                !isLast || regions[operation.memory] == operation.region, "memory \(operation.memory) was not moved")
        }
    }

    private func ranges(of operations: ArraySlice<BatchOperation>) -> [Range<Int>] {
        var result: [Range<Int>] = []
        for operation in operations {
            switch operation.kind {
            case UNBIND_OP_UNMAP_ALL:
                for index in 0..<pageCount where model.contents(index).contains(where: {
                    $0.isMemory && $0.memory == operation.memory
                }) { result.append(index..<index + 1) }
            case UNBIND_OP_PREFETCH, UNBIND_OP_SYNC_ONLY: break
            default: result.append(operation.start..<operation.end)
            }
        }
        return result
    }

    private func takeChanges(by operations: some Collection<BatchOperation>, _ record: BatchRecord) {
        model.carryOut(operations)
        // Jobs that use what changes may fault now, unless the batch comes after them.
        for job in jobs where !record.jobs.contains(where: { $0 === job }) { job.pagesChange(model) }
        model.take(by: record)
    }

    // MARK: Jobs

    /// A job on random pages; `strays`: on one that is not there, or may not be written.
    func submitJob(strays: Bool = false) throws {
        var accesses: [BatchJob.Access] = []
        var mustSucceed: Bool? = true
        for _ in 0..<(strays ? 1 : 1 + random.below(12)) {
            stamps += 1
            let index = random.below(pageCount)
            let (last, contents) = (model.last[index], model.contents(index))
            var isStore = random.chance(40)
            if strays {
                if last.kind == .null || last.kind == .vma { continue }
                isStore = last.isThere
                if isStore && last.isWritable { continue }
                mustSucceed = nil
            } else {
                if !contents.contains(where: \.isThere) || last.kind == .vma { continue }
                if isStore && !contents.allSatisfy({ $0.isWritable || $0.kind == .null }) { isStore = false }
                if !model.isSettled(index) { mustSucceed = false }
            }
            accesses.append(BatchJob.Access(page: index, isStore: isStore, stamp: stamps, possible: contents))
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
