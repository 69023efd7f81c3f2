// Everything that takes a binding away, at once from four threads (kernel semantics M6, P5): destroying, unbinding,
// evicting, and moving the buffer, while it is held. ThreadSanitizer is to find what the checks do not.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct ContentionTests {
    private static let places: [UInt64] = [0x10000, 0x11000, 0x12000]

    @Test(
        "P5, M6: four threads destroy, unbind, evict, hold and move the same buffers, and leave nothing behind",
        arguments: 0..<3)
    func fourThreads(seed: Int) {
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 2)
        let space = gpu.makeSpace()
        let buffers = (0..<2).map { _ in gpu.makeBuffer(0x2000) }
        let vmas = Self.places.map { gpu.makeVMA(space, at: $0, buffer: buffers[Int($0 >> 12) % 2]) }
        let failures = SharedStatus()
        let threads = (0..<4).map { number in
            PlainThread { Self.work(gpu, space, buffers, vmas, UInt64(seed * 4 + number), failures) }
        }
        for thread in threads { thread.join() }
        #expect(failures.get() == nil, "a call gave \(failures.get() ?? 0)")
        for buffer in buffers { #expect(unbind_bo_wait(buffer, UInt64.max, 0) == 0) }
        #expect(unbind_device_wait_idle(gpu.device, UInt64.max, 0) == 0)
        let stats = spaceStats(space)
        #expect(stats.pending == 0 && stats.unbinds == stats.unbinds_completed && stats.unbinds > 100)
        // Still of use.
        for vma in vmas { #expect(unbind_vma_unbind(vma, 0) == 0) }
        gpu.bind(vmas[0])
        gpu.close()
    }

    private static func work(
        _ gpu: DirectedGPU, _ space: OpaquePointer, _ buffers: [OpaquePointer], _ vmas: [OpaquePointer], _ seed: UInt64,
        _ failures: SharedStatus
    ) {
        var random = SimulationRandom(seed: seed)
        func check(_ status: Int32, _ allowed: [Int32]) {
            if !allowed.contains(status) { failures.set(status) }
        }
        for _ in 0..<300 {
            let (vma, buffer) = (random.pick(vmas), random.pick(buffers))
            switch random.below(8) {
            case 0, 1: check(unbind_vma_bind_async(vma, 0, nil), [0, -ENOSPC])
            case 2: check(unbind_vma_unbind_async(vma, 0, nil), [0])
            case 3: check(destroy(space, buffer, random.pick(places)), [0, -ENOSPC])
            case 4:
                // -ENOSPC: somebody holds what is there.
                check(
                    unbind_vm_evict_range(space, random.pick(places), 0x1000, 0, UInt32(UNBIND_EVICT_ASYNC)),
                    [0, -ENOSPC])
            case 5: check(hold(space, vma, random.chance(50) ? random.pick(places) : nil), [0, -EINVAL, -ENOENT])
            case 6: check(unbind_bo_migrate(buffer, UInt32(random.below(2)), 0, nil), [0])
            default:
                if random.chance(50) {
                    check(unbind_bo_unbind(buffer, UInt32(UNBIND_BO_UNBIND_ASYNC)), [0])
                } else {
                    check(use(gpu, vma), [0, -EINVAL])
                }
            }
        }
    }

    /// A VMA of this thread alone, whose last reference goes while it is bound.
    private static func destroy(_ space: OpaquePointer, _ buffer: OpaquePointer, _ address: UInt64) -> Int32 {
        var options = makeHeaderStruct(unbind_vma_options())
        options.flags = UInt32(UNBIND_VMA_FIXED)
        options.address = address
        var vma: OpaquePointer?
        let status = unbind_vma_create(space, buffer, &options, &vma)
        if status != 0 { return status }
        defer { unbind_vma_unref(vma) }
        return unbind_vma_bind_async(vma, 0, nil)
    }

    private static func hold(_ space: OpaquePointer, _ vma: OpaquePointer, _ address: UInt64?) -> Int32 {
        var hold: OpaquePointer?
        let status = address.map { unbind_vm_hold(space, $0, &hold) } ?? unbind_vma_hold(vma, &hold)
        if status != 0 { return status }
        defer { unbind_hold_unref(hold) }
        var info = makeHeaderStruct(unbind_hold_info())
        return unbind_hold_get_info(hold, &info)
    }

    /// Work on the VMA that ends at once.
    private static func use(_ gpu: DirectedGPU, _ vma: OpaquePointer) -> Int32 {
        var user: OpaquePointer?
        let made = unbind_fence_create(gpu.device, &user)
        if made != 0 { return made }
        defer { unbind_fence_unref(user) }
        let status = unbind_vma_add_user(vma, user)
        sched_yield()
        _ = unbind_fence_signal(user, 0)
        return status
    }
}
