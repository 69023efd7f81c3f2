// BatchRun: random batches on one simulated device, with the reference model beside it.
//
// The seed decides the device, the memory and every batch. A "settled" program lets all work end after each batch and
// compares every page; the others go on with batches, jobs and the caller's fences under way.

import CUnbind
import Glibc

final class BatchRun {
    struct Plan {
        var seed: UInt64
        var batches = 100
        var isVerbose = false
    }

    let plan: Plan
    var random: SimulationRandom
    let hooks = HookedMemory()
    var device: OpaquePointer
    var foreignBuffer: OpaquePointer?
    private var foreignDevice: OpaquePointer?
    var space: OpaquePointer
    var gpuQueue: OpaquePointer
    /// Some batches signal a point of it.
    var timeline: OpaquePointer?
    var points: UInt64 = 0
    var bindQueues: [OpaquePointer] = []
    var lastOnQueue: [BatchRecord?] = []

    /// Bytes of a page, and pages of the space.
    let unit: Int
    let pageCount: Int
    var policy: UInt32
    let isSettled: Bool
    /// Allocations fail in turn.
    let isStarved: Bool
    let pageSizes: UInt64

    let model: BatchModel
    var tables: BatchTables { BatchTables(of: space) }
    var memories: [BatchMemory] = []
    var regions: [UInt32?] = []
    private var ownMemory: [UnsafeMutableRawPointer] = []
    var records: [BatchRecord] = []
    var gates: [BatchGate] = []
    var jobs: [BatchJob] = []
    var vma: (handle: OpaquePointer, start: Int, count: Int, isBound: Bool)?
    var vmaPlace = BatchPlace()
    var statsBefore = unbind_batch_stats()
    /// The page tables before a batch that is to fail.
    let snapshot: UnsafeMutablePointer<BatchEntry>
    /// What lists of operations and fences are handed over in.
    let lists = BatchLists()
    /// How many allocations the last batch needed that had all of them fail in turn.
    var allocations = 40
    var step = 0
    var instances = 0
    var stamps: UInt64 = 0
    var coverage = BatchCoverage()

    init(_ plan: Plan) throws {
        self.plan = plan
        random = SimulationRandom(seed: plan.seed)
        let kind = random.below(40)
        pageSizes = kind < 18 ? 0x1000 : kind < 34 ? 0x1_1000 : kind < 38 ? 0x1_0000 : 0x21_1000
        unit = pageSizes == 0x1_0000 ? 0x1_0000 : 0x1000
        pageCount = pageSizes == 0x21_1000 ? 1024 + 256 : 16 + random.below(49)
        policy = random.pick([UNBIND_POLICY_RANGES, UNBIND_POLICY_RANGES, UNBIND_POLICY_TIMELINE, UNBIND_POLICY_SYNC])
        isSettled = random.chance(50)
        isStarved = random.chance(15)
        model = BatchModel(count: pageCount)
        snapshot = .allocate(capacity: pageCount)
        snapshot.initialize(repeating: BatchEntry(), count: pageCount)
        let nothing = OpaquePointer(bitPattern: 8)!
        (device, space, gpuQueue) = (nothing, nothing, nothing)
        try openDevice()
        try openSpace()
        try makeMemories()
    }

    deinit { snapshot.deallocate() }

    func say(_ text: @autoclosure () -> String) {
        if plan.isVerbose { print("  [\(step)] t=\(unbind_device_now(device)) \(text())") }
    }

    // MARK: The device

    private func openDevice() throws {
        var cost = makeHeaderStruct(unbind_cost_model())
        let costKind = random.below(3)
        if costKind == 1 {
            cost.pte_ps = random.next() % 5_000
            cost.tlb_flush_ns = random.next() % 30_000
            cost.command_ns = random.next() % 2_000
        }
        var options = makeHeaderStruct(unbind_device_options())
        options.executor = UNBIND_EXECUTOR_SIMULATED
        options.flags = isStarved ? UInt32(UNBIND_DEVICE_NO_SLABS) : 0
        options.seed = random.next()
        options.local_memory_bytes = 64 << 20
        var allocator = hooks.hooks()
        var opened: OpaquePointer?
        let status = withUnsafePointer(to: &allocator) { allocator in
            withUnsafePointer(to: &cost) { cost in
                options.allocator = allocator
                options.cost_model = costKind == 2 ? nil : cost
                return unbind_device_open_software(&options, &opened)
            }
        }
        try require(status == 0 && opened != nil, "device open: \(status)")
        device = opened!
        try require(unbind_device_open_software(nil, &foreignDevice) == 0, "another device")
        try require(unbind_bo_create(foreignDevice, 0x10000, 0, 0, &foreignBuffer) == 0, "a buffer of another device")
    }

    private func openSpace() throws {
        var options = makeHeaderStruct(unbind_vm_options())
        options.policy = policy
        options.size = UInt64(pageCount * unit)
        options.page_sizes = pageSizes
        var opened: OpaquePointer?
        try require(unbind_vm_create(device, &options, &opened) == 0 && opened != nil, "an address space")
        space = opened!
        try require(unbind_queue_create(space, 0, &opened) == 0, "a queue")
        gpuQueue = opened!
        try require(unbind_timeline_create(device, &timeline) == 0, "a timeline")
        for _ in 0..<random.below(4) {
            try require(unbind_bind_queue_create(space, 0, &opened) == 0, "a bind queue")
            bindQueues.append(opened!)
            lastOnQueue.append(nil)
        }
        say("unit \(unit), \(pageCount) pages of \(String(pageSizes, radix: 16)), policy \(policy), "
            + "settled \(isSettled), starved \(isStarved), \(bindQueues.count) bind queues")
    }

    private func makeMemories() throws {
        for _ in 0..<2 + random.below(3) {
            let pages = pageSizes == 0x21_1000 ? pageCount : 4 + random.below(pageCount)
            let region = UInt32(random.below(2))
            var buffer: OpaquePointer?
            try require(unbind_bo_create(device, UInt64(pages * unit), region, 0, &buffer) == 0, "a buffer")
            memories.append(
                BatchMemory(index: memories.count, handle: buffer, memory: nil, pages: pages, unit: unit))
            regions.append(region)
        }
        let pages = 4 + random.below(12)
        var memory: UnsafeMutableRawPointer?
        posix_memalign(&memory, 0x20_0000, pages * unit)
        memset(memory!, 0, pages * unit)
        ownMemory.append(memory!)
        memories.append(BatchMemory(index: memories.count, handle: nil, memory: memory, pages: pages, unit: unit))
        regions.append(nil)
        if random.chance(isStarved ? 80 : 40) { try makeVMA() }
    }

    private func makeVMA() throws {
        let count = 1 + random.below(3)
        let start = random.below(pageCount - count)
        var options = makeHeaderStruct(unbind_vma_options())
        options.flags = UNBIND_VMA_FIXED
        options.address = UInt64(start * unit)
        var buffer: OpaquePointer?
        var handle: OpaquePointer?
        try require(unbind_bo_create(device, UInt64(count * unit), 0, 0, &buffer) == 0, "a VMA's buffer")
        try require(unbind_vma_create(space, buffer, &options, &handle) == 0, "a VMA")
        vmaPlace = BatchPlace(ofBuffer: buffer!)
        unbind_bo_unref(buffer)
        vma = (handle!, start, count, false)
    }

    // MARK: The program

    func run() throws -> BatchCoverage {
        do {
            while step < plan.batches {
                step += 1
                try takeStep()
            }
            try end()
            return coverage
        } catch let failure as SimulationFailure {
            if plan.isVerbose {
                _ = unbind_vm_dump(space, { _, text, length in _ = Glibc.write(1, text, length) }, nil)
            }
            throw SimulationFailure("step \(step): \(failure)")
        }
    }

    private func takeStep() throws {
        if !isSettled {
            if random.chance(25) { try submitJob() }
            if random.chance(30) { try signalGate() }
            try limitGates()
            if random.chance(40) { _ = unbind_device_run(device, UInt32(random.below(12)), nil) }
        } else {
            if random.chance(15) { try submitJob() }
            if random.chance(vma?.isBound == true ? 10 : 50) { try toggleVMA() }
        }
        try submitBatch()
        if isSettled { try settle() } else if random.chance(8) { try waitIdle() }
        try check()
        if isSettled, random.chance(30) {
            try submitJob(strays: random.chance(20))
            try settle()
            try check()
        }
    }

    private func signalGate() throws {
        guard let gate = random.pickOptional(gates.filter { !$0.isSignaled }) else { return }
        try signal(gate)
    }

    /// Not ever more may be under way.
    private func limitGates() throws {
        while gates.count(where: { !$0.isSignaled }) > 8 { try signalGate() }
        while gates.count > 24, let index = gates.firstIndex(where: \.isSignaled) {
            unbind_fence_unref(gates.remove(at: index).handle)
        }
    }

    func signal(_ gate: BatchGate) throws {
        say("a fence is signalled")
        gate.isSignaled = true
        try require(unbind_fence_signal(gate.handle, 0) == 0, "a signal")
    }

    func makeGate() throws -> BatchGate {
        var handle: OpaquePointer?
        try require(unbind_fence_create(device, &handle) == 0, "a fence")
        let gate = BatchGate(handle!)
        gates.append(gate)
        return gate
    }

    /// A VMA of the caller's takes a place, or leaves it.
    func toggleVMA() throws {
        guard let vma else { return }
        let range = vma.start..<vma.start + vma.count
        if vma.isBound {
            try require(unbind_vma_unbind(vma.handle, 0) == 0, "unbinding a VMA")
            for index in range { model.settle(index, .nothing) }
        } else {
            if range.contains(where: { model.last[$0].isThere }) {
                let status = unbind_vma_bind(vma.handle, 0)
                try require(status == -ENOSPC || status == -EBUSY, "a VMA was bound over a mapping: \(status)")
                return
            }
            try require(unbind_vma_bind(vma.handle, 0) == 0, "binding a VMA")
            for index in range { model.settle(index, BatchPage(.vma)) }
        }
        self.vma!.isBound = !vma.isBound
        say("the VMA is \(vma.isBound ? "unbound" : "bound") at \(range)")
    }

    /// All that can run has run.
    func waitIdle() throws {
        let status = unbind_device_wait_idle(device, UInt64.max, 0)
        try require(status == 0, "wait_idle: \(status)")
        try collect()
        try checkReasons()
        if jobs.allSatisfy(\.isDone) { for memory in memories { try memory.check() } }
    }

    /// Nothing is under way any more.
    func settle() throws {
        for gate in gates where !gate.isSignaled { try signal(gate) }
        try waitIdle()
        try require(records.isEmpty && jobs.isEmpty, "\(records.count) batches, \(jobs.count) jobs are not done")
        for gate in gates { unbind_fence_unref(gate.handle) }
        gates = []
    }

    // MARK: The end

    private func end() throws {
        let isAbrupt = random.chance(30)
        if !isAbrupt {
            try settle()
            try check()
            if vma?.isBound == true { try toggleVMA() }
            var operation = unbind_op()
            operation.op = UNBIND_OP_UNMAP
            operation.size = UInt64(pageCount * unit)
            try require(unbind_vm_submit(space, &operation, 1, nil) == 0, "the last unmap")
            let stats = batchStats()
            try require(stats.mappings == 0, "\(stats.mappings) mappings are left")
            for index in 0..<pageCount { model.settle(index, .nothing) }
            try check()
        }
        noteCoverage()
        for memory in memories { unbind_bo_unref(memory.handle) }
        if let vma { unbind_vma_unref(vma.handle) }
        for queue in bindQueues { unbind_bind_queue_unref(queue) }
        unbind_queue_unref(gpuQueue)
        unbind_vm_unref(space)
        for record in records {
            unbind_fence_unref(record.fence)
            unbind_fence_unref(record.signals?.handle)
        }
        for gate in gates { unbind_fence_unref(gate.handle) }
        for job in jobs { unbind_fence_unref(job.fence) }
        unbind_timeline_unref(timeline)
        var report = makeHeaderStruct(unbind_leak_report())
        try require(unbind_device_close(device, &report) == 0, "closing the device")
        try require(
            report.vms == 0 && report.bos == 0 && report.vmas == 0 && report.queues == 0 && report.fences == 0
                && report.bo_bytes == 0, "leaks: \(report)")
        unbind_device_unref(device)
        unbind_bo_unref(foreignBuffer)
        unbind_device_unref(foreignDevice)
        for memory in ownMemory { free(memory) }
        try require(hooks.complaint == nil, hooks.complaint ?? "")
    }

    private func noteCoverage() {
        let stats = batchStats()
        coverage.splits = stats.splits
        coverage.merges = stats.merges
        coverage.kept = stats.kept
        coverage.evictions = stats.evictions
        coverage.waits = stats.waits
        coverage.cuts = stats.cuts
    }

    func batchStats() -> unbind_batch_stats {
        var stats = makeHeaderStruct(unbind_batch_stats())
        _ = unbind_vm_get_batch_stats(space, &stats)
        return stats
    }
}
