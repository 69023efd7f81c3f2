// Real threads on a pool device that take things away from each other while jobs run: they destroy VMAs, buffers and
// whole VMs, unbind (one VMA, all of a buffer), evict, hold and move, four at once on the same objects.
//
// What is shared lies in slots under a mutex. Whoever uses an object takes a reference there, so that it may be replaced
// meanwhile. VMAs are at fixed addresses: a job that lists a bound one must not fault, whatever becomes of it.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct TakingAwayStressTests {
    private static let count = 5

    /// A VM with its queue and a VMA for each buffer slot; they overlap each other.
    private struct Stage {
        var space: OpaquePointer
        var queue: OpaquePointer
        var vmas: [OpaquePointer] = []

        func drop() {
            vmas.forEach(unbind_vma_unref)
            unbind_queue_unref(queue)
            unbind_vm_unref(space)
        }
    }

    /// References to a VMA and what goes with it.
    private struct Lease {
        let space, queue, vma, buffer: OpaquePointer

        func drop() {
            unbind_vma_unref(vma)
            unbind_queue_unref(queue)
            unbind_vm_unref(space)
            unbind_bo_unref(buffer)
        }
    }

    private final class Arena: @unchecked Sendable {
        let memory = HookedMemory()
        let device: OpaquePointer
        private let policy: UInt32
        private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        private var stages: [Stage] = []
        private var buffers: [OpaquePointer] = []

        init(policy: UInt32) {
            var options = makeHeaderStruct(unbind_device_options())
            options.executor = UInt32(UNBIND_EXECUTOR_POOL)
            options.worker_count = 2
            var hooks = memory.hooks()
            var opened: OpaquePointer?
            withUnsafePointer(to: &hooks) { hooks in
                options.allocator = hooks
                precondition(unbind_device_open_software(&options, &opened) == 0)
            }
            device = opened!
            self.policy = policy
            pthread_mutex_init(lock, nil)
            for index in 0..<TakingAwayStressTests.count { buffers.append(makeBuffer(index)) }
            for _ in 0..<2 { stages.append(makeStage(buffers)) }
        }

        deinit {
            pthread_mutex_destroy(lock)
            lock.deallocate()
        }

        private func locked<T>(_ body: () -> T) -> T {
            pthread_mutex_lock(lock)
            defer { pthread_mutex_unlock(lock) }
            return body()
        }

        private func makeBuffer(_ index: Int) -> OpaquePointer {
            var buffer: OpaquePointer?
            precondition(unbind_bo_create(device, 0x4000, UInt32(index % 2), 0, &buffer) == 0)
            return buffer!
        }

        private func makeStage(_ buffers: [OpaquePointer]) -> Stage {
            var options = makeHeaderStruct(unbind_vm_options())
            options.policy = policy
            var space: OpaquePointer?
            precondition(unbind_vm_create(device, &options, &space) == 0)
            var queue: OpaquePointer?
            precondition(unbind_queue_create(space, 0, &queue) == 0)
            var stage = Stage(space: space!, queue: queue!)
            for (index, buffer) in buffers.enumerated() { stage.vmas.append(makeVMA(stage, index, buffer)) }
            return stage
        }

        private func makeVMA(_ stage: Stage, _ index: Int, _ buffer: OpaquePointer) -> OpaquePointer {
            var options = makeHeaderStruct(unbind_vma_options())
            options.flags = UInt32(UNBIND_VMA_FIXED)
            options.address = UInt64(index) * 0x3000
            var vma: OpaquePointer?
            precondition(unbind_vma_create(stage.space, buffer, &options, &vma) == 0)
            return vma!
        }

        func lease(_ random: inout SimulationRandom) -> Lease {
            let index = random.below(TakingAwayStressTests.count)
            let stage = random.below(2)
            return locked {
                let stage = stages[stage]
                return Lease(
                    space: unbind_vm_ref(stage.space), queue: unbind_queue_ref(stage.queue),
                    vma: unbind_vma_ref(stage.vmas[index]), buffer: unbind_bo_ref(buffers[index]))
            }
        }

        /// Drops the last reference that is not a lease's to something, and puts another in its place.
        func destroySomething(_ random: inout SimulationRandom) {
            let index = random.below(TakingAwayStressTests.count)
            let number = random.below(2)
            switch random.below(8) {
            case 0:
                let old = locked {
                    let old = stages[number]
                    stages[number] = makeStage(buffers)
                    return old
                }
                if random.chance(50) { _ = unbind_vm_close(old.space) }
                old.drop()
            case 1...3:
                let new = makeBuffer(random.below(2))
                let old = locked {
                    let old = buffers[index]
                    buffers[index] = new
                    return old
                }
                unbind_bo_unref(old)
            default:
                let old = locked {
                    let old = stages[number].vmas[index]
                    stages[number].vmas[index] = makeVMA(stages[number], index, buffers[index])
                    return old
                }
                unbind_vma_unref(old)
            }
        }

        func checkRest() {
            for stage in stages {
                let stats = spaceStats(stage.space)
                #expect(stats.unbinds == stats.unbinds_immediate + stats.unbinds_deferred)
                #expect(stats.pending == 0 && stats.unbinds_completed == stats.unbinds)
                if policy == 0 { #expect(stats.awaited_not_overlapping == 0) }
            }
        }

        func dropAll() {
            for stage in stages { stage.drop() }
            buffers.forEach(unbind_bo_unref)
        }
    }

    /// What one thread has made, and leaves for the end.
    private final class Harvest: @unchecked Sendable {
        var fences: [OpaquePointer] = []
        var strays: UInt64 = 0
    }

    @Test("four threads that take things away from each other while jobs run leave nothing behind", arguments: 0..<3)
    func takingAway(policy: Int) {
        let arena = Arena(policy: UInt32(policy))
        let failures = SharedStatus()
        let harvests = (0..<4).map { _ in Harvest() }
        let threads = harvests.enumerated().map { index, harvest in
            PlainThread { Self.work(arena, seed: UInt64(index * 3 + policy), failures, harvest) }
        }
        threads.forEach { $0.join() }
        #expect(failures.get() == nil, "a call gave \(failures.get() ?? 0)")
        #expect(unbind_device_wait_idle(arena.device, 20_000_000_000, 0) == 0)
        for fence in harvests.flatMap(\.fences) {
            #expect(unbind_fence_is_signaled(fence) == 1)
            unbind_fence_unref(fence)
        }
        arena.checkRest()
        #expect(deviceStats(arena.device).faults == harvests.reduce(0) { $0 + $1.strays })
        arena.dropAll()
        var report = makeHeaderStruct(unbind_leak_report())
        #expect(unbind_device_close(arena.device, &report) == 0)
        #expect(report.vms == 0 && report.bos == 0 && report.vmas == 0 && report.queues == 0 && report.fences == 0)
        #expect(report.holds == 0 && report.bo_bytes == 0 && report.unbinds_completed == 0)
        unbind_device_unref(arena.device)
        #expect(arena.memory.complaint == nil)
    }

    private static func work(_ arena: Arena, seed: UInt64, _ failures: SharedStatus, _ harvest: Harvest) {
        var random = SimulationRandom(seed: seed)
        var holds: [OpaquePointer] = []
        func check(_ status: Int32, _ allowed: [Int32]) {
            if !allowed.contains(status) { failures.set(status) }
        }
        /// Whoever waits must hold nothing: others may be waiting for that.
        func letGo() {
            holds.forEach(unbind_hold_unref)
            holds = []
        }
        for _ in 0..<300 {
            let lease = arena.lease(&random)
            var fence: OpaquePointer?
            switch random.below(15) {
            case 0...2:
                let flags = random.chance(40) ? UInt32(UNBIND_BIND_EVICT) : 0
                check(unbind_vma_bind_async(lease.vma, flags, &fence), [0, -ENOSPC, -ENOENT, -EIO])
            case 3...5: check(submit(lease, isStray: false, random.next(), &fence), [0, -EINVAL, -ENOENT])
            case 6:
                letGo()
                check(unbind_vma_unbind_async(lease.vma, 0, &fence), [0])
            case 7:
                letGo()
                check(unbind_vma_unbind(lease.vma, 0), [0])
            case 8, 9:
                letGo()
                var flags = UInt32(random.below(32)) << 8
                flags &= ~UInt32(random.chance(80) ? UNBIND_BO_UNBIND_TEST : 0)
                check(unbind_bo_unbind(lease.buffer, flags), [0, -EBUSY, -EAGAIN])
            case 10:
                letGo()
                let flags = UInt32(random.below(4)) << 8
                if random.chance(50) {
                    check(unbind_vm_evict_range(lease.space, 0x3000, 0x2000, 0, flags), [0, -ENOSPC, -ENOENT])
                } else {
                    check(unbind_vm_evict_all(lease.space, flags), [0, -ENOENT])
                }
            case 11: hold(lease, &random, &holds, check)
            case 12, 13: migrate(arena, lease, &random, &fence, check)
            default: arena.destroySomething(&random)
            }
            if let fence { harvest.fences.append(fence) }
            fence = nil
            if random.chance(2) {
                check(submit(lease, isStray: true, 0, &fence), [0, -ENOENT])
                if let fence {
                    harvest.fences.append(fence)
                    harvest.strays += 1
                }
            }
            if holds.count > 2 || random.chance(20) { letGo() }
            lease.drop()
        }
        letGo()
    }

    private static func hold(
        _ lease: Lease, _ random: inout SimulationRandom, _ holds: inout [OpaquePointer],
        _ check: (Int32, [Int32]) -> Void
    ) {
        var hold: OpaquePointer?
        if random.chance(50) {
            check(unbind_vma_hold(lease.vma, &hold), [0, -EINVAL])
        } else {
            check(unbind_vm_hold(lease.space, random.next() % 0x10000, &hold), [0, -ENOENT])
        }
        guard let hold else { return }
        var info = makeHeaderStruct(unbind_hold_info())
        check(unbind_hold_get_info(hold, &info), [0])
        check(info.size == 0x4000 && info.flags & UInt32(UNBIND_HOLD_BROKEN) == 0 ? 0 : 1, [0])
        holds.append(hold)
    }

    /// Now and then the copy fails; a buffer that was lost is replaced sooner or later.
    private static func migrate(
        _ arena: Arena, _ lease: Lease, _ random: inout SimulationRandom, _ fence: inout OpaquePointer?,
        _ check: (Int32, [Int32]) -> Void
    ) {
        if random.chance(10) { check(unbind_device_fail_next(arena.device, UInt32(UNBIND_FAIL_COPY), 1), [0]) }
        var flags = random.chance(50) ? UInt32(UNBIND_BO_MIGRATE_NO_CPU_COPY) : 0
        if random.chance(20) { flags |= UInt32(UNBIND_BO_MIGRATE_AFTER_UNBIND) }
        check(unbind_bo_migrate(lease.buffer, UInt32(random.below(2)), flags, &fence), [0, -EIO])
    }

    /// A job that writes through the VMA, if it is bound at this moment; or where nothing ever is. Jobs of both VMs write
    /// to the same buffers, in no order: so each write is one access.
    private static func submit(
        _ lease: Lease, isStray: Bool, _ value: UInt64, _ fence: inout OpaquePointer?
    ) -> Int32 {
        let address = isStray ? 1 << 40 : unbind_vma_address(lease.vma)
        let commands = [0, 0x208, 0x1000, 0x3ff8].map { (offset: UInt64) in
            var command = unbind_command()
            command.op = UInt32(UNBIND_COMMAND_STORE)
            command.address = address &+ offset
            command.value = value
            return command
        }
        var listed = unbind_submit_vma(vma: lease.vma, use: UInt32(UNBIND_USE_WRITE), reserved: 0)
        return commands.withUnsafeBufferPointer { commands in
            withUnsafePointer(to: &listed) { listed in
                var submit = makeHeaderStruct(unbind_submit())
                submit.commands = commands.baseAddress
                submit.command_count = UInt32(commands.count)
                submit.vmas = isStray ? nil : listed
                submit.vma_count = isStray ? 0 : 1
                return unbind_queue_submit(lease.queue, &submit, &fence)
            }
        }
    }
}
