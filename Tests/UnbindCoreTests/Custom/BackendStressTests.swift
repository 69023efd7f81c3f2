// Real threads on a device whose backend is here: binding, unbinding and submitting, while another thread completes what
// was begun. What is asserted is what holds under every interleaving; the rest is for ThreadSanitizer to find.

import CUnbind
import Glibc
import Testing

/// Address spaces of 64 pages. Everything that is begun is completed by a thread, in no particular order.
private final class StressedBackend: @unchecked Sendable {
    final class Space {
        var pages = [UnsafeMutableRawPointer?](repeating: nil, count: 64)
        var isBusy = false
    }

    struct Begun {
        let token: OpaquePointer
        let body: () -> Void
    }

    private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var begun: [Begun] = []
    private var stops = false
    private(set) var mistakes = 0
    private(set) var updates = 0
    var mapped = 0

    init() {
        lock.initialize(to: pthread_mutex_t())
        pthread_mutex_init(lock, nil)
    }

    deinit { lock.deallocate() }

    func locked<R>(_ body: () -> R) -> R {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body()
    }

    static func from(_ context: UnsafeMutableRawPointer?) -> StressedBackend {
        Unmanaged<StressedBackend>.fromOpaque(context!).takeUnretainedValue()
    }

    static func space(_ handle: UnsafeMutableRawPointer?) -> Space {
        Unmanaged<Space>.fromOpaque(handle!).takeUnretainedValue()
    }

    func begin(_ token: OpaquePointer?, on space: Space?, _ body: @escaping () -> Void) -> Int32 {
        locked {
            if let space {
                if space.isBusy { mistakes += 1 }
                space.isBusy = true
                updates += 1
            }
            begun.append(
                Begun(token: token!) {
                    space?.isBusy = false
                    body()
                })
        }
        return UNBIND_BACKEND_PENDING
    }

    func apply(_ ranges: [unbind_backend_range], to space: Space) {
        for range in ranges {
            for page in Int(range.address / 4096)..<Int((range.address + range.size) / 4096) {
                let isMap = range.op == UNBIND_BACKEND_MAP
                if (space.pages[page] == nil) != isMap { mistakes += 1 }
                space.pages[page] = isMap ? range.bo : nil
                mapped += isMap ? 1 : -1
            }
        }
    }

    /// The thread's.
    func complete() {
        var random = UInt64(7)
        while true {
            random = random &* 6_364_136_223_846_793_005 &+ 1
            let work = locked { () -> Begun? in
                if begun.isEmpty { return nil }
                let work = begun.remove(at: Int(random >> 33) % begun.count)
                work.body()
                return work
            }
            if let work { unbind_backend_complete(work.token, 0) } else { usleep(50) }
            if work == nil, locked({ stops }) { return }
        }
    }

    func stop() { locked { stops = true } }

    static var ops: unbind_backend_ops {
        var ops = makeHeaderStruct(unbind_backend_ops())
        // EXPLICIT_UNBIND and ALIASING, whose macros Swift cannot import.
        ops.capabilities = 1 | 4
        ops.page_sizes = 0x1000
        ops.address_limit = 64 * 4096
        ops.bo_create = { _, size, _, buffer, memory in
            buffer!.pointee = calloc(1, Int(size))
            memory!.pointee = buffer!.pointee
            return 0
        }
        ops.bo_destroy = { _, buffer in free(buffer) }
        ops.vm_create = { _, _, _, _, _, out in
            out!.pointee = Unmanaged.passRetained(Space()).toOpaque()
            return 0
        }
        ops.vm_destroy = { _, space in Unmanaged<Space>.fromOpaque(space!).release() }
        ops.update = { context, handle, ranges, count, token in
            let (backend, space) = (from(context), space(handle))
            let copy = Array(UnsafeBufferPointer(start: ranges, count: Int(count)))
            return backend.begin(token, on: space) { backend.apply(copy, to: space) }
        }
        ops.invalidate = { context, handle, _, _, token in from(context).begin(token, on: space(handle)) {} }
        ops.queue_create = { _, _, _, out in
            out!.pointee = nil
            return 0
        }
        ops.queue_destroy = { _, _ in }
        ops.submit = { context, _, commands, count, token in
            let copy = Array(UnsafeBufferPointer(start: commands, count: Int(count)))
            return from(context).begin(token, on: nil) { precondition(!copy.isEmpty) }
        }
        return ops
    }
}

@Suite(.serialized) struct BackendStressTests {
    private final class Arena: @unchecked Sendable {
        let backend = StressedBackend()
        let device: OpaquePointer
        var space: OpaquePointer?
        var vmas: [OpaquePointer] = []
        var queues: [OpaquePointer] = []

        init(executor: Int) {
            var options = makeHeaderStruct(unbind_device_options())
            options.executor = UInt32(executor)
            var ops = StressedBackend.ops
            var opened: OpaquePointer?
            let context = Unmanaged.passUnretained(backend).toOpaque()
            precondition(unbind_device_open_custom(&ops, context, &options, &opened) == 0)
            device = opened!
            precondition(unbind_vm_create(device, nil, &space) == 0)
            for index in 0..<12 {
                var (buffer, vma, queue): (OpaquePointer?, OpaquePointer?, OpaquePointer?) = (nil, nil, nil)
                precondition(unbind_bo_create(device, 0x4000, 0, 0, &buffer) == 0)
                var options = makeHeaderStruct(unbind_vma_options())
                options.flags = UInt32(UNBIND_VMA_FIXED)
                options.address = UInt64(index) * 0x2000
                precondition(unbind_vma_create(space, buffer, &options, &vma) == 0)
                unbind_bo_unref(buffer)
                vmas.append(vma!)
                if index >= 3 { continue }
                precondition(unbind_queue_create(space, 0, &queue) == 0)
                queues.append(queue!)
            }
        }

        func work(seed: UInt64, rounds: Int) {
            var random = seed
            for _ in 0..<rounds {
                random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let vma = vmas[Int(random >> 33) % vmas.count]
                var fence: OpaquePointer?
                switch (random >> 60) & 7 {
                case 0, 1: precondition([0, -ENOSPC].contains(unbind_vma_bind(vma, 0)))
                case 2, 3: precondition([0, -ENOSPC].contains(unbind_vma_bind_async(vma, 0, &fence)))
                case 4: precondition(unbind_vma_unbind(vma, 0) == 0)
                case 5: precondition(unbind_vma_unbind_async(vma, 0, &fence) == 0)
                default: fence = submit(vma, random)
                }
                if let fence, random >> 40 & 1 == 0 {
                    precondition(unbind_fence_wait(fence, UNBIND_TIMEOUT_INFINITE, 0) == 0)
                }
                unbind_fence_unref(fence)
            }
        }

        private func submit(_ vma: OpaquePointer, _ random: UInt64) -> OpaquePointer? {
            var job = makeHeaderStruct(unbind_submit())
            var use = unbind_submit_vma(vma: vma, use: 2, reserved: 0)
            var command = unbind_command()
            command.op = 4
            var fence: OpaquePointer?
            withUnsafePointer(to: &use) { use in
                withUnsafePointer(to: &command) { command in
                    (job.vmas, job.vma_count, job.commands, job.command_count) = (use, 1, command, 1)
                    let status = unbind_queue_submit(queues[Int(random >> 35) % 3], &job, &fence)
                    precondition([0, -EINVAL].contains(status))
                }
            }
            return fence
        }
    }

    @Test("threads that bind, unbind and submit on a backend that completes later leave nothing behind", arguments: [0, 1])
    func threads(executor: Int) {
        let arena = Arena(executor: executor)
        let completer = PlainThread { arena.backend.complete() }
        let rounds = isSanitized ? 300 : 2000
        let workers = (1...3).map { seed in PlainThread { arena.work(seed: UInt64(seed), rounds: rounds) } }
        for worker in workers { worker.join() }
        for vma in arena.vmas { unbind_vma_unref(vma) }
        for queue in arena.queues { unbind_queue_unref(queue) }
        unbind_vm_unref(arena.space)
        #expect(unbind_device_close(arena.device, nil) == 0)
        unbind_device_unref(arena.device)
        arena.backend.stop()
        completer.join()
        #expect(arena.backend.mistakes == 0)
        #expect(arena.backend.mapped == 0)
        #expect(arena.backend.updates > 0)
    }
}
