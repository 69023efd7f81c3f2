// Batches that fail: at each allocation in turn, at some, and at an operation that is wrong, in each place of the list.
//
// Whatever a batch has taken or begun by then, it leaves everything as it was: mappings, page tables entry by entry,
// figures, timelines, fences. Only when memory is short may idle VMAs have been evicted, if the batch allows it.

import CUnbind
import Glibc

extension BatchRun {
    /// Of the programs in which memory runs short: how many batches in a hundred fail at each allocation, and at one.
    private static let sweepPercent = 7
    private static let shortPercent = 40
    /// In all programs, how many have an operation that is wrong put into each place.
    private static let misplacedPercent = 2

    func submitOrFail(_ call: BatchCall, _ problems: BatchProblems) throws {
        var call = call
        if random.chance(Self.misplacedPercent) { try misplace(&call) }
        if !isStarved { return try finish(call, problems, make(call), failures: 0) }
        let kind = random.below(100)
        if kind < Self.sweepPercent {
            try sweep(call, problems)
        } else if kind < Self.sweepPercent + Self.shortPercent {
            try shorten(call, problems)
        } else {
            try finish(call, problems, make(call), failures: 0)
        }
    }

    /// The same batch with ever more memory, until it has all that it needs: each time before nothing has happened.
    private func sweep(_ call: BatchCall, _ problems: BatchProblems) throws {
        var call = call
        let isSingle = random.chance(30)
        call.flags &= ~UNBIND_BATCH_SPLIT
        if isSingle {
            // Else it would be tried again, and succeed.
            if call.mode == UNBIND_BATCH_SYNC { call.mode = UNBIND_BATCH_ASYNC }
            call.flags |= UNBIND_BATCH_NO_WAIT
        } else if random.chance(20) {
            call.flags |= UNBIND_BATCH_EVICT
        }
        coverage.sweeps += 1
        takeSnapshot()
        for successes in 0..<4000 {
            let (answer, failures) = make(call, after: successes, failing: isSingle ? 1 : Int.max)
            if answer.status != -ENOMEM || failures == 0 {
                allocations = successes
                return try finish(call, afterEviction(call, problems), answer, failures: failures)
            }
            coverage.noteFailure(after: successes, call.operations)
            if try noteEviction(call) { takeSnapshot() }
            try checkRefused(call, answer)
            try endMoves(of: call)
            call.jobs.removeAll(where: \.isDone)
        }
        throw SimulationFailure("a batch needs more than 4000 allocations")
    }

    /// Memory runs short for a while, somewhere, and the library does what it may.
    private func shorten(_ call: BatchCall, _ problems: BatchProblems) throws {
        var call = call
        // Where it is then cut for want of memory is the library's choice.
        if isSettled, random.chance(40) { call.flags |= UNBIND_BATCH_SPLIT }
        var problems = problems
        if random.chance(40) {
            call.flags |= UNBIND_BATCH_EVICT
            // Somebody who could make way.
            if isSettled, vma?.isBound == false { try toggleVMA() }
            problems = model.problems(of: call.operations, regions: regions)
        }
        let count = random.chance(30) ? Int.max : 1 << random.below(4)
        let successes = random.below(allocations + 4)
        takeSnapshot()
        let (answer, failures) = make(call, after: successes, failing: count)
        if answer.status != -ENOMEM || failures == 0 || answer.done > 0 {
            return try finish(call, afterEviction(call, problems), answer, failures: failures)
        }
        coverage.noteFailure(after: successes, call.operations)
        if try noteEviction(call) { takeSnapshot() }
        try checkRefused(call, answer)
        // With enough memory it succeeds.
        call.jobs.removeAll(where: \.isDone)
        try finish(call, afterEviction(call, problems), make(call), failures: 0)
    }

    /// An operation that cannot be done, in front of each of the list's and behind the last.
    private func misplace(_ given: inout BatchCall) throws {
        var call = given
        call.flags &= ~UNBIND_BATCH_SPLIT
        call.limit = 0
        coverage.misplaced += 1
        takeSnapshot()
        let operations = call.operations
        for place in 0...operations.count {
            call.operations = operations
            call.operations.insert(makeWrong(after: operations[..<place]), at: place)
            let problems = model.problems(of: call.operations, regions: regions)
            // A range in which nothing happens to be mapped is nothing wrong.
            if problems.isEmpty { continue }
            statsBefore = batchStats()
            let answer = make(call)
            let isKnown =
                problems.allow(answer.status) || (answer.status == -EDEADLK && !isSettled)
            try require(isKnown, "a batch gave \(answer.status), allowed \(problems)")
            try require(answer.done == 0, "\(answer.done) operations are done of a batch with a wrong one")
            coverage.refusals += 1
            notePlaces(call)
            try checkRefused(call, answer)
            try endMoves(of: call)
            call.jobs.removeAll(where: \.isDone)
        }
        given.jobs = call.jobs
    }

    private func makeWrong(after operations: ArraySlice<BatchOperation>) -> BatchOperation {
        if random.chance(40) { return makeFlawed(BatchOperation()) }
        var operation = BatchOperation()
        operation.kind = UNBIND_OP_MAP_NULL
        operation.flags = UNBIND_OP_NO_REPLACE
        model.carryOut(operations)
        let first = random.below(pageCount)
        for step in 0..<pageCount where model.scratch[(first + step) % pageCount].isThere {
            operation.start = (first + step) % pageCount
            operation.count = 1
            return operation
        }
        return makeFlawed(BatchOperation())
    }

    // MARK: Memory is short

    private func make(_ call: BatchCall, after successes: Int, failing count: Int) -> (BatchAnswer, failures: Int) {
        statsBefore = batchStats()
        hooks.failAllocations(after: successes, count: count)
        let answer = make(call)
        return (answer, hooks.stopFailing())
    }

    /// The library may have unbound the caller's VMA.
    private func noteEviction(_ call: BatchCall) throws -> Bool {
        guard call.flags & UNBIND_BATCH_EVICT != 0, let vma, vma.isBound else { return false }
        if unbind_vma_state(vma.handle) == UNBIND_VMA_BOUND { return false }
        say("  the VMA was evicted")
        coverage.evicted += 1
        self.vma!.isBound = false
        for index in vma.start..<vma.start + vma.count where model.last[index].kind == .vma {
            model.settle(index, .nothing)
        }
        return true
    }

    /// What may be said of a list: as before, and if a VMA was evicted it is no longer in the way.
    private func afterEviction(_ call: BatchCall, _ problems: BatchProblems) throws -> BatchAllowance {
        guard try noteEviction(call) else { return BatchAllowance(problems) }
        let after = model.problems(of: call.operations, regions: regions)
        return BatchAllowance(problems.union(after), maySucceed: after.isEmpty)
    }

    /// What a buffer has moved away from is free again only when the copy has ended.
    private func endMoves(of call: BatchCall) throws {
        if isSettled, call.operations.contains(where: { $0.kind == UNBIND_OP_PREFETCH }) { try waitIdle() }
    }

    // MARK: Nothing has happened

    func takeSnapshot() {
        statsBefore = batchStats()
        let tables = tables
        for index in 0..<pageCount { snapshot[index] = tables.entry(at: UInt64(index * unit)) }
    }

    private func checkRefused(_ call: BatchCall, _ answer: BatchAnswer) throws {
        try require(answer.fence == nil, "a batch that failed gave a fence")
        let (stats, before) = (batchStats(), statsBefore)
        try require(
            stats.mappings == before.mappings && stats.batches == before.batches && stats.maps == before.maps
                && stats.unmaps == before.unmaps && stats.operations == before.operations
                && stats.splits == before.splits && stats.merges == before.merges && stats.kept == before.kept
                && stats.failed <= before.failed + 1, "a batch that failed changed the figures: \(before), \(stats)")
        if let signals = call.signals {
            try require(unbind_fence_is_signaled(signals.handle) == 0, "a batch that failed has signalled")
        }
        if let point = call.point {
            var fence: OpaquePointer?
            let status = unbind_timeline_get_point(timeline, point, &fence)
            try require(status == -EAGAIN, "a batch that failed has added a point: \(status)")
        }
        coverage.unchanged += 1
        // With work under way they may go on while the library waits for memory.
        if !isSettled { return try check() }
        let tables = tables
        for index in 0..<pageCount {
            let entry = tables.entry(at: UInt64(index * unit))
            try require(
                entry == snapshot[index],
                "a batch that failed changed page \(index) from \(snapshot[index]) to \(entry)")
        }
        if coverage.unchanged % 8 == 0 { try check() }
    }
}
