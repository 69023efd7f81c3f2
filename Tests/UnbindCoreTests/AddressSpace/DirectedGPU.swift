// A device with one VM for a directed test, through the C functions only; closing it asserts that nothing leaked.

import CUnbind
import Glibc
import Testing

final class DirectedGPU {
    let memory = HookedMemory()
    /// Counts the power callbacks; nil: the device has none.
    let power: PowerMeter?
    /// Told of binds and unbinds; nil: the device tells nobody.
    let bindings: BindingLog?
    let device: OpaquePointer
    private let faultLog = FaultLog()
    var faults: [unbind_fault] { faultLog.all }
    var faultCount: Int { Int(deviceStats(device).faults) }
    private var fences: [OpaquePointer] = []
    private var objects: [() -> Void] = []

    /// - Parameter cost: nil: nothing costs anything.
    init(
        executor: UInt32 = UInt32(UNBIND_EXECUTOR_SIMULATED), workers: UInt32 = 0, cost: unbind_cost_model? = nil,
        pageSizes: UInt64 = 0, power: PowerMeter? = nil, bindings: BindingLog? = nil
    ) {
        self.power = power
        var options = makeHeaderStruct(unbind_device_options())
        options.executor = executor
        options.worker_count = workers
        options.seed = 1
        options.page_sizes = pageSizes
        faultLog.install(in: &options)
        self.bindings = bindings
        bindings?.install(in: &options)
        var hooks = memory.hooks()
        var cost = cost ?? makeHeaderStruct(unbind_cost_model())
        var opened: OpaquePointer?
        let status = withUnsafePointer(to: &hooks) { hooks in
            withUnsafePointer(to: &cost) { cost in
                options.allocator = hooks
                options.cost_model = cost
                guard var callbacks = power?.callbacks() else { return unbind_device_open_software(&options, &opened) }
                return withUnsafePointer(to: &callbacks) { callbacks in
                    options.power = callbacks
                    return unbind_device_open_software(&options, &opened)
                }
            }
        }
        precondition(status == 0, "the device does not open: \(status)")
        device = opened!
    }

    func makeSpace(policy: Int = Int(UNBIND_POLICY_RANGES), flags: UInt32 = 0, size: UInt64 = 0) -> OpaquePointer {
        var options = makeHeaderStruct(unbind_vm_options())
        options.policy = UInt32(policy)
        options.flags = flags
        options.size = size
        var space: OpaquePointer?
        #expect(unbind_vm_create(device, &options, &space) == 0)
        objects.append { unbind_vm_unref(space) }
        return space!
    }

    func makeBuffer(_ size: UInt64 = 0x1000) -> OpaquePointer {
        var buffer: OpaquePointer?
        #expect(unbind_bo_create(device, size, UInt32(UNBIND_REGION_SYSTEM), 0, &buffer) == 0)
        objects.append { unbind_bo_unref(buffer) }
        return buffer!
    }

    /// A VMA of a buffer of its own, if none is given.
    func makeVMA(
        _ space: OpaquePointer, at address: UInt64?, buffer: OpaquePointer? = nil, size: UInt64 = 0x1000,
        color: UInt32 = 0, flags: UInt32 = 0, isKept: Bool = true
    ) -> OpaquePointer {
        var options = makeHeaderStruct(unbind_vma_options())
        options.flags = flags
        if let address {
            options.flags |= UInt32(UNBIND_VMA_FIXED)
            options.address = address
        }
        options.color = color
        var vma: OpaquePointer?
        #expect(unbind_vma_create(space, buffer ?? makeBuffer(size), &options, &vma) == 0)
        if isKept { objects.append { unbind_vma_unref(vma) } }
        return vma!
    }

    func makeQueue(_ space: OpaquePointer) -> OpaquePointer {
        var queue: OpaquePointer?
        #expect(unbind_queue_create(space, 0, &queue) == 0)
        objects.append { unbind_queue_unref(queue) }
        return queue!
    }

    func makeFence() -> OpaquePointer {
        var fence: OpaquePointer?
        #expect(unbind_fence_create(device, &fence) == 0)
        return kept(fence!)
    }

    /// A fence of the caller's, attached to the VMA.
    func makeUser(of vma: OpaquePointer) -> OpaquePointer {
        let fence = makeFence()
        #expect(unbind_vma_add_user(vma, fence) == 0)
        return fence
    }

    private func kept(_ fence: OpaquePointer) -> OpaquePointer {
        fences.append(fence)
        return fence
    }

    func bind(_ vma: OpaquePointer) { #expect(unbind_vma_bind(vma, 0) == 0) }

    func bindAsync(_ vma: OpaquePointer) -> OpaquePointer {
        var fence: OpaquePointer?
        #expect(unbind_vma_bind_async(vma, 0, &fence) == 0)
        return kept(fence!)
    }

    func unbindAsync(_ vma: OpaquePointer) -> OpaquePointer {
        var fence: OpaquePointer?
        #expect(unbind_vma_unbind_async(vma, 0, &fence) == 0)
        return kept(fence!)
    }

    /// A job that stores `value` at each address, with those VMAs listed.
    func store(
        _ queue: OpaquePointer, _ value: UInt64, at addresses: [UInt64], using vmas: [OpaquePointer],
        after waits: [OpaquePointer] = []
    ) -> OpaquePointer {
        let commands = addresses.map { address in
            var command = unbind_command()
            command.op = UInt32(UNBIND_COMMAND_STORE)
            command.address = address
            command.value = value
            return command
        }
        let listed = vmas.map { unbind_submit_vma(vma: $0, use: UInt32(UNBIND_USE_WRITE), reserved: 0) }
        let waitHandles = waits.map { Optional($0) }
        var fence: OpaquePointer?
        commands.withUnsafeBufferPointer { commands in
            listed.withUnsafeBufferPointer { listed in
                waitHandles.withUnsafeBufferPointer { waits in
                    var submit = makeHeaderStruct(unbind_submit())
                    submit.commands = commands.baseAddress
                    submit.command_count = UInt32(commands.count)
                    submit.vmas = listed.baseAddress
                    submit.vma_count = UInt32(listed.count)
                    submit.wait_fences = waits.baseAddress
                    submit.wait_fence_count = UInt32(waits.count)
                    #expect(unbind_queue_submit(queue, &submit, &fence) == 0)
                }
            }
        }
        return kept(fence!)
    }

    func signal(_ fence: OpaquePointer, error: Int32 = 0) { #expect(unbind_fence_signal(fence, error) == 0) }
    func isSignalled(_ fence: OpaquePointer) -> Bool { unbind_fence_is_signaled(fence) == 1 }

    /// Runs all that can run.
    func run() { #expect(unbind_device_run(device, 0, nil) == 0) }

    func isBound(_ vma: OpaquePointer) -> Bool { unbind_vma_state(vma) == Int32(UNBIND_VMA_BOUND) }
    func isBinding(_ vma: OpaquePointer) -> Bool { unbind_vma_state(vma) == Int32(UNBIND_VMA_BINDING) }
    func isUnbound(_ vma: OpaquePointer) -> Bool { unbind_vma_state(vma) == Int32(UNBIND_VMA_UNBOUND) }

    /// The page that covers the address; nil if nothing is mapped there.
    func page(_ space: OpaquePointer, at address: UInt64) -> SimulationPage? {
        var page = makeHeaderStruct(unbind_page())
        guard unbind_vm_find_page(space, address, &page) == 0, page.address <= address else { return nil }
        return SimulationPage(
            address: page.address, size: page.size, flags: page.flags, buffer: page.bo_id, offset: page.bo_offset)
    }

    func word(_ buffer: OpaquePointer, at offset: Int = 0) -> UInt64 {
        unbind_bo_cpu_pointer(buffer)!.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    }

    /// Drops every object in the order they were made, or the reverse, and closes.
    func close(isReversed: Bool = false) {
        dropObjects(isReversed: isReversed)
        dropFences()
        closeDevice()
    }

    func dropObjects(isReversed: Bool = false) {
        let drops = isReversed ? objects.reversed() : objects
        objects = []
        for drop in drops { drop() }
    }

    func dropFences() {
        for fence in fences { unbind_fence_unref(fence) }
        fences = []
    }

    @discardableResult
    func closeDevice() -> unbind_leak_report {
        var report = makeHeaderStruct(unbind_leak_report())
        #expect(unbind_device_close(device, &report) == 0)
        #expect(report.vms == 0 && report.bos == 0 && report.vmas == 0 && report.queues == 0 && report.fences == 0 && report.timelines == 0)
        unbind_device_unref(device)
        #expect(memory.complaint == nil)
        if let power { #expect(power.references == 0 && power.complaint == nil, "\(power.counts)") }
        return report
    }
}
