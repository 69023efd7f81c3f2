import CSystem
import Synchronization
import Testing

@testable import UnbindCore

@Suite struct FenceTests {
    @Test("a fence signals exactly once and keeps its first error and time")
    func signalsOnce() {
        let fence = makeTestFence()
        #expect(!fence.isSignalled)
        #expect(fence.signal(error: -5, at: 7))
        #expect(!fence.signal(error: -6, at: 8))
        #expect(fence.isSignalled && fence.error == -5 && fence.pointee.timestamp == 7)
        fence.drop()
    }
}

func makeTestFence(context: UInt64 = 0, seqno: UInt64 = 0) -> FencePointer {
    let fence = FencePointer.allocate(capacity: 1)
    fence.initialize(
        to: Fence(owner: UnsafeMutableRawPointer(fence), context: context, seqno: seqno) { memory in
            let fence = memory.assumingMemoryBound(to: Fence.self)
            fence.deinitialize(count: 1)
            fence.deallocate()
        })
    return fence
}
