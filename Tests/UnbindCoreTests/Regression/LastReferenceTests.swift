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

    private final class Seen: @unchecked Sendable {
        var calls = 0
        var error: Int32 = 1
    }

    @Test("a callback keeps its fence: dropped unsignalled, it is cancelled when the device closes")
    func callbackKeepsFence() {
        let gpu = DirectedGPU()
        var fence: OpaquePointer?
        #expect(unbind_fence_create(gpu.device, &fence) == 0)
        let seen = Seen()
        var storage = unbind_fence_callback()
        withUnsafeMutablePointer(to: &storage) { storage in
            let status = unbind_fence_add_callback(
                fence, storage,
                { fence, data in
                    let seen = Unmanaged<Seen>.fromOpaque(data!).takeUnretainedValue()
                    seen.calls += 1
                    _ = unbind_fence_get_error(fence, &seen.error)
                }, Unmanaged.passUnretained(seen).toOpaque())
            #expect(status == 0)
            unbind_fence_unref(fence)
            #expect(seen.calls == 0)
            #expect(gpu.closeDevice().fences_cancelled == 1)
            #expect(seen.calls == 1 && seen.error == -ENOENT)
        }
    }

    @Test("a callback that was removed keeps nothing")
    func removedCallbackKeepsNothing() {
        let gpu = DirectedGPU()
        var fence: OpaquePointer?
        #expect(unbind_fence_create(gpu.device, &fence) == 0)
        var storage = unbind_fence_callback()
        withUnsafeMutablePointer(to: &storage) { storage in
            #expect(unbind_fence_add_callback(fence, storage, { _, _ in }, nil) == 0)
            #expect(unbind_fence_remove_callback(fence, storage) == 0)
            #expect(unbind_fence_remove_callback(fence, storage) == -ENOENT)
            unbind_fence_unref(fence)
            #expect(gpu.closeDevice().fences_cancelled == 0)
        }
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
