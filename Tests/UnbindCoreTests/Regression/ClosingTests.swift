// Closing while something else is under way: another thread's close, a callback's.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct ClosingTests {
    @Test("a device closed while a thread is closing one of its VMs waits for the unbinds of that close too")
    func deviceClosesBehindVM() {
        for round in 0..<20 {
            // With an invalidation that takes time every unbind needs the executor.
            var cost = makeHeaderStruct(unbind_cost_model())
            cost.tlb_flush_ns = 1
            let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 1, cost: cost)
            let space = gpu.makeSpace()
            let buffer = gpu.makeBuffer()
            let vmas = (0..<1_500).map { gpu.makeVMA(space, at: UInt64($0) * 0x1000, buffer: buffer) }
            for vma in vmas { gpu.bind(vma) }
            let thread = PlainThread { _ = unbind_vm_close(space) }
            while spaceStats(space).unbinds < UInt64(round) { sched_yield() }
            #expect(unbind_device_close(gpu.device, nil) == 0)
            let bound = vmas.count { !gpu.isUnbound($0) }
            #expect(bound == 0)
            #expect(spaceStats(space).pending == 0)
            thread.join()
            gpu.dropObjects()
            unbind_device_unref(gpu.device)
            #expect(gpu.memory.complaint == nil)
        }
    }
}
