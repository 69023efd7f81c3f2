// Locks of buffers from real threads: for ThreadSanitizer, and to see that everybody gets what they want, soon.

import CUnbind
import Glibc
import Testing

@testable import UnbindCore

/// What four threads share.
private final class Crowd: @unchecked Sendable {
    static let buffers = 16
    let gpu: DirectedGPU
    let handles: [OpaquePointer]
    /// Guarded by the buffers' locks alone.
    let visits: UnsafeMutablePointer<Int>

    init(executor: Int) {
        gpu = DirectedGPU(executor: UInt32(executor))
        let gpu = gpu
        handles = (0..<Crowd.buffers).map { _ in gpu.makeBuffer() }
        visits = .allocate(capacity: Crowd.buffers)
        visits.initialize(repeating: 0, count: Crowd.buffers)
    }

    deinit { visits.deallocate() }
}

/// One of the threads.
private final class Visitor: @unchecked Sendable {
    let crowd: Crowd
    var random: RandomSource
    var mostRounds = 0
    var visits = Array(repeating: 0, count: Crowd.buffers)

    init(_ crowd: Crowd, seed: Int) {
        self.crowd = crowd
        random = RandomSource(seed: UInt64(seed))
    }

    func run(times: Int) {
        for turn in 0..<times {
            // Every buffer at most once, in a random order.
            var chosen = Array(0..<Crowd.buffers)
            for index in 0..<Crowd.buffers {
                chosen.swapAt(index, index + random.next(below: Crowd.buffers - index))
            }
            chosen = Array(chosen.prefix(1 + random.next(below: 6)))
            switch turn % 4 {
            case 0: visitAsList(chosen)
            case 1: visitPlain(chosen[0])
            default: visitOneByOne(chosen)
            }
        }
    }

    private func visit(_ chosen: [Int]) {
        for index in chosen {
            crowd.visits[index] += 1
            visits[index] += 1
        }
    }

    private func visitPlain(_ index: Int) {
        #expect(unbind_bo_lock(crowd.handles[index], nil, 0) == 0)
        visit([index])
        #expect(unbind_bo_unlock(crowd.handles[index], nil) == 0)
    }

    private func visitAsList(_ chosen: [Int]) {
        var context = unbind_lock_context()
        withUnsafeMutablePointer(to: &context) { context in
            #expect(unbind_lock_context_init(context, crowd.gpu.device) == 0)
            let list: [OpaquePointer?] = chosen.map { crowd.handles[$0] }
            #expect(unbind_bo_lock_array(list, UInt32(list.count), 1, context, 0) == 0)
            visit(chosen)
            var fence: OpaquePointer?
            #expect(unbind_fence_get_stub(crowd.gpu.device, &fence) == 0)
            for bo in list { #expect(unbind_bo_add_fence(bo, context, fence, UInt32(UNBIND_USAGE_READ)) == 0) }
            unbind_fence_unref(fence)
            unbind_lock_context_fini(context)
        }
    }

    private func visitOneByOne(_ chosen: [Int]) {
        var context = unbind_lock_context()
        withUnsafeMutablePointer(to: &context) { context in
            #expect(unbind_lock_context_init(context, crowd.gpu.device) == 0)
            var (rounds, again): (Int, Int32) = (0, 1)
            while again > 0 {
                rounds += 1
                for index in chosen {
                    let status = unbind_bo_lock(crowd.handles[index], context, 0)
                    if status == -EDEADLK { break }
                    #expect(status == 0)
                }
                again = unbind_lock_context_retry(context, 0)
            }
            #expect(again == 0)
            visit(chosen)
            mostRounds = max(mostRounds, rounds)
            unbind_lock_context_fini(context)
        }
    }
}

@Suite(.serialized) struct LockStressTests {
    @Test(
        "four threads lock random buffers in random orders: no deadlock, nobody is there with another, nobody starves",
        arguments: [Int(UNBIND_EXECUTOR_POOL), Int(UNBIND_EXECUTOR_MANUAL)])
    func crowd(executor: Int) {
        let crowd = Crowd(executor: executor)
        let visitors = (0..<4).map { Visitor(crowd, seed: $0 + 1) }
        let threads = visitors.map { visitor in TestThread { visitor.run(times: 1500) } }
        for thread in threads { thread.join() }
        for index in 0..<Crowd.buffers {
            #expect(crowd.visits[index] == visitors.reduce(0) { $0 + $1.visits[index] })
        }
        // Whoever is told to give way is told so by an older one that then has the buffer. The oldest of four, which
        // never gives way, does that at most once for each of its 6 buffers; the second at most 6 times in each of the
        // 1 + 6 rounds it needs itself; and so on.
        let second = 1 + 6
        let third = second + 6 * second
        let fourth = third + 6 * third
        for visitor in visitors { #expect(visitor.mostRounds <= fourth) }
        crowd.gpu.close()
    }
}
