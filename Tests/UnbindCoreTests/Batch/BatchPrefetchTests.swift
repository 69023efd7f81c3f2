// PREFETCH of a buffer that batches have mapped: refused in the same way however little memory there is.

import CUnbind
import Glibc
import Testing

@Suite struct BatchPrefetchTests {
    @Test(
        "a mapped buffer that would have to move is -EBUSY or -ENOMEM, whichever allocation fails",
        arguments: [1, Int.max])
    func mappedBuffer(failing: Int) throws {
        let memory = HookedMemory()
        var options = makeHeaderStruct(unbind_device_options())
        options.executor = UNBIND_EXECUTOR_SIMULATED
        options.flags = UInt32(UNBIND_DEVICE_NO_SLABS)
        var hooks = memory.hooks()
        var device: OpaquePointer?
        let opened = withUnsafePointer(to: &hooks) { hooks in
            options.allocator = hooks
            return unbind_device_open_software(&options, &device)
        }
        try #require(opened == 0)
        var space: OpaquePointer?
        var buffer: OpaquePointer?
        try #require(unbind_vm_create(device, nil, &space) == 0)
        try #require(unbind_bo_create(device, 0x4000, UInt32(UNBIND_REGION_SYSTEM), 0, &buffer) == 0)
        var map = unbind_op()
        (map.op, map.address, map.size, map.bo) = (UNBIND_OP_MAP, 0x10000, 0x4000, buffer)
        try #require(unbind_vm_submit(space, &map, 1, nil) == 0)
        var prefetch = unbind_op()
        (prefetch.op, prefetch.bo, prefetch.region) = (UNBIND_OP_PREFETCH, buffer, UNBIND_REGION_LOCAL)
        var statuses: [Int32] = []
        var failures = 0
        repeat {
            memory.failAllocations(after: statuses.count, count: failing)
            statuses.append(unbind_vm_submit(space, &prefetch, 1, nil))
            failures = memory.stopFailing()
        } while failures > 0 && statuses.count < 100
        #expect(statuses.count > 2 && statuses.last == -EBUSY, "\(statuses)")
        #expect(statuses.allSatisfy { $0 == -EBUSY || $0 == -ENOMEM }, "\(statuses)")
        #expect(unbind_bo_region(buffer) == UNBIND_REGION_SYSTEM)
        unbind_bo_unref(buffer)
        unbind_vm_unref(space)
        #expect(unbind_device_close(device, nil) == 0)
        unbind_device_unref(device)
        #expect(memory.complaint == nil)
    }
}
