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

    /// What a callback that closes the device was told.
    private final class Told: @unchecked Sendable {
        let device: OpaquePointer
        var status: Int32 = 1
        init(_ device: OpaquePointer) { self.device = device }
        var data: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }
    }

    @Test("closing the device from a callback inside unbind_fence_signal is refused, not waited for for ever")
    func closeInsideSignal() {
        for executor in [UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED] {
            let gpu = DirectedGPU(executor: UInt32(executor))
            let space = gpu.makeSpace()
            let vma = gpu.makeVMA(space, at: 0x10000)
            gpu.bind(vma)
            let user = gpu.makeFence()
            let told = Told(gpu.device)
            var storage = unbind_fence_callback()
            withUnsafeMutablePointer(to: &storage) { storage in
                let status = unbind_fence_add_callback(
                    user, storage,
                    { _, data in
                        let told = Unmanaged<Told>.fromOpaque(data!).takeUnretainedValue()
                        told.status = unbind_device_close(told.device, nil)
                    }, told.data)
                #expect(status == 0)
                // Awaited behind the callback: the close would wait for what its own return sets free.
                #expect(unbind_vma_add_user(vma, user) == 0)
                let unbind = gpu.unbindAsync(vma)
                gpu.signal(user)
                #expect(told.status == -EDEADLK)
                #expect(unbind_fence_wait(unbind, UInt64.max, 0) == 0)
            }
            gpu.close()
        }
    }
}
