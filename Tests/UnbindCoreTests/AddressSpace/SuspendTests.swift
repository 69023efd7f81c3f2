// Suspending and resuming an address space (kernel semantics 1.4, 1.11).

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct SuspendTests {
    private func suspend(_ space: OpaquePointer) { #expect(unbind_vm_suspend(space) == 0) }
    private func resume(_ space: OpaquePointer) { #expect(unbind_vm_resume(space) == 0) }
    /// For a place inside another expectation.
    private func check(_ isTrue: Bool) { #expect(isTrue) }

    @Test("1.11: what is bound stays bound, finds no entry while suspended, and its entries come back as they were")
    func comesBack() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vmas = [
            gpu.makeVMA(space, at: 0x1000), gpu.makeVMA(space, at: 0x20_0000, size: 0x40_0000),
            gpu.makeVMA(space, at: 0x100_0000, size: 0x11_0000),
            gpu.makeVMA(space, at: 1 << 47, flags: UInt32(UNBIND_VMA_READ_ONLY)),
        ]
        for vma in vmas { gpu.bind(vma) }
        let before = walkPages(space)
        let binds = spaceStats(space).binds
        suspend(space)
        #expect(walkPages(space) == [] && vmas.allSatisfy(gpu.isBound) && unbind_vma_address(vmas[1]) == 0x20_0000)
        resume(space)
        #expect(walkPages(space) == before && before?.isEmpty == false && spaceStats(space).binds == binds)
        for vma in vmas { #expect(unbind_vma_unbind(vma, 0) == 0) }
        #expect(walkPages(space) == [] && spaceStats(space).unbinds_skipped_ptes == 0)
        gpu.close()
    }

    @Test("1.11: an engine that knew the old translations reads through the new ones")
    func enginesForget() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        let buffers = [gpu.makeBuffer(), gpu.makeBuffer()]
        let vmas = buffers.map { gpu.makeVMA(space, at: 0x10000, buffer: $0) }
        gpu.bind(vmas[0])
        _ = gpu.store(queue, 1, at: [0x10000], using: [vmas[0]])
        gpu.run()
        suspend(space)
        #expect(unbind_vma_unbind(vmas[0], 0) == 0)
        gpu.bind(vmas[1])
        resume(space)
        let job = gpu.store(queue, 2, at: [0x10000], using: [vmas[1]])
        gpu.run()
        var error: Int32 = 1
        #expect(unbind_fence_get_error(job, &error) == 0 && error == 0)
        #expect(gpu.word(buffers[0]) == 1 && gpu.word(buffers[1]) == 2)
        gpu.close()
    }

    @Test("a job in flight is -EBUSY, whether it runs or waits; whoever has waited for its fence can suspend")
    func jobsInFlight() {
        for executor in [UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_SIMULATED] {
            let gpu = DirectedGPU(executor: UInt32(executor), workers: executor == UNBIND_EXECUTOR_POOL ? 2 : 0)
            let space = gpu.makeSpace()
            let queue = gpu.makeQueue(space)
            let vma = gpu.makeVMA(space, at: 0x10000)
            gpu.bind(vma)
            let gate = gpu.makeFence()
            let job = gpu.store(queue, 1, at: [0x10000], using: [vma], after: [gate])
            #expect(unbind_vm_suspend(space) == -EBUSY && gpu.page(space, at: 0x10000) != nil)
            gpu.signal(gate)
            for _ in 0..<200 {
                #expect(unbind_fence_wait(job, UInt64.max, 0) == 0)
                let next = gpu.store(queue, 1, at: [0x10000], using: [vma])
                #expect(unbind_fence_wait(next, UInt64.max, 0) == 0)
                suspend(space)
                resume(space)
            }
            gpu.close()
        }
    }

    @Test("submits are -EAGAIN while suspended, and leave nothing behind")
    func submits() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        suspend(space)
        var listed = unbind_submit_vma(vma: vma, use: UInt32(UNBIND_USE_WRITE), reserved: 0)
        var submit = makeHeaderStruct(unbind_submit())
        var fence: OpaquePointer?
        withUnsafePointer(to: &listed) { listed in
            submit.vmas = listed
            submit.vma_count = 1
            #expect(unbind_queue_submit(queue, &submit, &fence) == -EAGAIN && fence == nil)
        }
        #expect(gpu.isSignalled(gpu.unbindAsync(vma)), "nothing was attached to it")
        gpu.bind(vma)
        resume(space)
        let job = gpu.store(queue, 1, at: [0x10000], using: [vma])
        gpu.run()
        #expect(gpu.isSignalled(job))
        gpu.close()
    }

    @Test("suspending twice, resuming what is not suspended, and either on a closed VM are refused")
    func wrongState() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        #expect(unbind_vm_resume(space) == -EINVAL)
        suspend(space)
        #expect(unbind_vm_suspend(space) == -EINVAL)
        #expect(unbind_vm_close(space) == 0)
        #expect(unbind_vm_resume(space) == -ENOENT && unbind_vm_suspend(space) == -ENOENT)
        #expect(unbind_vm_suspend(nil) == -EINVAL && unbind_vm_resume(nil) == -EINVAL)
        gpu.close()
    }

    @Test("1.4: an unbind while suspended clears nothing, but waits for its user and its hold, and is waited for")
    func unbindsWhileSuspended() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        let cleared = deviceStats(gpu.device).ptes_cleared
        suspend(space)
        let held = BindingHold(ofVMA: old)
        let unbind = gpu.unbindAsync(old)
        let bind = gpu.bindAsync(new)
        gpu.run()
        #expect(!gpu.isSignalled(unbind) && !gpu.isSignalled(bind) && spaceStats(space).pending == 1)
        gpu.signal(user)
        gpu.run()
        #expect(!gpu.isSignalled(unbind) && !gpu.isSignalled(bind))
        held.end()
        gpu.run()
        #expect(gpu.isSignalled(unbind) && gpu.isSignalled(bind) && gpu.isBound(new))
        #expect(deviceStats(gpu.device).ptes_cleared == cleared && spaceStats(space).unbinds_skipped_ptes == 1)
        #expect(gpu.page(space, at: 0x10000) == nil)
        resume(space)
        #expect(gpu.page(space, at: 0x10000)?.buffer != nil && walkPages(space)?.count == 1)
        gpu.close()
    }

    @Test("an unbind that was pending at the suspend is not written again, and still keeps its range after the resume")
    func pendingAcross() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        let unbind = gpu.unbindAsync(old)
        #expect(gpu.page(space, at: 0x10000) != nil)
        suspend(space)
        resume(space)
        #expect(gpu.page(space, at: 0x10000) == nil)
        let bind = gpu.bindAsync(new)
        gpu.run()
        #expect(!gpu.isSignalled(bind))
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(unbind) && gpu.isSignalled(bind) && gpu.page(space, at: 0x10000) != nil)
        #expect(spaceStats(space).unbinds_skipped_ptes == 1)
        gpu.close()
    }

    @Test("an asynchronous bind that is under way at the suspend, or ends during it, gets its entries", arguments: 0..<3)
    func bindUnderWay(endsWhen: Int) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        _ = gpu.unbindAsync(old)
        let bind = gpu.bindAsync(new)
        func end(_ when: Int) {
            if when != endsWhen { return }
            gpu.signal(user)
            gpu.run()
            #expect(gpu.isSignalled(bind) && gpu.isBound(new))
        }
        suspend(space)
        end(0)
        #expect(walkPages(space) == [])
        if endsWhen == 2 {
            // Again and again, without its turn having come.
            resume(space)
            suspend(space)
        }
        resume(space)
        #expect((gpu.page(space, at: 0x10000) != nil) == (endsWhen == 0))
        end(1)
        end(2)
        #expect(walkPages(space)?.count == 1 && gpu.page(space, at: 0x10000)?.buffer != 0)
        #expect(unbind_vma_unbind(new, 0) == 0 && walkPages(space) == [])
        gpu.close()
    }

    @Test("binds while suspended take their range and are written by the resume; one that is unbound before is not")
    func bindsWhileSuspended() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        suspend(space)
        let kept = gpu.makeVMA(space, at: nil, size: 0x3000)
        let gone = gpu.makeVMA(space, at: nil, size: 0x20_0000)
        gpu.bind(kept)
        #expect(gpu.isSignalled(gpu.bindAsync(gone)) && gpu.isBound(gone) && gpu.isBound(kept))
        #expect(unbind_vma_address(kept) != unbind_vma_address(gone) && walkPages(space) == [])
        #expect(gpu.isSignalled(gpu.unbindAsync(gone)))
        resume(space)
        #expect(walkPages(space)?.count == 3)
        let before = deviceStats(gpu.device)
        #expect(unbind_vma_unbind(kept, 0) == 0)
        #expect(deviceStats(gpu.device).ptes_cleared == before.ptes_cleared + 3)
        gpu.close()
    }

    @Test("a resume needs no memory: the page tables were kept")
    func resumeNeedsNoMemory() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        for index in 0..<64 { gpu.bind(gpu.makeVMA(space, at: UInt64(index) << 30, size: 0x3000)) }
        suspend(space)
        for index in 0..<16 { gpu.bind(gpu.makeVMA(space, at: 1 << 45 + UInt64(index) << 30)) }
        let calls = gpu.memory.allocateCalls
        let objects = deviceStats(gpu.device).slab_allocations
        resume(space)
        suspend(space)
        resume(space)
        #expect(gpu.memory.allocateCalls == calls && deviceStats(gpu.device).slab_allocations == objects)
        #expect(walkPages(space)?.count == 64 * 3 + 16)
        gpu.close()
    }

    @Test("1.4, M4: a VM or device that is closed while suspended loses no unbind, and no page", arguments: [false, true])
    func closeWhileSuspended(isDevice: Bool) {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: UInt32(UNBIND_VM_GLOBAL))
        let vmas = (0..<6).map { gpu.makeVMA(space, at: UInt64($0) * 0x1000) }
        for vma in vmas[0..<5] { gpu.bind(vma) }
        let users = vmas[0..<4].map(gpu.makeUser)
        let pending = gpu.unbindAsync(vmas[0])
        suspend(space)
        let later = gpu.unbindAsync(vmas[1])
        gpu.bind(vmas[5])
        let held = BindingHold(ofVMA: vmas[4])
        if isDevice {
            // Somebody has to end the hold that the close waits for.
            let thread = PlainThread {
                while gpu.isBound(vmas[4]) { sched_yield() }
                held.end()
            }
            var report = makeHeaderStruct(unbind_leak_report())
            #expect(unbind_device_close(gpu.device, &report) == 0 && report.unbinds_completed >= 4)
            thread.join()
        } else {
            #expect(unbind_vm_close(space) == 0)
            gpu.run()
            #expect(!gpu.isSignalled(pending) && !gpu.isSignalled(later) && spaceStats(space).pending == 5)
            held.end()
            for user in users { gpu.signal(user) }
            gpu.run()
        }
        #expect(gpu.isSignalled(pending) && gpu.isSignalled(later) && spaceStats(space).pending == 0)
        #expect(spaceStats(space).unbinds_skipped_ptes == 6 && deviceStats(gpu.device).ptes_cleared == 0)
        #expect(power.references == 0)
        gpu.dropObjects()
        gpu.dropFences()
        if isDevice { unbind_device_unref(gpu.device) } else { gpu.closeDevice() }
        #expect(gpu.memory.complaint == nil)
    }

    @Test("1.4, P17: suspend and resume of a global VM keep the device awake, and give back what they took")
    func power() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: UInt32(UNBIND_VM_GLOBAL))
        let pair = PowerMeter.Counts(gets: 1, puts: 1)
        #expect(power.counting { suspend(space) } == pair)
        #expect(power.counting { check(unbind_vm_suspend(space) == -EINVAL) } == pair)
        #expect(power.counting { resume(space) } == pair)
        #expect(power.counting { check(unbind_vm_resume(space) == -EINVAL) } == pair)
        gpu.close()
    }

    @Test("a suspend takes a TLB invalidation's time, a resume that of the entries; the dump says suspended")
    func costsAndDump() {
        var cost = makeHeaderStruct(unbind_cost_model())
        cost.pte_ps = 1_000_000
        cost.tlb_flush_ns = 300
        let gpu = DirectedGPU(cost: cost)
        let space = gpu.makeSpace()
        gpu.bind(gpu.makeVMA(space, at: 0, size: 0x4000))
        let start = unbind_device_now(gpu.device)
        suspend(space)
        #expect(unbind_device_now(gpu.device) == start + 300)
        #expect(dumpText(space).contains("suspended"))
        resume(space)
        #expect(unbind_device_now(gpu.device) == start + 300 + 4_000)
        #expect(!dumpText(space).contains("suspended"))
        gpu.close()
    }

    private func dumpText(_ space: OpaquePointer) -> String {
        var text = ""
        withUnsafeMutablePointer(to: &text) { text in
            let status = unbind_vm_dump(
                space,
                { data, piece, length in
                    let bytes = UnsafeRawBufferPointer(start: piece, count: length)
                    data!.assumingMemoryBound(to: String.self).pointee += String(decoding: bytes, as: UTF8.self)
                }, text)
            #expect(status == 0)
        }
        return text
    }

    @Test("threads that bind and unbind while another suspends and resumes leave the page tables right")
    func threads() {
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 2)
        let space = gpu.makeSpace()
        let buffer = gpu.makeBuffer()
        let vmas = (0..<3).map { thread in
            (0..<8).map { gpu.makeVMA(space, at: UInt64(thread * 8 + $0 % 5) * 0x1000, buffer: buffer) }
        }
        let threads = vmas.map { own in
            PlainThread {
                for round in 0..<400 {
                    let vma = own[round % 8]
                    var user: OpaquePointer?
                    if unbind_vma_bind_async(vma, 0, nil) != 0 { continue }
                    _ = unbind_fence_create(gpu.device, &user)
                    _ = unbind_vma_add_user(vma, user)
                    if round % 3 != 0 { _ = unbind_vma_unbind_async(vma, 0, nil) }
                    _ = unbind_fence_signal(user, 0)
                    unbind_fence_unref(user)
                    if round % 3 == 0, round % 2 == 0 { _ = unbind_vma_unbind_async(vma, 0, nil) }
                }
            }
        }
        for _ in 0..<300 {
            suspend(space)
            sched_yield()
            resume(space)
        }
        for thread in threads { thread.join() }
        #expect(unbind_device_wait_idle(gpu.device, UInt64.max, 0) == 0)
        let bound = vmas.joined().filter(gpu.isBound)
        let pages = walkPages(space) ?? []
        #expect(Set(pages.map(\.address)) == Set(bound.map(unbind_vma_address)))
        #expect(!bound.isEmpty && pages.allSatisfy { $0.buffer != 0 })
        gpu.close()
    }
}
