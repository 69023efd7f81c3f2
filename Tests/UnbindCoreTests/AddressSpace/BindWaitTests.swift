// What a bind waits for (kernel semantics 1.5, 1.6), and what is left when it cannot (P24, P31).

import CUnbind
import Glibc
import Testing

@Suite struct BindWaitTests {
    /// Two unbinds pending at 0x10000 and 0x20000, with their users.
    private func makePending(
        _ gpu: DirectedGPU, _ space: OpaquePointer
    ) -> (users: [OpaquePointer], unbinds: [OpaquePointer]) {
        var users: [OpaquePointer] = []
        var unbinds: [OpaquePointer] = []
        let vmas = [0x10000, 0x20000].map { gpu.makeVMA(space, at: $0) }
        for vma in vmas {
            gpu.bind(vma)
            users.append(gpu.makeUser(of: vma))
        }
        for vma in vmas { unbinds.append(gpu.unbindAsync(vma)) }
        return (users, unbinds)
    }

    @Test("1.6: under ranges a bind waits for the unbind it overlaps and for no other")
    func rangesAreExact() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let (users, unbinds) = makePending(gpu, space)
        let beside = gpu.makeVMA(space, at: 0x11000)
        let above = gpu.makeVMA(space, at: 0x20000)
        #expect(gpu.isSignalled(gpu.bindAsync(beside)) && gpu.isBound(beside), "adjacent is not overlapping")
        let bind = gpu.bindAsync(above)
        gpu.signal(users[1])
        gpu.run()
        #expect(gpu.isSignalled(unbinds[1]) && gpu.isSignalled(bind) && gpu.isBound(above))
        #expect(!gpu.isSignalled(unbinds[0]))
        let stats = spaceStats(space)
        #expect(stats.awaited == 1 && stats.awaited_not_overlapping == 0)
        gpu.close()
    }

    @Test("1.6: under timeline a bind waits for all, and unbinds finish in the order of their scheduling")
    func timelineIsOrdered() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(policy: Int(UNBIND_POLICY_TIMELINE))
        let (users, unbinds) = makePending(gpu, space)
        let above = gpu.makeVMA(space, at: 0x20000)
        let bind = gpu.bindAsync(above)
        gpu.signal(users[1])
        gpu.run()
        #expect(!gpu.isSignalled(unbinds[1]) && !gpu.isSignalled(bind), "the first one is not done")
        gpu.signal(users[0])
        gpu.run()
        #expect(gpu.isSignalled(unbinds[0]) && gpu.isSignalled(unbinds[1]) && gpu.isBound(above))
        let stats = spaceStats(space)
        #expect(stats.awaited == 2 && stats.awaited_not_overlapping == 1)
        gpu.close()
    }

    @Test("binding one range again and again while the GPU stalls costs the same each time, and all end")
    func streaming() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vmas = (0..<100).map { _ in gpu.makeVMA(space, at: 0x10000) }
        let wide = gpu.makeVMA(space, at: 0x10000, size: 0x2000)
        let beside = gpu.makeVMA(space, at: 0x11000)
        gpu.bind(vmas[0])
        gpu.bind(beside)
        let users = [gpu.makeUser(of: vmas[0]), gpu.makeUser(of: beside)]
        var unbinds = [gpu.unbindAsync(vmas[0]), gpu.unbindAsync(beside)]
        var costs: [UInt64] = []
        for vma in vmas.dropFirst() {
            let before = deviceStats(gpu.device).slab_allocations
            #expect(unbind_vma_bind_async(vma, 0, nil) == 0)
            costs.append(deviceStats(gpu.device).slab_allocations - before)
            unbinds.append(gpu.unbindAsync(vma))
        }
        #expect(costs.allSatisfy { $0 == costs[0] }, "\(costs)")
        #expect(spaceStats(space).awaited == (1...99).reduce(0, +), "what it waits for is counted all the same")
        // The last unbind does not cover this one: the one beside counts by itself.
        let bind = gpu.bindAsync(wide)
        gpu.signal(users[0])
        gpu.run()
        #expect(!gpu.isSignalled(bind) && gpu.isSignalled(unbinds.last!))
        gpu.signal(users[1])
        gpu.run()
        #expect(unbinds.allSatisfy { gpu.isSignalled($0) } && gpu.isBound(wide))
        gpu.close()
    }

    @Test("1.6: a synchronous bind waits too, and virtual time passes meanwhile")
    func synchronousBindWaits() {
        var cost = makeHeaderStruct(unbind_cost_model())
        cost.command_ns = 7_000
        let gpu = DirectedGPU(cost: cost)
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let job = gpu.store(queue, 1, at: [0x10000], using: [old])
        let unbind = gpu.unbindAsync(old)
        #expect(!gpu.isSignalled(job) && !gpu.isSignalled(unbind))
        gpu.bind(new)
        #expect(gpu.isSignalled(job) && gpu.isSignalled(unbind) && gpu.isBound(new))
        #expect(unbind_device_now(gpu.device) >= 7_000)
        #expect(spaceStats(space).bind_wait_ns >= 7_000)
        gpu.close()
    }

    @Test("P24: a synchronous bind that deadlocks changes nothing and can be repeated")
    func deadlockChangesNothing() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let (users, unbinds) = makePending(gpu, space)
        let wide = gpu.makeVMA(space, at: 0x10000, size: 0x20000)
        gpu.signal(users[0])
        let binds = spaceStats(space).binds
        #expect(unbind_vma_bind(wide, 0) == -EDEADLK)
        #expect(gpu.isUnbound(wide) && gpu.isSignalled(unbinds[0]) && !gpu.isSignalled(unbinds[1]))
        #expect(spaceStats(space).binds == binds && spaceStats(space).bound == 0)
        let other = gpu.makeVMA(space, at: 0x18000)
        #expect(unbind_vma_bind(other, 0) == 0, "the range was given back")
        #expect(unbind_vma_bind(wide, 0) == -ENOSPC)
        #expect(unbind_vma_unbind(other, 0) == 0)
        gpu.signal(users[1])
        #expect(unbind_vma_bind(wide, 0) == 0)
        gpu.close()
    }

    @Test("P24: a synchronous unbind that deadlocks leaves the VMA bound")
    func deadlockedUnbindLeavesItBound() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        #expect(unbind_vma_unbind(vma, 0) == -EDEADLK)
        #expect(gpu.isBound(vma) && gpu.page(space, at: 0x10000)?.buffer != 0)
        #expect(spaceStats(space).unbinds == 0 && spaceStats(space).pending == 0)
        gpu.signal(user)
        #expect(unbind_vma_unbind(vma, 0) == 0 && gpu.isUnbound(vma))
        gpu.close()
    }

    @Test("P24: a synchronous bind that a signal interrupts changes nothing and can be repeated")
    func interruptedBindChangesNothing() {
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 1)
        let space = gpu.makeSpace()
        let (users, _) = makePending(gpu, space)
        let vma = gpu.makeVMA(space, at: 0x20000)
        PlainThread.ignoreInterrupts()
        let result = SharedStatus()
        let thread = PlainThread { result.set(unbind_vma_bind(vma, UInt32(UNBIND_WAIT_INTERRUPTIBLE))) }
        // Until it has: the first ones may come before it waits.
        while result.get() == nil {
            thread.interrupt()
            usleep(2_000)
        }
        thread.join()
        #expect(result.get() == -EINTR)
        #expect(gpu.isUnbound(vma) && spaceStats(space).bound == 0)
        for user in users { gpu.signal(user) }
        #expect(unbind_vma_bind(vma, UInt32(UNBIND_WAIT_INTERRUPTIBLE)) == 0)
        gpu.close()
    }

    @Test("P31: with one worker and 600 unbinds pending, a synchronous bind over them comes through")
    func oneWorkerManyUnbinds() {
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 1)
        let space = gpu.makeSpace()
        let buffer = gpu.makeBuffer()
        var users: [OpaquePointer] = []
        for index in 0..<600 {
            let vma = gpu.makeVMA(space, at: UInt64(index) * 0x1000, buffer: buffer)
            gpu.bind(vma)
            users.append(gpu.makeUser(of: vma))
            _ = gpu.unbindAsync(vma)
        }
        let last = gpu.makeVMA(space, at: 0x1000 * 599)
        let all = gpu.makeVMA(space, at: 0, size: 0x1000 * 599)
        let result = SharedStatus()
        let thread = PlainThread { result.set(unbind_vma_bind(last, 0)) }
        for user in users { gpu.signal(user) }
        thread.join()
        #expect(result.get() == 0)
        #expect(unbind_vma_bind(all, 0) == 0)
        #expect(spaceStats(space).unbinds_completed == 600 && spaceStats(space).pending == 0)
        gpu.close()
    }

    @Test("1.6: under sync the unbind waits instead, and no bind ever does")
    func syncPolicyWaitsInTheUnbind() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(policy: Int(UNBIND_POLICY_SYNC))
        let queue = gpu.makeQueue(space)
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let job = gpu.store(queue, 1, at: [0x10000], using: [old])
        let unbind = gpu.unbindAsync(old)
        #expect(gpu.isSignalled(job) && gpu.isSignalled(unbind))
        #expect(gpu.isSignalled(gpu.bindAsync(new)) && spaceStats(space).awaited == 0)
        gpu.close()
    }

    @Test("M5, P12: colors widen what is awaited by one page, at 0, at 2^32 and at the top", arguments: [0, 1, 2])
    func colorsAtTheEdges(place: Int) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(flags: UInt32(UNBIND_VM_CACHE_COLORING))
        let top: UInt64 = 1 << 48
        // Pending in the first place; binds in the second (a page away) and the third (two pages away).
        let places: [[UInt64]] = [
            [0, 0x1000, 0x2000], [0xffff_f000, 0x1_0000_0000, 0x1_0000_1000],
            [top - 0x1000, top - 0x2000, top - 0x3000],
        ]
        let old = gpu.makeVMA(space, at: places[place][0], color: 1)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        let unbind = gpu.unbindAsync(old)
        let far = gpu.makeVMA(space, at: places[place][2], color: 2)
        #expect(gpu.isSignalled(gpu.bindAsync(far)) && gpu.isBound(far))
        #expect(gpu.isSignalled(gpu.unbindAsync(far)))
        let near = gpu.makeVMA(space, at: places[place][1], color: 2)
        let bind = gpu.bindAsync(near)
        #expect(gpu.isBinding(near) && spaceStats(space).awaited == 1)
        // A bound neighbour of another color has to keep a page's distance.
        let touching = gpu.makeVMA(space, at: places[place][0], color: 1)
        var none: OpaquePointer?
        #expect(unbind_vma_bind_async(touching, 0, &none) == -ENOSPC && none == nil)
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(unbind) && gpu.isSignalled(bind) && gpu.isBound(near))
        gpu.close()
    }
}
