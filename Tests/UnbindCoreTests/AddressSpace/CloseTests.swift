// Closing with unbinds pending, and last references dropped in every order (kernel semantics 1.4, 1.11; M4, P6, P11,
// P22).

import CUnbind
import Glibc
import Testing

@Suite struct CloseTests {
    @Test(
        "M4: a VM closed with K unbinds pending loses none: each waits for its user and signals", arguments: [1, 2, 64])
    func closeWithPending(count: Int) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        var users: [OpaquePointer] = []
        var unbinds: [OpaquePointer] = []
        var vmas: [OpaquePointer] = []
        for index in 0..<2 * count {
            let vma = gpu.makeVMA(space, at: UInt64(index) * 0x1000)
            gpu.bind(vma)
            users.append(gpu.makeUser(of: vma))
            vmas.append(vma)
            // Half of them are unbound by the close itself.
            if index % 2 == 0 { unbinds.append(gpu.unbindAsync(vma)) }
        }
        #expect(unbind_vm_close(space) == 0)
        #expect(unbind_vm_close(space) == -ENOENT)
        #expect(vmas.allSatisfy(gpu.isUnbound))
        #expect(unbind_vma_bind(vmas[0], 0) == -ENOENT)
        #expect(unbind_vma_bind_async(vmas[0], 0, nil) == -ENOENT)
        gpu.run()
        #expect(spaceStats(space).pending == UInt64(2 * count))
        for index in stride(from: 2 * count - 1, through: 0, by: -1) {
            if index % 2 == 0 { #expect(!gpu.isSignalled(unbinds[index / 2])) }
            gpu.signal(users[index])
            gpu.run()
            if index % 2 == 0 { #expect(gpu.isSignalled(unbinds[index / 2])) }
        }
        let stats = spaceStats(space)
        #expect(stats.pending == 0 && stats.unbinds_completed == UInt64(2 * count))
        gpu.close()
    }

    @Test("1.4: a job submitted before the close of its VM still finds its mappings")
    func jobsOutliveTheClose() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        let buffer = gpu.makeBuffer()
        let vma = gpu.makeVMA(space, at: 0x10000, buffer: buffer)
        gpu.bind(vma)
        let gate = gpu.makeFence()
        let job = gpu.store(queue, 42, at: [0x10010], using: [vma], after: [gate])
        #expect(unbind_vm_close(space) == 0)
        gpu.run()
        #expect(!gpu.isSignalled(job))
        gpu.signal(gate)
        gpu.run()
        var error: Int32 = 1
        #expect(unbind_fence_get_error(job, &error) == 0 && error == 0 && gpu.word(buffer, at: 16) == 42)
        var submit = makeHeaderStruct(unbind_submit())
        #expect(unbind_queue_submit(queue, &submit, nil) == -ENOENT)
        gpu.close()
    }

    @Test("P6, P22: the last references of VM, VMA, buffer, queue and fences go in every order", arguments: 0..<120)
    func everyOrder(order: Int) {
        let gpu = DirectedGPU()
        var space: OpaquePointer?
        var buffer: OpaquePointer?
        var vma: OpaquePointer?
        var queue: OpaquePointer?
        var unbind: OpaquePointer?
        #expect(unbind_vm_create(gpu.device, nil, &space) == 0)
        #expect(unbind_bo_create(gpu.device, 0x1000, 0, 0, &buffer) == 0)
        #expect(unbind_vma_create(space, buffer, nil, &vma) == 0)
        #expect(unbind_queue_create(space, 0, &queue) == 0)
        gpu.bind(vma!)
        let user = gpu.makeUser(of: vma!)
        #expect(unbind_vma_unbind_async(vma, 0, &unbind) == 0)
        _ = gpu.store(queue!, 1, at: [], using: [], after: [user])
        var drops: [() -> Void] = [
            { unbind_vm_unref(space) }, { unbind_bo_unref(buffer) }, { unbind_vma_unref(vma) },
            { unbind_queue_unref(queue) },
            {
                gpu.signal(user)
                gpu.run()
            },
        ]
        // The order is the argument, written in the factorial base.
        var rest = order
        while !drops.isEmpty {
            drops.remove(at: rest % drops.count)()
            rest /= drops.count + 1
        }
        #expect(gpu.isSignalled(unbind!))
        unbind_fence_unref(unbind)
        #expect(unbind_device_wait_idle(gpu.device, UInt64.max, 0) == 0)
        let stats = deviceStats(gpu.device)
        #expect(stats.system_bytes == 0 && stats.local_bytes == 0)
        gpu.close()
    }

    @Test("P11: an object bound in 3 VMs: unbind_bo_wait waits for all three unbinds, whichever is last")
    func boundInThree() {
        for last in 0..<3 {
            let gpu = DirectedGPU()
            let buffer = gpu.makeBuffer()
            var users: [OpaquePointer] = []
            var unbinds: [OpaquePointer] = []
            for _ in 0..<3 {
                let vma = gpu.makeVMA(gpu.makeSpace(), at: 0x10000, buffer: buffer)
                gpu.bind(vma)
                users.append(gpu.makeUser(of: vma))
                unbinds.append(gpu.unbindAsync(vma))
            }
            for index in 0..<3 where index != last { gpu.signal(users[index]) }
            gpu.run()
            #expect(unbind_bo_wait(buffer, 0, 0) == -ETIME)
            #expect(unbind_bo_wait(buffer, UInt64.max, 0) == -EDEADLK)
            gpu.signal(users[last])
            #expect(unbind_bo_wait(buffer, UInt64.max, 0) == 0)
            #expect(unbinds.allSatisfy(gpu.isSignalled))
            gpu.close()
        }
    }

    @Test("promise 6: a device closed with things pending finishes the unbinds and cancels the caller's fences")
    func closeDeviceWithPending() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        let unbind = gpu.unbindAsync(vma)
        var report = makeHeaderStruct(unbind_leak_report())
        #expect(unbind_device_close(gpu.device, &report) == 0)
        #expect(report.vms == 1 && report.bos == 1 && report.vmas == 1 && report.fences == 2)
        #expect(report.unbinds_completed == 1 && report.fences_cancelled == 1 && report.bo_bytes == 0x1000)
        var error: Int32 = 0
        #expect(gpu.isSignalled(user) && gpu.isSignalled(unbind))
        #expect(unbind_fence_get_error(user, &error) == 0 && error == -ENOENT)
        #expect(unbind_vma_bind(vma, 0) == -ENOENT && unbind_device_run(gpu.device, 0, nil) == -ENOENT)
        gpu.dropObjects()
        gpu.dropFences()
        unbind_device_unref(gpu.device)
        #expect(gpu.memory.complaint == nil)
    }
}
