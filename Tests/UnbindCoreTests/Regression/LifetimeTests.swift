// Who may go first, and when (kernel semantics 1.11; M4, M6, M9, P5, P28, D3).

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct LifetimeTests {
    /// Every step takes time, so that a run can be stopped in the middle of each.
    private static var costs: unbind_cost_model {
        var cost = makeHeaderStruct(unbind_cost_model())
        cost.pte_ps = 1_000_000
        cost.tlb_flush_ns = 1_000
        cost.command_ns = 100
        return cost
    }

    /// What an unbind is at when its VM goes.
    private enum Stage: CaseIterable {
        case waiting, running, ready, clearing, invalidating, held, completed, overBind, suspended
    }

    private func bring(_ vma: OpaquePointer, to stage: Stage, _ gpu: DirectedGPU, _ space: OpaquePointer) -> () -> Void {
        let start = unbind_vma_address(vma)
        func runFor(_ time: UInt64) {
            #expect(unbind_device_run_until(gpu.device, unbind_device_now(gpu.device) + time) == 0)
        }
        switch stage {
        case .waiting, .suspended, .overBind:
            let user = gpu.makeUser(of: vma)
            _ = gpu.unbindAsync(vma)
            if stage == .overBind { _ = gpu.bindAsync(gpu.makeVMA(space, at: start)) }
            if stage == .suspended { #expect(unbind_vm_suspend(space) == 0) }
            return { gpu.signal(user) }
        case .running:
            let queue = gpu.makeQueue(space)
            _ = gpu.store(queue, 1, at: [start], using: [vma])
            _ = gpu.unbindAsync(vma)
            runFor(50)
        case .ready: _ = gpu.unbindAsync(vma)
        case .clearing:
            _ = gpu.unbindAsync(vma)
            runFor(500)
        case .invalidating:
            _ = gpu.unbindAsync(vma)
            runFor(1_500)
            #expect(gpu.page(space, at: start) == nil)
        case .held:
            let held = BindingHold(ofVMA: vma)
            _ = gpu.unbindAsync(vma)
            gpu.run()
            return { held.end() }
        case .completed:
            _ = gpu.unbindAsync(vma)
            gpu.run()
        }
        return {}
    }

    @Test("M4: a VM is destroyed with an unbind in each state, alone and with others, and loses none", arguments: 0..<18)
    func destroyInEachState(index: Int) {
        let stages = Stage.allCases
        let stage = stages[index % stages.count]
        let power = PowerMeter()
        let gpu = DirectedGPU(cost: Self.costs, power: power)
        let space = gpu.makeSpace(flags: UInt32(UNBIND_VM_GLOBAL))
        let others = (0..<(index < stages.count ? 0 : 5)).map { gpu.makeVMA(space, at: 0x10_0000 + UInt64($0) * 0x1000) }
        let vma = gpu.makeVMA(space, at: 0x10000)
        for vma in others + [vma] { gpu.bind(vma) }
        let users = others.map(gpu.makeUser)
        for vma in others.dropLast(2) { _ = gpu.unbindAsync(vma) }
        let end = bring(vma, to: stage, gpu, space)
        // The VM's handle goes first, then VMAs, buffers, queues.
        gpu.dropObjects()
        end()
        for user in users { gpu.signal(user) }
        gpu.run()
        let stats = deviceStats(gpu.device)
        #expect(stats.system_bytes == 0, "\(stage): pages are left")
        #expect(power.references == 0, "\(stage)")
        gpu.dropFences()
        #expect(gpu.closeDevice().unbinds_completed == 0, "\(stage): all was over before the close")
    }

    @Test("M4: a device is closed with an unbind in each state", arguments: 0..<9)
    func closeInEachState(index: Int) {
        let stage = Stage.allCases[index]
        // Nobody would be left to end the hold that the close waits for.
        if stage == .held { return }
        let gpu = DirectedGPU(cost: Self.costs)
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        _ = bring(vma, to: stage, gpu, space)
        #expect(unbind_device_close(gpu.device, nil) == 0)
        let stats = spaceStats(space)
        #expect(stats.pending == 0 && stats.unbinds_completed == stats.unbinds && stats.unbinds > 0, "\(stage)")
        gpu.dropObjects()
        gpu.dropFences()
        unbind_device_unref(gpu.device)
        #expect(gpu.memory.complaint == nil)
    }

    @Test("P28: an unbind ends after its VMA, its buffer and its VM's handle have gone; only the pages outlive them")
    func unbindNeedsNoVMA() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        var buffer: OpaquePointer?
        #expect(unbind_bo_create(gpu.device, 0x1000, 0, 0, &buffer) == 0)
        let vma = gpu.makeVMA(space, at: 0x10000, buffer: buffer, isKept: false)
        let other = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let gate = gpu.makeFence()
        let job = gpu.store(queue, 9, at: [0x10000], using: [vma], after: [gate])
        let unbind = gpu.unbindAsync(vma)
        unbind_vma_unref(vma)
        unbind_bo_unref(buffer)
        // What takes their memory next would be found in their place.
        let bind = gpu.bindAsync(other)
        #expect(deviceStats(gpu.device).system_bytes == 0x2000, "the pages of both")
        gpu.signal(gate)
        gpu.run()
        var error: Int32 = 1
        #expect(unbind_fence_get_error(job, &error) == 0 && error == 0)
        #expect(gpu.isSignalled(unbind) && gpu.isSignalled(bind) && deviceStats(gpu.device).system_bytes == 0x1000)
        gpu.close()
    }

    @Test("M9: what failed before an unbind is not the unbind's error, and keeps nobody from using the range")
    func errorsStayWithTheWork() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        let refused = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        let faulty = gpu.store(queue, 1, at: [0x10000, 0x7000_0000], using: [old], after: [])
        // A bind that failed has nothing to unbind.
        #expect(unbind_vma_bind_async(refused, 0, nil) == -ENOSPC && gpu.isSignalled(gpu.unbindAsync(refused)))
        let unbind = gpu.unbindAsync(old)
        let bind = gpu.bindAsync(new)
        let second = gpu.unbindAsync(new)
        let job = gpu.store(queue, 1, at: [], using: [], after: [user])
        gpu.signal(user, error: -EIO)
        gpu.run()
        func error(_ fence: OpaquePointer) -> Int32 {
            var error: Int32 = 1
            return unbind_fence_get_error(fence, &error) == 0 ? error : 2
        }
        #expect(error(faulty) == -EFAULT && error(job) == -EIO)
        #expect(error(unbind) == 0 && error(bind) == 0 && error(second) == 0)
        #expect(walkPages(space) == [])
        gpu.bind(refused)
        gpu.close()
    }

    @Test("P5, M6: a VMA's last reference, its unbind, a bind over it and its VM's close come from four threads at once")
    func threadsMeet() {
        for round in 0..<120 {
            let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 2)
            let space = gpu.makeSpace()
            let vma = gpu.makeVMA(space, at: 0x10000, isKept: false)
            let over = gpu.makeVMA(space, at: 0x10000)
            gpu.bind(vma)
            let user = gpu.makeUser(of: vma)
            _ = unbind_vma_ref(vma)
            let start = SharedStatus()
            func atOnce(_ body: @escaping () -> Void) -> PlainThread {
                PlainThread {
                    while start.get() == nil { sched_yield() }
                    body()
                }
            }
            let threads = [
                atOnce { unbind_vma_unref(vma) },
                atOnce {
                    var fence: OpaquePointer?
                    _ = unbind_vma_unbind_async(vma, 0, &fence)
                    unbind_fence_unref(fence)
                    unbind_vma_unref(vma)
                },
                atOnce { if round % 2 == 0 { _ = unbind_vma_bind_async(over, 0, nil) } },
                atOnce { if round % 3 != 0 { _ = unbind_vm_close(space) } },
                atOnce { _ = unbind_fence_signal(user, 0) },
            ]
            start.set(0)
            for thread in threads { thread.join() }
            #expect(unbind_device_wait_idle(gpu.device, UInt64.max, 0) == 0)
            #expect(spaceStats(space).pending == 0)
            gpu.close()
        }
    }

    @Test("D3, P31: unbinds complete while another thread keeps the lock of their VM")
    func completionTakesNoLock() {
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 1)
        let space = gpu.makeSpace()
        let vmas = (0..<50).map { gpu.makeVMA(space, at: UInt64($0) * 0x1000) }
        let user = gpu.makeFence()
        for vma in vmas {
            gpu.bind(vma)
            #expect(unbind_vma_add_user(vma, user) == 0)
        }
        let unbinds = vmas.map(gpu.unbindAsync)
        let signaller = VMLock.held(of: space) {
            let signaller = PlainThread { _ = unbind_fence_signal(user, 0) }
            // Looked at, not waited for: whoever holds a lock may not wait.
            for _ in 0..<300_000 where !unbinds.allSatisfy(gpu.isSignalled) { usleep(1_000) }
            #expect(unbinds.allSatisfy(gpu.isSignalled))
            return signaller
        }
        signaller.join()
        // The nodes are reaped by the next lookup, and are in nobody's way.
        for vma in vmas { gpu.bind(vma) }
        #expect(spaceStats(space).awaited == 0 && spaceStats(space).pending == 0)
        gpu.close()
    }
}
