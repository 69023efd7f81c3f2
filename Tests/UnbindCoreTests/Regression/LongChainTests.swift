// Chains of thousands of things that wait for each other: each link is work of its own, so that neither the stack nor
// the time of a step grows with them.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct LongChainTests {
    private let executors = [UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED].map { UInt32($0) }

    @Test("binds over unbinds over binds, 10,000 deep, all behind one fence", arguments: [false, true])
    func bindsOverUnbinds(isLeftToClose: Bool) {
        for executor in executors {
            let gpu = DirectedGPU(executor: executor)
            let space = gpu.makeSpace()
            let buffer = gpu.makeBuffer(0x2000)
            let first = gpu.makeVMA(space, at: 0, buffer: buffer)
            gpu.bind(first)
            let user = gpu.makeUser(of: first)
            var last = gpu.unbindAsync(first)
            for index in 1..<10_000 {
                // Over the upper half of the one before.
                let vma = gpu.makeVMA(space, at: UInt64(index) * 0x1000, buffer: buffer, isKept: false)
                #expect(unbind_vma_bind_async(vma, 0, nil) == 0)
                last = gpu.unbindAsync(vma)
                unbind_vma_unref(vma)
            }
            #expect(!gpu.isSignalled(last) && spaceStats(space).awaited == 9_999)
            if isLeftToClose {
                var report = makeHeaderStruct(unbind_leak_report())
                #expect(unbind_device_close(gpu.device, &report) == 0 && report.unbinds_completed == 10_000)
            } else {
                gpu.signal(user)
                #expect(unbind_fence_wait(last, UInt64.max, 0) == 0)
            }
            #expect(gpu.isSignalled(last))
            gpu.dropObjects()
            gpu.dropFences()
            if isLeftToClose { unbind_device_unref(gpu.device) } else { gpu.closeDevice() }
            #expect(gpu.memory.complaint == nil)
        }
    }

    @Test("jobs that wait for each other's fences, 10,000 deep, on two queues")
    func jobsInAChain() {
        for executor in executors {
            let gpu = DirectedGPU(executor: executor)
            let space = gpu.makeSpace()
            let queues = [gpu.makeQueue(space), gpu.makeQueue(space)]
            let gate = gpu.makeFence()
            var last = gate
            for index in 0..<10_000 { last = gpu.store(queues[index % 2], 0, at: [], using: [], after: [last]) }
            gpu.signal(gate, error: -EIO)
            #expect(unbind_fence_wait(last, UInt64.max, 0) == 0)
            var error: Int32 = 0
            #expect(unbind_fence_get_error(last, &error) == 0 && error == -EIO, "the error goes all the way (P30)")
            gpu.close()
        }
    }

    @Test("unbinds on one timeline, 10,000 of them, whose users end in the opposite order")
    func timelineInReverse() {
        for executor in executors {
            let gpu = DirectedGPU(executor: executor)
            let space = gpu.makeSpace(policy: Int(UNBIND_POLICY_TIMELINE))
            let buffer = gpu.makeBuffer()
            let vmas = (0..<10_000).map { gpu.makeVMA(space, at: UInt64($0) * 0x1000, buffer: buffer) }
            for vma in vmas { gpu.bind(vma) }
            let users = vmas.map(gpu.makeUser)
            let last = vmas.map(gpu.unbindAsync).last
            for user in users.reversed() { gpu.signal(user) }
            #expect(unbind_fence_wait(last, UInt64.max, 0) == 0)
            #expect(unbind_device_wait_idle(gpu.device, UInt64.max, 0) == 0)
            #expect(spaceStats(space).unbinds_completed == 10_000)
            gpu.close()
        }
    }
}
