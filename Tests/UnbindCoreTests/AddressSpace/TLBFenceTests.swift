// The TLB invalidation is part of the unbind (kernel semantics 1.15, R3; P8, P21, selftest 30b): a translation is never used
// after its unbind has signalled. Each scenario is also run in a VM whose unbinds break the rule, where it has to be found.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct TLBFenceTests {
    enum Break: CaseIterable {
        case nothing, invalidation, order

        func apply(to space: OpaquePointer) {
            switch self {
            case .nothing: break
            case .invalidation: Flaws.dropInvalidation(space)
            case .order: Flaws.signalBeforeInvalidation(space)
            }
        }
    }

    private static var slow: unbind_cost_model {
        var cost = makeHeaderStruct(unbind_cost_model())
        cost.tlb_flush_ns = 1_000
        return cost
    }

    private static var stale: UInt32 { UInt32(UNBIND_FAULT_STALE) }

    @Test(
        "selftest 30b: cs_tlb: a range goes from a dummy page to one that counts, each time through the same address",
        arguments: Break.allCases)
    func dummyThenCounting(broken: Break) {
        let gpu = DirectedGPU(cost: Self.slow)
        let space = gpu.makeSpace()
        broken.apply(to: space)
        let queue = gpu.makeQueue(space)
        let (dummy, counting) = (gpu.makeBuffer(), gpu.makeBuffer())
        var random = SimulationRandom(seed: 30)
        var missing = 0
        for round in 1...40 {
            let address = 0x10_0000 + UInt64(random.below(6)) * 0x1000
            let slot = random.below(512) * 8
            let first = gpu.makeVMA(space, at: address, buffer: dummy)
            let second = gpu.makeVMA(space, at: address, buffer: counting)
            gpu.bind(first)
            _ = gpu.store(queue, 0, at: [address], using: [first])
            _ = gpu.unbindAsync(first)
            _ = gpu.bindAsync(second)
            _ = gpu.store(queue, UInt64(round), at: [address + UInt64(slot)], using: [second])
            _ = gpu.unbindAsync(second)
            gpu.run()
            if gpu.word(counting, at: slot) != UInt64(round) { missing += 1 }
        }
        let found = gpu.faults.contains { $0.kind == Self.stale }
        #expect(found == (broken != .nothing), "\(broken)")
        #expect((missing > 0) == found && (found || gpu.faults.isEmpty))
        gpu.close()
    }

    @Test(
        "selftest 30b: ggtt_page: one page through many windows, written in one order and read in another",
        arguments: Break.allCases)
    func windows(broken: Break) {
        let gpu = DirectedGPU(cost: Self.slow)
        let space = gpu.makeSpace(flags: UInt32(UNBIND_VM_GLOBAL))
        broken.apply(to: space)
        let queue = gpu.makeQueue(space)
        let buffers = [gpu.makeBuffer(), gpu.makeBuffer()]
        var random = SimulationRandom(seed: 31)
        var order = Array(0..<32)
        random.shuffle(&order)
        for slot in order {
            // The same window for both pages, one right after the other.
            for buffer in buffers {
                let address = 0x10000 + UInt64(slot % 4) * 0x1000
                let window = gpu.makeVMA(space, at: address, buffer: buffer)
                _ = gpu.bindAsync(window)
                let job = gpu.store(queue, UInt64(slot + 1), at: [address + UInt64(slot) * 8], using: [window])
                _ = gpu.unbindAsync(window)
                #expect(unbind_fence_wait(job, UInt64.max, 0) == 0)
            }
        }
        gpu.run()
        let isRight = buffers.allSatisfy { buffer in
            (0..<32).allSatisfy { gpu.word(buffer, at: $0 * 8) == UInt64($0 + 1) }
        }
        #expect(isRight == (broken == .nothing) && gpu.faults.isEmpty == isRight)
        #expect(gpu.faults.allSatisfy { $0.kind == Self.stale })
        gpu.close()
    }

    @Test("P21: whoever waits for the unbind fence never meets a stale translation", arguments: Break.allCases)
    func afterTheFence(broken: Break) {
        let gpu = DirectedGPU(cost: Self.slow)
        let space = gpu.makeSpace()
        broken.apply(to: space)
        let queue = gpu.makeQueue(space)
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        _ = gpu.store(queue, 1, at: [0x10000], using: [vma])
        gpu.run()
        let user = gpu.makeUser(of: vma)
        let unbind = gpu.unbindAsync(vma)
        // A bug of the program's: the job does not list what it uses, and runs when the unbind is over.
        _ = gpu.store(queue, 2, at: [0x10000], using: [], after: [unbind])
        gpu.signal(user)
        gpu.run()
        #expect(gpu.faults.map(\.kind) == [broken == .nothing ? UInt32(UNBIND_FAULT_UNMAPPED) : Self.stale])
        gpu.close()
    }

    @Test("P21: before the fence, and after the entry is cleared, the old translation is still there to be met")
    func beforeTheFence() {
        let gpu = DirectedGPU(cost: Self.slow)
        let space = gpu.makeSpace()
        let queue = gpu.makeQueue(space)
        let vma = gpu.makeVMA(space, at: 0x10000)
        gpu.bind(vma)
        _ = gpu.store(queue, 1, at: [0x10000], using: [vma])
        gpu.run()
        let unbind = gpu.unbindAsync(vma)
        #expect(unbind_device_run_until(gpu.device, unbind_device_now(gpu.device) + 500) == 0)
        #expect(gpu.page(space, at: 0x10000) == nil && !gpu.isSignalled(unbind))
        let job = gpu.store(queue, 2, at: [0x10000], using: [])
        #expect(unbind_device_run_until(gpu.device, unbind_device_now(gpu.device)) == 0)
        #expect(gpu.isSignalled(job) && !gpu.isSignalled(unbind) && gpu.faults.map(\.kind) == [Self.stale])
        gpu.run()
        #expect(gpu.isSignalled(unbind))
        gpu.close()
    }

    @Test("P8: the counter of invalidations rises with every batch, and stands still where they are dropped")
    func counterRises() {
        for broken in [Break.nothing, .invalidation] {
            let gpu = DirectedGPU(cost: Self.slow)
            let space = gpu.makeSpace()
            broken.apply(to: space)
            let queue = gpu.makeQueue(space)
            let vmas = (0..<8).map { gpu.makeVMA(space, at: UInt64($0) * 0x1000) }
            var counts: [UInt64] = []
            for _ in 0..<5 {
                for vma in vmas { gpu.bind(vma) }
                let job = gpu.store(queue, 1, at: vmas.map(unbind_vma_address), using: vmas)
                for vma in vmas { _ = gpu.unbindAsync(vma) }
                gpu.run()
                #expect(gpu.isSignalled(job))
                counts.append(deviceStats(gpu.device).tlb_invalidations)
            }
            // One job ends for all eight: they are one batch.
            #expect(counts == (1...5).map { broken == .nothing ? $0 : 0 })
            #expect(spaceStats(space).unbind_batches == 5)
            gpu.close()
        }
    }
}
