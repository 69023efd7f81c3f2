// Objects that a handle or a callback keeps longer than all else.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct LastReferenceTests {
    @Test("the fence of an unbound VMA outlives its device's other handles")
    func stubFenceKeepsDevice() {
        let gpu = DirectedGPU()
        let vma = gpu.makeVMA(gpu.makeSpace(), at: 0x10000)
        var fence: OpaquePointer?
        #expect(unbind_vma_unbind_async(vma, 0, &fence) == 0)
        gpu.dropObjects()
        #expect(unbind_fence_ref(fence) == fence)
        #expect(unbind_device_close(gpu.device, nil) == 0)
        unbind_device_unref(gpu.device)
        #expect(gpu.memory.complaint != nil, "the fence still belongs to the caller, and its memory with it")
        if gpu.memory.complaint == nil { return }
        unbind_fence_unref(fence)
        #expect(unbind_fence_is_signaled(fence) == 1)
        unbind_fence_unref(fence)
        #expect(gpu.memory.complaint == nil)
    }

    @Test("a VM whose last reference goes during a dump is freed")
    func dumpKeepsNothing() {
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 1)
        let isDone = SharedStatus()
        let dumper = HeldUpThread {
            while isDone.get() == nil { _ = unbind_device_dump(gpu.device, { _, _, _ in }, nil) }
        }
        for _ in 0..<300 {
            var spaces: [OpaquePointer] = []
            for _ in 0..<24 {
                var space: OpaquePointer?
                #expect(unbind_vm_create(gpu.device, nil, &space) == 0)
                spaces.append(space!)
            }
            dumper.holdUp()
            for (index, space) in spaces.reversed().enumerated() {
                if index % 6 == 0 { dumper.holdUp() }
                unbind_vm_unref(space)
            }
        }
        isDone.set(0)
        dumper.join()
        gpu.close()
    }
}
