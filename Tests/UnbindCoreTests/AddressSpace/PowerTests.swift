// Keeping the device awake for a global address space (kernel semantics 1.2, 1.3, 1.4, 1.9, D4; P16, P17). That no lock
// is held and no signalling section is open in a callback is checked by the library itself, in every test here.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct PowerTests {
    private typealias Counts = PowerMeter.Counts
    private var global: UInt32 { UInt32(UNBIND_VM_GLOBAL) }
    /// For a place inside another expectation.
    private func check(_ isTrue: Bool) { #expect(isTrue) }

    @Test("1.9: a bind and each unbind that is asked for keep the device awake for the call; the unbind has its own")
    func callsAreBracketed() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let vma = gpu.makeVMA(gpu.makeSpace(flags: global), at: 0x10000)
        #expect(power.counts == Counts())
        let pair = Counts(gets: 1, puts: 1)
        let unbind = Counts(gets: 1, asks: 1, granted: 1, puts: 2)
        #expect(power.counting { gpu.bind(vma) } == pair)
        #expect(power.counting { gpu.bind(vma) } == pair, "bound already")
        #expect(power.counting { _ = gpu.unbindAsync(vma) } == unbind)
        #expect(power.counting { _ = gpu.unbindAsync(vma) } == unbind, "unbound already")
        #expect(power.counting { _ = gpu.bindAsync(vma) } == pair)
        #expect(power.counting { check(unbind_vma_unbind(vma, 0) == 0) } == unbind)
        gpu.close()
    }

    @Test("1.9: a call that fails gives back what it took")
    func failuresAreBalanced() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: global)
        let first = gpu.makeVMA(space, at: 0x10000)
        let second = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(first)
        let user = gpu.makeUser(of: first)
        let pair = Counts(gets: 1, puts: 1)
        #expect(power.counting { check(unbind_vma_bind(second, 0) == -ENOSPC) } == pair)
        // A try at unbinding that finds the VMA busy, and a wait that cannot end.
        let busy = power.counting { check(unbind_vma_unbind(first, 0) == -EDEADLK) }
        #expect(busy == Counts(gets: 1, asks: 1, granted: 1, puts: 2))
        _ = gpu.unbindAsync(first)
        #expect(power.counting { check(unbind_vma_bind(second, 0) == -EDEADLK) } == pair)
        #expect(power.references == 1, "the unbind's")
        #expect(unbind_vm_close(space) == 0)
        #expect(power.counting { check(unbind_vma_bind(second, 0) == -ENOENT) } == pair)
        gpu.signal(user)
        gpu.run()
        gpu.close()
    }

    @Test("those that an eviction or a move unbinds keep the device awake like any other unbind")
    func evictedHold() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: global)
        let vmas = (0..<3).map { gpu.makeVMA(space, at: UInt64($0) * 0x1000) }
        let users = vmas.map { vma in
            gpu.bind(vma)
            return gpu.makeUser(of: vma)
        }
        let over = gpu.makeVMA(space, at: 0, size: 0x2000)
        #expect(unbind_vma_bind_async(over, UInt32(UNBIND_BIND_EVICT), nil) == 0)
        #expect(power.references == 3, "two unbinds and the bind")
        #expect(unbind_vm_evict_all(space, UInt32(UNBIND_EVICT_ASYNC)) == 0)
        #expect(power.references == 5, "one more of each kind")
        #expect(unbind_vm_evict_all(space, 0) == 0)
        users.forEach { gpu.signal($0) }
        gpu.run()
        #expect(power.references == 0)
        gpu.bind(over)
        #expect(unbind_vma_bind(vmas[0], UInt32(UNBIND_BIND_EVICT)) == 0)
        #expect(power.references == 0)
        gpu.close()
    }

    @Test("1.2: a deferred unbind keeps the device awake until it has completed, and no longer")
    func deferredUnbindHolds() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: global)
        let vmas = (0..<3).map { gpu.makeVMA(space, at: UInt64($0) * 0x1000) }
        let users = vmas.map { vma in
            gpu.bind(vma)
            return gpu.makeUser(of: vma)
        }
        let unbinds = vmas.map(gpu.unbindAsync)
        #expect(power.references == 3)
        gpu.run()
        #expect(power.references == 3)
        for (index, user) in users.enumerated() {
            gpu.signal(user)
            #expect(power.references == 3 - index, "not on the thread that signals")
            gpu.run()
            #expect(gpu.isSignalled(unbinds[index]) && power.references == 2 - index)
        }
        gpu.close()
    }

    @Test("1.2: the put comes after the signal of the unbind fence, not before")
    func putFollowsSignal() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: global)
        let vma = gpu.makeVMA(space, at: 0)
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        let unbind = gpu.unbindAsync(vma)
        var seen: [Bool] = []
        power.onCall = { name in if name == "put" { seen.append(gpu.isSignalled(unbind)) } }
        gpu.signal(user)
        gpu.run()
        power.onCall = nil
        #expect(seen == [true])
        gpu.close()
    }

    @Test("P17: a device that is asleep when an unbind is scheduled stays so; the unbind works, and nothing is put")
    func asleep() {
        let power = PowerMeter(alwaysAnswers: false)
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: global)
        let vma = gpu.makeVMA(space, at: 0x10000)
        for isDeferred in [false, true] {
            gpu.bind(vma)
            let user = isDeferred ? gpu.makeUser(of: vma) : nil
            let counts = power.counting {
                let unbind = gpu.unbindAsync(vma)
                if let user { gpu.signal(user) }
                gpu.run()
                #expect(gpu.isSignalled(unbind) && gpu.page(space, at: 0x10000) == nil)
            }
            #expect(counts == Counts(gets: 1, asks: 1, puts: 1))
        }
        gpu.close()
    }

    @Test("1.9: what unbinds without being asked to (a last reference, a close) never wakes the device")
    func droppingDoesNotWake() {
        for answer in [false, true] {
            let power = PowerMeter(alwaysAnswers: answer)
            let gpu = DirectedGPU(power: power)
            let space = gpu.makeSpace(flags: global)
            let dropped = gpu.makeVMA(space, at: 0, isKept: false)
            let closed = gpu.makeVMA(space, at: 0x1000)
            let user = gpu.makeFence()
            for vma in [dropped, closed] {
                gpu.bind(vma)
                #expect(unbind_vma_add_user(vma, user) == 0)
            }
            let counts = power.counting {
                unbind_vma_unref(dropped)
                #expect(unbind_vm_close(space) == 0)
            }
            #expect(counts == Counts(asks: 2, granted: answer ? 2 : 0))
            #expect(power.references == (answer ? 2 : 0))
            gpu.signal(user)
            gpu.run()
            #expect(power.references == 0)
            gpu.close()
        }
    }

    @Test("an asynchronous bind keeps the device awake until its entries are written")
    func asynchronousBindHolds() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: global)
        let old = gpu.makeVMA(space, at: 0x10000)
        let new = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        let held = BindingHold(ofVMA: old)
        _ = gpu.unbindAsync(old)
        #expect(power.counting { _ = gpu.bindAsync(new) } == Counts(gets: 1))
        // Joining a bind that is under way is a call like any other.
        #expect(power.counting { _ = gpu.bindAsync(new) } == Counts(gets: 1, puts: 1))
        #expect(power.references == 2)
        gpu.signal(user)
        gpu.run()
        #expect(power.references == 2, "the unbind is held, the bind waits for it")
        held.end()
        gpu.run()
        #expect(power.references == 0 && gpu.isBound(new))
        gpu.close()
    }

    @Test("P16: a hold that ends on some thread has the reference given back by the executor, before close returns")
    func holdEnds() {
        for isDeferred in [false, true] {
            let power = PowerMeter()
            let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_MANUAL), power: power)
            let space = gpu.makeSpace(flags: global)
            let vma = gpu.makeVMA(space, at: 0x10000)
            gpu.bind(vma)
            let user = isDeferred ? gpu.makeUser(of: vma) : nil
            let held = BindingHold(ofVMA: vma)
            let unbind = gpu.unbindAsync(vma)
            if let user { gpu.signal(user) }
            gpu.run()
            #expect(power.references == 1 && !gpu.isSignalled(unbind))
            let thread = PlainThread { held.end() }
            thread.join()
            #expect(power.references == 1 && gpu.isSignalled(unbind))
            // Nobody runs the executor but the close.
            gpu.close()
        }
    }

    @Test("closing the device gives every reference back before it returns", arguments: 0..<3)
    func closeGivesBack(executor: Int) {
        for round in 0..<10 {
            let power = PowerMeter()
            let gpu = DirectedGPU(executor: UInt32(executor), workers: executor == 0 ? 2 : 0, power: power)
            let space = gpu.makeSpace(flags: global)
            let user = gpu.makeFence()
            for index in 0..<20 {
                let vma = gpu.makeVMA(space, at: UInt64(index) * 0x1000)
                gpu.bind(vma)
                #expect(unbind_vma_add_user(vma, user) == 0)
                if index % 2 == 0 { _ = gpu.unbindAsync(vma) }
                if index % 4 == 0 { _ = gpu.bindAsync(vma) }
            }
            #expect(power.references == 15)
            if round % 2 == 0 { gpu.signal(user) }
            #expect(unbind_device_close(gpu.device, nil) == 0)
            #expect(power.references == 0 && power.complaint == nil)
            gpu.dropObjects()
            gpu.dropFences()
            unbind_device_unref(gpu.device)
            #expect(gpu.memory.complaint == nil)
        }
    }

    @Test("a per-process address space calls none of them")
    func perProcess() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace()
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        _ = gpu.unbindAsync(vma)
        _ = gpu.bindAsync(vma)
        gpu.signal(user)
        gpu.run()
        #expect(unbind_vm_suspend(space) == 0 && unbind_vm_resume(space) == 0)
        #expect(unbind_vma_unbind(vma, 0) == 0)
        gpu.close()
        #expect(power.counts == Counts())
    }

    @Test("a global address space on a device without the callbacks works as any other")
    func withoutCallbacks() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(flags: global)
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        #expect(unbind_vma_unbind(vma, 0) == 0 && gpu.isUnbound(vma))
        gpu.close()
    }

    @Test("a callback may use the library: here it unbinds and binds another VMA")
    func callbackCalls() {
        let power = PowerMeter()
        let gpu = DirectedGPU(power: power)
        let space = gpu.makeSpace(flags: global)
        let other = gpu.makeVMA(gpu.makeSpace(), at: 0x1000)
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(other)
        var calls = 0
        power.onCall = { _ in
            calls += 1
            #expect(unbind_vma_unbind_async(other, 0, nil) == 0 && unbind_vma_bind_async(other, 0, nil) == 0)
            #expect(unbind_device_close(gpu.device, nil) == -EDEADLK)
        }
        gpu.bind(vma)
        let user = gpu.makeUser(of: vma)
        _ = gpu.unbindAsync(vma)
        gpu.signal(user)
        gpu.run()
        power.onCall = nil
        #expect(calls == 6 && gpu.isBound(other))
        gpu.close()
    }

    @Test("the work item of the power references is where its offset says")
    func itemOffset() {
        let gpu = DirectedGPU(power: PowerMeter())
        #expect(PowerLayout.isItemInPlace(gpu.device))
        gpu.close()
    }
}
