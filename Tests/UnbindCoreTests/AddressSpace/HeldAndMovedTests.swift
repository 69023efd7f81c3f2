// What the simulation has found in holds and moves, each on the smallest device that shows it.

import CUnbind
import Glibc
import Testing

@Suite struct HeldAndMovedTests {
    @Test("an immediate unbind that is held counts among the most that were pending")
    func heldImmediateUnbindCountsInThePeak() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x1000)
        gpu.bind(vma)
        var hold: OpaquePointer?
        #expect(unbind_vma_hold(vma, &hold) == 0)
        let unbind = gpu.unbindAsync(vma)
        #expect(!gpu.isSignalled(unbind))
        let stats = spaceStats(space)
        #expect(stats.unbinds_immediate == 1 && stats.pending == 1 && stats.pending_peak == 1)
        unbind_hold_unref(hold)
        #expect(gpu.isSignalled(unbind) && spaceStats(space).pending == 0)
        gpu.close()
    }

    @Test("a move without memory for itself returns a fence that stands for its unbinds too", arguments: 0..<12)
    func moveByCPUWaitsForItsUnbinds(successes: Int) {
        var cost = makeHeaderStruct(unbind_cost_model())
        cost.tlb_flush_ns = 20_000
        let gpu = DirectedGPU(cost: cost)
        let space = gpu.makeSpace()
        let buffer = gpu.makeBuffer(0x4000)
        let vma = gpu.makeVMA(space, at: 0x10000, buffer: buffer)
        gpu.bind(vma)
        gpu.memory.failAllocations(after: successes, count: Int.max)
        var fence: OpaquePointer?
        let status = unbind_bo_migrate(buffer, UInt32(UNBIND_REGION_LOCAL), 0, &fence)
        gpu.memory.stopFailing()
        #expect(status == 0 || status == -ENOMEM)
        #expect(gpu.isUnbound(vma) == (status == 0))
        if status == 0 {
            while !gpu.isSignalled(fence!) { #expect(unbind_device_run(gpu.device, 1, nil) == 0) }
            #expect(spaceStats(space).pending == 0)
        }
        unbind_fence_unref(fence)
        gpu.close()
    }
}
