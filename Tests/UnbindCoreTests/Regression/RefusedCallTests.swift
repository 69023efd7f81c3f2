// Calls that fail, and what they leave.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct RefusedCallTests {
    @Test("memory that ends where page-table entries do is bound or refused, and never a broken invariant")
    func wrapAtTheEndOfAddresses() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        for distance: UInt in [0x1000, 0x2000, 0x20_0000] {
            var buffer: OpaquePointer?
            let memory = UnsafeMutableRawPointer(bitPattern: (UInt(1) << 52) - distance)
            let status = unbind_bo_wrap(gpu.device, memory, UInt64(distance), nil, nil, &buffer)
            #expect(status == 0 || status == -EINVAL)
            if status != 0 { continue }
            let vma = gpu.makeVMA(space, at: nil, buffer: buffer, isKept: false)
            gpu.bind(vma)
            unbind_vma_unref(vma)
            unbind_bo_unref(buffer)
        }
        gpu.close()
    }

    @Test("an alignment that only address 0 has gives that or no space", arguments: [UInt64(1) << 47, 1 << 48, 1 << 63])
    func hugeAlignment(alignment: UInt64) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let buffer = gpu.makeBuffer()
        for flags in [0, UInt32(UNBIND_VMA_HIGH)] {
            var options = makeHeaderStruct(unbind_vma_options())
            options.alignment = alignment
            options.flags = flags
            let vmas = (0..<3).map { _ in
                var vma: OpaquePointer?
                #expect(unbind_vma_create(space, buffer, &options, &vma) == 0)
                return vma!
            }
            let statuses = vmas.map { unbind_vma_bind($0, 0) }
            let places = alignment < 1 << 48 ? 2 : 1
            #expect(statuses.filter { $0 == 0 }.count == places)
            #expect(statuses.filter { $0 == -ENOSPC }.count == 3 - places)
            for vma in vmas { unbind_vma_unref(vma) }
        }
        gpu.close()
    }

    /// The C library's memory until it is to fail.
    private final class FailingMemory: @unchecked Sendable {
        /// Calls until the one that fails; below 0: none does.
        var callsLeft = -1

        func hooks() -> unbind_allocator {
            var hooks = makeHeaderStruct(unbind_allocator())
            hooks.user_data = Unmanaged.passUnretained(self).toOpaque()
            hooks.allocate = { data, size, alignment in
                let failing = Unmanaged<FailingMemory>.fromOpaque(data!).takeUnretainedValue()
                failing.callsLeft -= 1
                if failing.callsLeft == -1 { return nil }
                var memory: UnsafeMutableRawPointer?
                return posix_memalign(&memory, alignment, size) == 0 ? memory : nil
            }
            hooks.deallocate = { _, memory, _ in free(memory) }
            return hooks
        }
    }

    @Test("a submit that fails for memory is not counted among the queue's submits")
    func failedSubmitIsNotCounted() {
        let failing = FailingMemory()
        var hooks = failing.hooks()
        var seqnos: [UInt64] = []
        var device: OpaquePointer?
        withUnsafeMutablePointer(to: &seqnos) { seqnos in
            withUnsafePointer(to: &hooks) { hooks in
                var options = makeHeaderStruct(unbind_device_options())
                options.executor = UInt32(UNBIND_EXECUTOR_SIMULATED)
                options.flags = UInt32(UNBIND_DEVICE_NO_SLABS)
                options.allocator = hooks
                options.fault_data = UnsafeMutableRawPointer(seqnos)
                options.fault = { data, fault in
                    data!.assumingMemoryBound(to: [UInt64].self).pointee.append(fault!.pointee.job_seqno)
                }
                #expect(unbind_device_open_software(&options, &device) == 0)
            }
            var space: OpaquePointer?
            var buffer: OpaquePointer?
            var vma: OpaquePointer?
            var queue: OpaquePointer?
            #expect(unbind_vm_create(device, nil, &space) == 0 && unbind_queue_create(space, 0, &queue) == 0)
            #expect(unbind_bo_create(device, 0x1000, 0, 0, &buffer) == 0)
            #expect(unbind_vma_create(space, buffer, nil, &vma) == 0 && unbind_vma_bind(vma, 0) == 0)
            var store = unbind_command()
            store.op = UInt32(UNBIND_COMMAND_STORE)
            store.address = 1 << 40
            var use = unbind_submit_vma(vma: vma, use: UInt32(UNBIND_USE_READ), reserved: 0)
            var failures = 0
            withUnsafePointer(to: &store) { store in
                withUnsafePointer(to: &use) { use in
                    var submit = makeHeaderStruct(unbind_submit())
                    submit.commands = store
                    submit.command_count = 1
                    submit.vmas = use
                    submit.vma_count = 1
                    var calls = 0
                    repeat {
                        failing.callsLeft = calls
                        let status = unbind_queue_submit(queue, &submit, nil)
                        if status == 0 { break }
                        #expect(status == -ENOMEM)
                        failures += 1
                        calls += 1
                    } while calls < 100
                }
            }
            failing.callsLeft = -1
            #expect(unbind_device_run(device, 0, nil) == 0)
            #expect(failures > 2 && seqnos.pointee == [1])
            unbind_queue_unref(queue)
            unbind_vma_unref(vma)
            unbind_bo_unref(buffer)
            unbind_vm_unref(space)
            unbind_device_unref(device)
        }
    }
}
