// Real threads on a pool device: binding, unbinding, submitting, waiting and closing on shared VMs for a bounded number
// of operations. What is asserted is what holds under every interleaving; the rest is for ThreadSanitizer to find.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct StressTests {
    /// What the threads share. VMAs overlap each other; one thread's bind may fail with -ENOSPC at any time.
    private final class Arena: @unchecked Sendable {
        let memory = HookedMemory()
        let device: OpaquePointer
        var spaces: [OpaquePointer] = []
        var vmas: [OpaquePointer] = []
        var buffers: [OpaquePointer] = []
        var queues: [OpaquePointer] = []

        init(workers: UInt32, policy: UInt32) {
            var options = makeHeaderStruct(unbind_device_options())
            options.executor = UInt32(UNBIND_EXECUTOR_POOL)
            options.worker_count = workers
            var hooks = memory.hooks()
            var opened: OpaquePointer?
            withUnsafePointer(to: &hooks) { hooks in
                options.allocator = hooks
                precondition(unbind_device_open_software(&options, &opened) == 0)
            }
            device = opened!
            for index in 0..<2 {
                var options = makeHeaderStruct(unbind_vm_options())
                options.policy = policy
                options.flags = index == 1 ? UInt32(UNBIND_VM_CACHE_COLORING) : 0
                var space: OpaquePointer?
                precondition(unbind_vm_create(device, &options, &space) == 0)
                spaces.append(space!)
                var queue: OpaquePointer?
                precondition(unbind_queue_create(space, 0, &queue) == 0)
                queues.append(queue!)
            }
            for index in 0..<6 {
                var buffer: OpaquePointer?
                precondition(unbind_bo_create(device, 0x4000, UInt32(index % 2), 0, &buffer) == 0)
                buffers.append(buffer!)
                for space in spaces {
                    var options = makeHeaderStruct(unbind_vma_options())
                    if index < 4 {
                        options.flags = UInt32(UNBIND_VMA_FIXED)
                        options.address = UInt64(index) * 0x2000
                    }
                    var vma: OpaquePointer?
                    precondition(unbind_vma_create(space, buffer, &options, &vma) == 0)
                    vmas.append(vma!)
                }
            }
        }
    }

    @Test(
        "threads that bind, unbind, submit and wait on shared VMs leave nothing behind", arguments: [1, 2, 3],
        [0, 1, 2])
    func sharedSpaces(threads: Int, policy: Int) {
        let arena = Arena(workers: UInt32(threads), policy: UInt32(policy))
        let failures = SharedStatus()
        let running = (0...threads).map { index in
            PlainThread {
                Self.work(arena, seed: UInt64(index * 7 + policy), failures, closes: index == 0 && threads == 3)
            }
        }
        running.forEach { $0.join() }
        #expect(failures.get() == nil, "a call gave \(failures.get() ?? 0)")
        #expect(unbind_device_wait_idle(arena.device, 20_000_000_000, 0) == 0)
        for space in arena.spaces {
            let stats = spaceStats(space)
            #expect(stats.unbinds == stats.unbinds_immediate + stats.unbinds_deferred)
            #expect(stats.pending == 0 && stats.unbinds_completed == stats.unbinds)
            if policy == 0, space == arena.spaces[0] { #expect(stats.awaited_not_overlapping == 0) }
        }
        for vma in arena.vmas { unbind_vma_unref(vma) }
        for space in arena.spaces { unbind_vm_unref(space) }
        for buffer in arena.buffers { unbind_bo_unref(buffer) }
        for queue in arena.queues { unbind_queue_unref(queue) }
        var report = makeHeaderStruct(unbind_leak_report())
        #expect(unbind_device_close(arena.device, &report) == 0)
        #expect(report.vms == 0 && report.bos == 0 && report.vmas == 0 && report.queues == 0 && report.fences == 0)
        unbind_device_unref(arena.device)
        #expect(arena.memory.complaint == nil)
    }

    private static func work(_ arena: Arena, seed: UInt64, _ failures: SharedStatus, closes: Bool) {
        var random = SimulationRandom(seed: seed)
        var owed: [OpaquePointer] = []
        func check(_ status: Int32, _ allowed: [Int32]) {
            if !allowed.contains(status) { failures.set(status) }
        }
        for step in 0..<250 {
            let vma = random.pick(arena.vmas)
            var fence: OpaquePointer?
            switch random.below(12) {
            case 9: check(unbind_vma_bind_async(vma, UInt32(UNBIND_BIND_EVICT), &fence), [0, -ENOSPC, -ENOENT])
            case 10:
                let flags = UInt32(UNBIND_EVICT_ASYNC)
                let space = random.pick(arena.spaces)
                check(
                    random.chance(30)
                        ? unbind_vm_evict_all(space, flags)
                        : unbind_vm_evict_range(space, 0x2000, 0x2000, 0, flags), [0, -ENOSPC, -ENOENT])
            case 11:
                // Pinned for a moment; another thread may unpin it first.
                var options = makeHeaderStruct(unbind_pin_options())
                options.flags = UInt32(UNBIND_PIN_ASYNC | UNBIND_PIN_EVICT | (random.chance(50) ? UNBIND_PIN_BIAS : 0))
                if options.flags & UInt32(UNBIND_PIN_BIAS) != 0 { options.address = 0x4000 }
                let status = unbind_vma_pin(vma, &options)
                check(status, [0, -ENOSPC, -ENOENT, -EBUSY, -EINVAL])
                if status == 0 { check(unbind_vma_unpin(vma), [0, -ENOENT, -EINVAL]) }
            case 0, 1: check(unbind_vma_bind_async(vma, 0, &fence), [0, -ENOSPC, -ENOENT])
            case 2:
                // Whoever waits must not owe a fence: others may be waiting for it.
                for fence in owed { _ = unbind_fence_signal(fence, 0) }
                owed.forEach(unbind_fence_unref)
                owed = []
                check(unbind_vma_bind(vma, 0), [0, -ENOSPC, -ENOENT])
            case 3, 4:
                for fence in owed { _ = unbind_fence_signal(fence, 0) }
                owed.forEach(unbind_fence_unref)
                owed = []
                check(unbind_vma_unbind_async(vma, 0, &fence), [0, -EAGAIN])
            case 5:
                var user: OpaquePointer?
                check(unbind_fence_create(arena.device, &user), [0])
                check(unbind_vma_add_user(vma, user), [0, -EINVAL, -ENOENT])
                owed.append(user!)
            case 6: submit(arena, vma, &random, &fence, check)
            case 7:
                let space = random.pick(arena.spaces)
                _ = spaceStats(space)
                _ = unbind_vma_state(vma)
                _ = unbind_vma_address(vma)
                var page = makeHeaderStruct(unbind_page())
                check(unbind_vm_find_page(space, random.next() % 0x10000, &page), [0, -ENOENT])
            default: _ = deviceStats(arena.device)
            }
            if let fence {
                if owed.isEmpty, random.chance(20) { check(unbind_fence_wait(fence, 1_000_000, 0), [0, -ETIME]) }
                unbind_fence_unref(fence)
            }
            if owed.count > 3 || random.chance(30) {
                for fence in owed { _ = unbind_fence_signal(fence, random.chance(20) ? -EIO : 0) }
                owed.forEach(unbind_fence_unref)
                owed = []
            }
            if closes, step == 200 { check(unbind_vm_close(arena.spaces[1]), [0]) }
        }
        for fence in owed { _ = unbind_fence_signal(fence, 0) }
        owed.forEach(unbind_fence_unref)
    }

    /// A job that writes through the VMA, if it is bound at this moment.
    private static func submit(
        _ arena: Arena, _ vma: OpaquePointer, _ random: inout SimulationRandom, _ fence: inout OpaquePointer?,
        _ check: (Int32, [Int32]) -> Void
    ) {
        let address = unbind_vma_address(vma)
        if address == UInt64.max { return }
        var command = unbind_command()
        command.op = UInt32(UNBIND_COMMAND_FILL)
        command.address = address
        command.size = 0x1000
        command.value = random.next() & 0xffff_ffff
        var listed = unbind_submit_vma(vma: vma, use: UInt32(UNBIND_USE_WRITE), reserved: 0)
        // One of the two queues is of the VMA's VM.
        let queue = random.pick(arena.queues)
        withUnsafePointer(to: &command) { command in
            withUnsafePointer(to: &listed) { listed in
                var submit = makeHeaderStruct(unbind_submit())
                submit.commands = command
                submit.command_count = 1
                submit.vmas = listed
                submit.vma_count = 1
                check(unbind_queue_submit(queue, &submit, &fence), [0, -EINVAL, -ENOENT])
            }
        }
    }
}
