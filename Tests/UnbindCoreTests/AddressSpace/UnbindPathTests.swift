// The two paths of an unbind, immediate and deferred, and what a bind over it sees (kernel semantics 1.3, 1.6 to 1.9).

import CUnbind
import Glibc
import Testing

@Suite struct UnbindPathTests {
    @Test("1.3: an unbind with nothing to wait for is done when the call returns")
    func immediatePath() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let fence = gpu.unbindAsync(vma)
        #expect(gpu.isSignalled(fence))
        #expect(gpu.isUnbound(vma))
        #expect(gpu.page(space, at: 0x10000) == nil)
        let stats = spaceStats(space)
        #expect(stats.unbinds_immediate == 1 && stats.unbinds_deferred == 0 && stats.pending == 0)
        #expect(stats.pending_peak == 0)
        gpu.close()
    }

    @Test("1.3: a signalled user leaves the immediate path open, an unsignalled one does not")
    func decisionDependsOnUsers() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        gpu.signal(gpu.makeUser(of: vma), error: -EIO)
        #expect(gpu.isSignalled(gpu.unbindAsync(vma)))
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        let fence = gpu.unbindAsync(vma)
        #expect(!gpu.isSignalled(fence))
        #expect(spaceStats(space).pending == 1)
        gpu.run()
        #expect(!gpu.isSignalled(fence))
        gpu.signal(user, error: -EIO)
        gpu.run()
        #expect(gpu.isSignalled(fence))
        var error: Int32 = 1
        #expect(unbind_fence_get_error(fence, &error) == 0 && error == 0, "an error of a user is not the unbind's")
        #expect(spaceStats(space).pending == 0 && spaceStats(space).unbinds_completed == 2)
        gpu.close()
    }

    @Test("1.3, promise 1: the asynchronous unbind allocates nothing and returns though its user never signals")
    func unbindAllocatesNothing() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        var vmas: [OpaquePointer] = []
        for index in 0..<64 {
            let vma = gpu.makeVMA(space, at: UInt64(index) * 0x1000)
            gpu.bind(vma)
            for _ in 0..<index % 4 { _ = gpu.makeUser(of: vma) }
            vmas.append(vma)
        }
        let before = deviceStats(gpu.device)
        let calls = gpu.memory.allocateCalls
        for vma in vmas { #expect(unbind_vma_unbind_async(vma, 0, nil) == 0) }
        let after = deviceStats(gpu.device)
        #expect(before.allocations == after.allocations && before.slab_allocations == after.slab_allocations)
        #expect(gpu.memory.allocateCalls == calls)
        #expect(spaceStats(space).pending == 48)
        gpu.close()
    }

    @Test("M7: an await that completes between the decision and the commit is neither lost nor run twice")
    func decisionIsMadeBeforeCommit() {
        // The race itself needs threads: users are signalled by one while another unbinds.
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 2)
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        for round in 0..<400 {
            gpu.bind(vma)
            let user = gpu.makeUser(of: vma)
            let signaller = PlainThread {
                for _ in 0..<round % 40 { sched_yield() }
                _ = unbind_fence_signal(user, 0)
            }
            let fence = gpu.unbindAsync(vma)
            #expect(unbind_fence_wait(fence, 10_000_000_000, 0) == 0)
            signaller.join()
        }
        #expect(unbind_device_wait_idle(gpu.device, 10_000_000_000, 0) == 0)
        let stats = spaceStats(space)
        #expect(stats.unbinds == 400 && stats.unbinds_completed == 400 && stats.pending == 0)
        gpu.close()
    }

    @Test("1.8: a range is rebound at once; the page table shows the old entry until the awaited fence signals")
    func rebindAtOnce() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let oldBuffer = gpu.makeBuffer()
        let newBuffer = gpu.makeBuffer()
        let old = gpu.makeVMA(space, at: 0x10000, buffer: oldBuffer)
        let new = gpu.makeVMA(space, at: 0x10000, buffer: newBuffer)
        gpu.bind(old)
        #expect(gpu.page(space, at: 0x10000)?.buffer == unbind_bo_id(oldBuffer))
        let user = gpu.makeUser(of: old)
        let unbind = gpu.unbindAsync(old)
        #expect(gpu.page(space, at: 0x10000)?.buffer == 0, "present, and nobody's")
        let bind = gpu.bindAsync(new)
        #expect(gpu.isBinding(new) && !gpu.isSignalled(bind))
        gpu.run()
        #expect(gpu.isBinding(new) && gpu.page(space, at: 0x10000)?.buffer == 0)
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(unbind) && gpu.isSignalled(bind) && gpu.isBound(new))
        #expect(gpu.page(space, at: 0x10000)?.buffer == unbind_bo_id(newBuffer))
        let stats = spaceStats(space)
        #expect(stats.awaited == 1 && stats.awaited_not_overlapping == 0 && stats.binds_waited == 1)
        gpu.close()
    }

    @Test("1.7: a job that lists a VMA whose bind is under way writes to the new buffer, not to the old one")
    func jobWaitsForItsBind() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        let oldBuffer = gpu.makeBuffer()
        let newBuffer = gpu.makeBuffer()
        let old = gpu.makeVMA(space, at: 0x10000, buffer: oldBuffer)
        let new = gpu.makeVMA(space, at: 0x10000, buffer: newBuffer)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        _ = gpu.unbindAsync(old)
        _ = gpu.bindAsync(new)
        let job = gpu.store(queue, 77, at: [0x10008], using: [new])
        // And unbound before it was ever bound: the job still gets its mapping.
        let last = gpu.unbindAsync(new)
        gpu.run()
        #expect(!gpu.isSignalled(job) && !gpu.isSignalled(last))
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(job) && gpu.isSignalled(last))
        var error: Int32 = 1
        #expect(unbind_fence_get_error(job, &error) == 0 && error == 0)
        #expect(gpu.word(newBuffer, at: 8) == 77 && gpu.word(oldBuffer, at: 8) == 0)
        #expect(gpu.page(space, at: 0x10000) == nil)
        gpu.close()
    }

    @Test("P20: the unbind of a VMA whose asynchronous bind has not run is harmless")
    func unbindBeforeBindRan() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let old = gpu.makeVMA(space, at: 0x10000)
        let middle = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        let first = gpu.unbindAsync(old)
        let bind = gpu.bindAsync(middle)
        let second = gpu.unbindAsync(middle)
        #expect(gpu.isUnbound(middle))
        let last = gpu.bindAsync(new)
        gpu.run()
        #expect(!gpu.isSignalled(first) && !gpu.isSignalled(last), "new waits for old through middle")
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(first) && gpu.isSignalled(bind) && gpu.isSignalled(second) && gpu.isBound(new))
        #expect(spaceStats(space).pending == 0)
        #expect(gpu.isSignalled(gpu.unbindAsync(new)))
        #expect(walkPages(space)?.isEmpty == true)
        gpu.close()
    }

    @Test("1.9: a VMA dropped while bound is unbound when its users are done; a bind over it waits")
    func dropWhileBound() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let dropped = gpu.makeVMA(space, at: 0x10000, isKept: false)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(dropped)
        let user = gpu.makeUser(of: dropped)
        unbind_vma_unref(dropped)
        #expect(spaceStats(space).pending == 1)
        let bind = gpu.bindAsync(new)
        gpu.run()
        #expect(!gpu.isSignalled(bind))
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(bind) && gpu.isBound(new))
        gpu.close()
    }

    @Test("1.15: the unbind fence signals after the TLB invalidation, which costs its time")
    func invalidationIsPartOfTheFence() {
        var cost = makeHeaderStruct(unbind_cost_model())
        cost.tlb_flush_ns = 5_000
        let gpu = DirectedGPU(cost: cost)
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        let fence = gpu.unbindAsync(vma)
        let invalidations = deviceStats(gpu.device).tlb_invalidations
        gpu.signal(user)
        let start = unbind_device_now(gpu.device)
        #expect(unbind_fence_wait(fence, UInt64.max, 0) == 0)
        var time: UInt64 = 0
        #expect(unbind_fence_get_timestamp(fence, &time) == 0 && time >= start + 5_000)
        #expect(deviceStats(gpu.device).tlb_invalidations > invalidations)
        gpu.close()
    }

    @Test("1.8: the same buffer bound again at the same place: the old entry is nobody's until the bind is done")
    func rebindTheSameBuffer() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        _ = gpu.unbindAsync(vma)
        let bind = gpu.bindAsync(vma)
        #expect(gpu.isBinding(vma) && gpu.page(space, at: 0x10000)?.buffer == 0)
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(bind) && gpu.page(space, at: 0x10000)?.buffer != 0)
        gpu.close()
    }

    @Test("a fence of work that was done within the call has the time of the call")
    func fencesHaveTheirTime() {
        for policy in [UNBIND_POLICY_RANGES, UNBIND_POLICY_TIMELINE, UNBIND_POLICY_SYNC] {
            let gpu = DirectedGPU()
            let space = gpu.makeSpace(policy: Int(policy))
            let vma = gpu.makeVMA(space, at: 0x10000)
            #expect(unbind_device_run_until(gpu.device, 5_000) == 0)
            var time: UInt64 = 0
            #expect(unbind_fence_get_timestamp(gpu.bindAsync(vma), &time) == 0 && time == 5_000)
            #expect(unbind_device_run_until(gpu.device, 6_000) == 0)
            #expect(unbind_fence_get_timestamp(gpu.unbindAsync(vma), &time) == 0 && time == 6_000)
            gpu.close()
        }
    }
}
