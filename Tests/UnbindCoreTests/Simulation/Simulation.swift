// Simulation: one random program on one simulated device, with the reference model beside it.
//
// The seed decides the device, the objects and every operation. A "calm" program has no fences of the caller's, so that
// nothing in it can block for ever and its choices never depend on what the library did: the same one can be run under
// each policy and must end the same.

import CUnbind
import Glibc

final class Simulation {
    struct Plan {
        var seed: UInt64
        var isCalm = false
        /// Overrides the policies of the VMs.
        var policy: UInt32?
        var isVerbose = false
    }

    /// What two runs of the same program are compared by.
    struct Outcome {
        var pages: [[SimulationPage]] = []
        var bytes: [[UInt8]] = []
        var statistics: [[UInt8]] = []
        var digest: UInt64 = 0
        var now: UInt64 = 0
        var coverage = SimulationCoverage()
    }

    let plan: Plan
    var random: SimulationRandom
    let memory = HookedMemory()
    let power: PowerMeter
    var device: OpaquePointer
    private var isOpen = false
    var costsNothing = false
    /// Then no unbind is done within its call.
    var flushTakesTime = false
    var pageSizes: UInt64 = 0
    var step = 0
    var stamp = 0

    var spaces: [SimulationSpace] = []
    var buffers: [SimulationBuffer] = []
    var vmas: [SimulationVMA] = []
    var queues: [SimulationQueue] = []
    var jobs: [SimulationJob] = []
    var fences: [SimulationFence] = []
    var holds: [SimulationHold] = []
    /// How many of the next copies fail; nil if that is not known.
    var failingCopies: Int? = 0
    /// The copy queue's last one, and how many it was given.
    var lastCopy: SimulationFence?
    var queuedCopies = 0
    /// Copies of which the program cannot tell whether they were queued or made by the CPU.
    var perhapsQueuedCopies = 0
    var hasLittleLocalMemory = false

    /// Fences in the order in which they signalled; the first `processed` have been checked.
    var signalled: [SimulationFence] = []
    var processed = 0
    /// How many had when the present step began.
    var signalledBeforeStep = 0
    var faults: [unbind_fault] = []
    var processedFaults = 0
    var expectedFaults = 0
    var releases: [SimulationBuffer] = []
    var outcome = Outcome()

    init(_ plan: Plan) throws {
        self.plan = plan
        random = SimulationRandom(seed: plan.seed)
        power = PowerMeter(alwaysAnswers: random.pick([nil, true, false]))
        // A placeholder until the device is there: closures below need self.
        device = OpaquePointer(bitPattern: 8)!
        try openDevice()
    }

    /// Runs the program to its end. Throws a SimulationFailure that names the step.
    func run() throws -> Outcome {
        do {
            try makeObjects()
            let count = 30 + random.below(31)
            while step < count {
                step += 1
                signalledBeforeStep = signalled.count
                try operate()
                try checkStep()
            }
            try settle()
            try tearDown()
            breakCycles()
            return outcome
        } catch let failure as SimulationFailure {
            throw SimulationFailure("step \(step): \(failure)")
        }
    }

    /// The model's objects name each other in circles.
    private func breakCycles() {
        for buffer in buffers {
            buffer.writer = nil
            buffer.readers = []
            buffer.moves = SimulationMoves()
        }
        for hold in holds { hold.binding.holds = [] }
        for fence in fences { fence.buffer = nil }
        for vma in vmas { vma.binding = nil }
        for space in spaces {
            space.vmas = []
            space.pending = []
        }
    }

    func say(_ text: @autoclosure () -> String) {
        if plan.isVerbose { print("  [\(step)] t=\(isOpen ? unbind_device_now(device) : 0) \(text())") }
    }

    // MARK: The device

    private func openDevice() throws {
        var cost = makeHeaderStruct(unbind_cost_model())
        let costKind = random.below(3)
        if costKind == 1 {
            cost.pte_ps = random.next() % 5_000
            cost.tlb_flush_ns = random.next() % 30_000
            cost.byte_ps = random.next() % 100
            cost.command_ns = random.next() % 2_000
        }
        costsNothing = costKind == 0
        flushTakesTime = costKind == 2 || cost.tlb_flush_ns > 0
        var options = makeHeaderStruct(unbind_device_options())
        options.executor = UNBIND_EXECUTOR_SIMULATED
        options.flags = random.chance(30) ? UInt32(UNBIND_DEVICE_NO_SLABS) : 0
        options.seed = random.next()
        options.page_sizes = random.pick([0, 0, 0x1000, 0x1_1000, 0x20_1000, 0x21_1000, 0x1_0000, 0x21_0000])
        pageSizes = options.page_sizes == 0 ? 0x21_1000 : options.page_sizes
        // Not for calm programs: when memory comes back depends on the policy.
        let localMemory: UInt64 = random.pick([0, 12 << 20])
        options.local_memory_bytes = plan.isCalm ? 0 : localMemory
        hasLittleLocalMemory = options.local_memory_bytes != 0
        options.fault_data = Unmanaged.passUnretained(self).toOpaque()
        options.fault = { data, fault in
            Unmanaged<Simulation>.fromOpaque(data!).takeUnretainedValue().faults.append(fault!.pointee)
        }
        options.log_data = Unmanaged.passUnretained(self).toOpaque()
        options.log = { data, level, message in
            let simulation = Unmanaged<Simulation>.fromOpaque(data!).takeUnretainedValue()
            simulation.say("log \(level): \(String(cString: message!))")
        }
        var hooks = memory.hooks()
        var opened: OpaquePointer?
        let status = withUnsafePointer(to: &hooks) { hooks in
            withUnsafePointer(to: &cost) { cost in
                withUnsafePointer(to: power.callbacks()) { power in
                    options.allocator = hooks
                    options.cost_model = costKind == 2 ? nil : cost
                    options.power = power
                    return unbind_device_open_software(&options, &opened)
                }
            }
        }
        try require(status == 0 && opened != nil, "device open: \(status)")
        device = opened!
        isOpen = true
        let costs = costKind == 2 ? "default costs" : "\(cost)"
        say("device: page sizes \(String(pageSizes, radix: 16)), \(costs), flags \(options.flags)")
    }

    private func makeObjects() throws {
        for _ in 0..<1 + random.below(3) { try makeSpace() }
        for _ in 0..<2 + random.below(4) { try makeBuffer() }
        for _ in 0..<4 + random.below(6) { try makeVMA() }
    }

    // MARK: Fences

    /// Records a fence that the library gave, or that the program made, and watches it. `handle` nil: not to be seen.
    @discardableResult
    func record(
        _ kind: SimulationFence.Kind, _ handle: OpaquePointer?, must: [SimulationFence] = [],
        may: [SimulationFence] = []
    ) throws -> SimulationFence {
        let fence = SimulationFence(self, fences.count, kind, must: must, may: may)
        fences.append(fence)
        guard let handle else { return fence }
        fence.handle = handle
        let storage = UnsafeMutablePointer<unbind_fence_callback>.allocate(capacity: 1)
        memset(storage, 0xcc, MemoryLayout<unbind_fence_callback>.stride)
        let data = Unmanaged.passUnretained(fence).toOpaque()
        let status = unbind_fence_add_callback(handle, storage, simulationFenceSignalled, data)
        if status == -ENOENT {
            storage.deallocate()
            try require(unbind_fence_is_signaled(handle) == 1, "\(fence.name): -ENOENT for a callback, not signalled")
            note(fence)
        } else {
            try require(status == 0, "\(fence.name): add_callback gave \(status)")
            fence.callback = storage
        }
        return fence
    }

    /// Notes a signal: called from the fence's callback, or when it was found signalled.
    func note(_ fence: SimulationFence) {
        fence.position = signalled.count
        signalled.append(fence)
        var time: UInt64 = 0
        var error: Int32 = 0
        // Both are marked as not blocking: they can be called from a callback.
        let gotTime = unbind_fence_get_timestamp(fence.handle, &time)
        let gotError = unbind_fence_get_error(fence.handle, &error)
        fence.time = gotTime == 0 ? time : UInt64.max
        fence.error = gotError == 0 ? error : 1
    }

    /// Drops the handle of a fence: from now on it can only be inferred that it is done.
    func dropHandle(_ fence: SimulationFence) throws {
        guard let handle = fence.handle else { return }
        if let callback = fence.callback {
            if fence.position == nil {
                let status = unbind_fence_remove_callback(handle, callback)
                try require(status == 0, "\(fence.name): remove_callback gave \(status)")
            }
            callback.deallocate()
            fence.callback = nil
        }
        fence.handle = nil
        unbind_fence_unref(handle)
    }
}

private func simulationFenceSignalled(_ handle: OpaquePointer?, _ data: UnsafeMutableRawPointer?) {
    let fence = Unmanaged<SimulationFence>.fromOpaque(data!).takeUnretainedValue()
    fence.owner.note(fence)
    if handle != fence.handle { fence.error = 2 }
    if let next = fence.chained, next.position == nil, let target = next.handle {
        _ = unbind_fence_signal(target, 0)
    }
}
