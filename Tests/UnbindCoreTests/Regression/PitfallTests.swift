// The known pitfalls of the kernel's implementation (kernel semantics 1.17) that no other suite has a test for, each by
// its number.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct PitfallTests {
    @Test("P1: dropping NULL does nothing, and every object goes back where it came from, with and without slabs")
    func dropNull() {
        unbind_device_unref(nil)
        unbind_vm_unref(nil)
        unbind_bo_unref(nil)
        unbind_vma_unref(nil)
        unbind_queue_unref(nil)
        unbind_fence_unref(nil)
        for flags in [0, UInt32(UNBIND_DEVICE_NO_SLABS)] {
            let memory = HookedMemory()
            var hooks = memory.hooks()
            var options = makeHeaderStruct(unbind_device_options())
            options.executor = UInt32(UNBIND_EXECUTOR_SIMULATED)
            options.flags = flags
            var device: OpaquePointer?
            withUnsafePointer(to: &hooks) { hooks in
                options.allocator = hooks
                #expect(unbind_device_open_software(&options, &device) == 0)
            }
            var space: OpaquePointer?
            var buffer: OpaquePointer?
            var vma: OpaquePointer?
            #expect(unbind_vm_create(device, nil, &space) == 0)
            #expect(unbind_bo_create(device, 0x1000, 0, 0, &buffer) == 0)
            #expect(unbind_vma_create(space, buffer, nil, &vma) == 0)
            // Never bound, bound once, bound and used.
            for count in 0..<3 {
                if count > 0 { #expect(unbind_vma_bind(vma, 0) == 0) }
                var user: OpaquePointer?
                #expect(unbind_fence_create(device, &user) == 0)
                if count > 1 { #expect(unbind_vma_add_user(vma, user) == 0) }
                #expect(unbind_vma_unbind_async(vma, 0, nil) == 0)
                #expect(unbind_fence_signal(user, 0) == 0)
                unbind_fence_unref(user)
            }
            unbind_vma_unref(vma)
            unbind_bo_unref(buffer)
            unbind_vm_unref(space)
            unbind_device_unref(device)
            #expect(memory.complaint == nil)
        }
    }

    @Test("P4: a bind without a VMA is refused")
    func bindNothing() {
        var fence: OpaquePointer?
        #expect(unbind_vma_bind(nil, 0) == -EINVAL)
        #expect(unbind_vma_bind_async(nil, 0, &fence) == -EINVAL && fence == nil)
        #expect(unbind_vma_unbind(nil, 0) == -EINVAL)
        #expect(unbind_vma_unbind_async(nil, 0, &fence) == -EINVAL && fence == nil)
    }

    /// What a callback drops or calls.
    private final class Context: @unchecked Sendable {
        var drops: [() -> Void] = []
        var calls = 0
        var data: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

        static let run: unbind_fence_callback_fn = { _, data in
            let context = Unmanaged<Context>.fromOpaque(data!).takeUnretainedValue()
            context.calls += 1
            let drops = context.drops
            context.drops = []
            for drop in drops { drop() }
        }
    }

    @Test(
        "P7: VMA, buffer, queue and VM go in the window where what they awaited is being told of",
        arguments: [false, true])
    func destroyWhileRetiring(isJob: Bool) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let gate = gpu.makeFence()
        let job = gpu.store(queue, 1, at: [0x10000], using: [vma], after: [gate])
        let context = Context()
        context.drops = [{ gpu.dropObjects() }, { gpu.dropFences() }]
        let storage = UnsafeMutablePointer<unbind_fence_callback>.allocate(capacity: 1)
        defer { storage.deallocate() }
        #expect(unbind_fence_add_callback(isJob ? job : gate, storage, Context.run, context.data) == 0)
        #expect(unbind_fence_signal(gate, 0) == 0)
        #expect(unbind_device_wait_idle(gpu.device, UInt64.max, 0) == 0)
        #expect(context.calls == 1 && context.drops.isEmpty)
        gpu.closeDevice()
    }

    @Test("P13: a bind of what is bound already cannot fail, and leaves the binding alone")
    func rebind() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        let page = gpu.page(space, at: 0x10000)
        #expect(unbind_vma_bind(vma, 0) == 0 && gpu.isSignalled(gpu.bindAsync(vma)))
        #expect(gpu.page(space, at: 0x10000) == page && spaceStats(space).binds == 1)
        let unbind = gpu.unbindAsync(vma)
        #expect(!gpu.isSignalled(unbind), "its user is still attached")
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(unbind))
        gpu.close()
    }

    @Test("P15: an unbind that has signalled and was not reaped is not awaited, and keeps nothing from closing")
    func signalledInTheIndex() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        let unbind = gpu.unbindAsync(old)
        // From the unbind's own callback its node cannot have been reaped yet.
        let context = Context()
        var bind: OpaquePointer?
        context.drops = [{ #expect(unbind_vma_bind_async(new, 0, &bind) == 0) }]
        let storage = UnsafeMutablePointer<unbind_fence_callback>.allocate(capacity: 1)
        defer { storage.deallocate() }
        #expect(unbind_fence_add_callback(unbind, storage, Context.run, context.data) == 0)
        gpu.signal(user)
        gpu.run()
        #expect(context.calls == 1 && gpu.isSignalled(bind!) && gpu.isBound(new))
        #expect(spaceStats(space).awaited == 0 && spaceStats(space).pending == 0)
        unbind_fence_unref(bind)
        gpu.close()
    }

    @Test("P16: a held immediate unbind keeps its VM, whoever drops that first")
    func heldImmediateUnbind() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let held = BindingHold(ofVMA: vma)
        let unbind = gpu.unbindAsync(vma)
        #expect(!gpu.isSignalled(unbind) && spaceStats(space).unbinds_immediate == 1)
        // Cleared already: a new owner of the range need not wait for who only looks at the old pages.
        let new = gpu.makeVMA(space, at: 0x10000)
        #expect(gpu.isSignalled(gpu.bindAsync(new)))
        gpu.dropObjects()
        gpu.run()
        #expect(!gpu.isSignalled(unbind) && deviceStats(gpu.device).system_bytes == 0x1000, "the pages are held")
        held.end()
        #expect(gpu.isSignalled(unbind) && deviceStats(gpu.device).system_bytes == 0)
        gpu.close()
    }

    @Test("P19: a hold from before the unbind delays its signal, and the range; after the end there is none to be had")
    func holds() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        let before = BindingHold(ofVMA: old)
        let unbind = gpu.unbindAsync(old)
        let during = BindingHold(ofUnbind: unbind)
        gpu.signal(user)
        gpu.run()
        let bind = gpu.bindAsync(new)
        gpu.run()
        #expect(!gpu.isSignalled(unbind) && !gpu.isSignalled(bind) && gpu.page(space, at: 0x10000) == nil)
        #expect(before.isHeld && during.isHeld)
        before.end()
        gpu.run()
        #expect(!gpu.isSignalled(unbind))
        // The last one, on a thread that has nothing to do with the device.
        let thread = PlainThread { during.end() }
        thread.join()
        gpu.run()
        #expect(gpu.isSignalled(unbind) && gpu.isSignalled(bind) && gpu.isBound(new))
        #expect(!BindingHold(ofUnbind: unbind).isHeld)
        gpu.close()
    }

    @Test("P22: the caller's reference goes before, in and after the notification of its own unbind", arguments: 0..<3)
    func callerDropsFirst(place: Int) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        var unbind: OpaquePointer?
        #expect(unbind_vma_unbind_async(vma, 0, &unbind) == 0)
        let context = Context()
        let storage = UnsafeMutablePointer<unbind_fence_callback>.allocate(capacity: 1)
        defer { storage.deallocate() }
        #expect(unbind_fence_add_callback(unbind, storage, Context.run, context.data) == 0)
        if place == 0 { unbind_fence_unref(unbind) }
        if place == 1 { context.drops = [{ unbind_fence_unref(unbind) }] }
        gpu.signal(user)
        gpu.run()
        if place == 2 { unbind_fence_unref(unbind) }
        #expect(context.calls == 1)
        // Reaps it.
        gpu.bind(vma)
        gpu.close()
    }

    @Test("P23: a callback on the fence of an immediate unbind may use the VM")
    func callbackOfImmediateUnbind() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        // Only a hold leaves the time to hang a callback on it.
        let held = BindingHold(ofVMA: vma)
        let unbind = gpu.unbindAsync(vma)
        let context = Context()
        context.drops = [
            {
                #expect(unbind_vma_bind_async(vma, 0, nil) == 0)
                #expect(unbind_vma_unbind_async(vma, 0, nil) == 0)
                #expect(unbind_vm_close(space) == 0)
            }
        ]
        let storage = UnsafeMutablePointer<unbind_fence_callback>.allocate(capacity: 1)
        defer { storage.deallocate() }
        #expect(unbind_fence_add_callback(unbind, storage, Context.run, context.data) == 0)
        held.end()
        #expect(context.calls == 1 && gpu.isUnbound(vma))
        gpu.close()
    }
}
