// What an address space counts of the unbinds that batches wait for.

import CUnbind
import Testing

@Suite struct BatchCountsTests {
    /// A batch unmaps pages 0 and 1 when a fence has signalled; others come behind it.
    private struct Stage {
        let gpu = DirectedGPU()
        let space: OpaquePointer
        let buffer: OpaquePointer
        let gate: OpaquePointer

        init(policy: UInt32) {
            space = gpu.makeSpace(policy: Int(policy))
            buffer = gpu.makeBuffer(0x8000)
            var fence: OpaquePointer?
            #expect(unbind_fence_create(gpu.device, &fence) == 0)
            gate = fence!
            submit([
                operation(UNBIND_OP_MAP, page: 0, count: 1), operation(UNBIND_OP_MAP, page: 1, count: 1, offset: 4),
            ])
        }

        func operation(_ kind: UInt32, page: Int, count: Int, offset: Int = 0) -> unbind_op {
            var operation = unbind_op()
            (operation.op, operation.address, operation.size) = (kind, UInt64(page) << 12, UInt64(count) << 12)
            if kind == UNBIND_OP_MAP { (operation.bo, operation.offset) = (buffer, UInt64(offset) << 12) }
            return operation
        }

        func submit(_ operations: [unbind_op], waits: Bool = false) {
            var batch = makeHeaderStruct(unbind_batch())
            batch.mode = UNBIND_BATCH_ASYNC
            let sync = [unbind_sync(fence: gate, timeline: nil, point: 0)]
            sync.withUnsafeBufferPointer { sync in
                batch.waits = sync.baseAddress
                batch.wait_count = waits ? 1 : 0
                #expect(unbind_vm_submit(space, operations, UInt32(operations.count), &batch) == 0)
            }
        }

        func end() {
            #expect(unbind_fence_signal(gate, 0) == 0)
            unbind_fence_unref(gate)
            gpu.close()
        }
    }

    @Test(
        "of the unbinds that a batch waits for, those elsewhere are told apart",
        arguments: [UNBIND_POLICY_RANGES, UNBIND_POLICY_TIMELINE])
    func earlierBatch(policy: UInt32) {
        let stage = Stage(policy: policy)
        stage.submit([stage.operation(UNBIND_OP_UNMAP, page: 0, count: 2)], waits: true)
        // One of the two unbinds is in its way.
        stage.submit([stage.operation(UNBIND_OP_MAP, page: 1, count: 1)])
        var stats = spaceStats(stage.space)
        let isTimeline = policy == UNBIND_POLICY_TIMELINE
        #expect(stats.pending == 2 && stats.binds_waited == 1 && stats.awaited == (isTimeline ? 2 : 1))
        #expect(stats.awaited_not_overlapping == (isTimeline ? 1 : 0))
        // None is.
        stage.submit([stage.operation(UNBIND_OP_MAP, page: 5, count: 1)])
        stats = spaceStats(stage.space)
        #expect(stats.awaited == (isTimeline ? 4 : 1))
        #expect(stats.awaited_not_overlapping == (isTimeline ? 3 : 0))
        stage.end()
    }

    @Test(
        "so are those of the batch itself",
        arguments: [UNBIND_POLICY_RANGES, UNBIND_POLICY_TIMELINE])
    func sameBatch(policy: UInt32) {
        let stage = Stage(policy: policy)
        // Two mappings go; one of them, and nothing, is where the new ones come.
        stage.submit(
            [
                stage.operation(UNBIND_OP_UNMAP, page: 0, count: 1), stage.operation(UNBIND_OP_MAP, page: 1, count: 1),
                stage.operation(UNBIND_OP_MAP, page: 5, count: 1),
            ], waits: true)
        let stats = spaceStats(stage.space)
        let isTimeline = policy == UNBIND_POLICY_TIMELINE
        #expect(stats.awaited == (isTimeline ? 4 : 1))
        #expect(stats.awaited_not_overlapping == (isTimeline ? 3 : 0))
        stage.end()
    }
}
