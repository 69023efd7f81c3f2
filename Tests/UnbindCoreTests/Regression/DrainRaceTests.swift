// The list of ready unbinds under threads that are held up at any instruction: a signal handler that sleeps stops them
// where the scheduler rarely would.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct DrainRaceTests {
    @Test("an unbind that is taken by the drain before its thread has finished handing it over is counted once")
    func handOverIsOneStep() {
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL), workers: 2)
        let space = gpu.makeSpace()
        let buffer = gpu.makeBuffer()
        let vmas = (0..<256).map { gpu.makeVMA(space, at: UInt64($0) * 0x1000, buffer: buffer) }
        for _ in 0..<60 {
            var users: [OpaquePointer] = []
            for vma in vmas {
                gpu.bind(vma)
                users.append(gpu.makeUser(of: vma))
                #expect(unbind_vma_unbind_async(vma, 0, nil) == 0)
            }
            let signallers = (0..<3).map { part in
                let share = users.enumerated().filter { $0.offset % 3 == part }.map(\.element)
                return HeldUpThread { for user in share { _ = unbind_fence_signal(user, 0) } }
            }
            for _ in 0..<12 {
                for signaller in signallers { signaller.holdUp() }
                usleep(150)
            }
            for signaller in signallers { signaller.join() }
            #expect(unbind_device_wait_idle(gpu.device, 10_000_000_000, 0) == 0)
        }
        let stats = spaceStats(space)
        #expect(stats.unbinds == 60 * 256 && stats.pending == 0)
        gpu.close()
    }
}
