import CSystem
import Glibc
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

    @Test("a signal wakes every thread that sleeps on the fence")
    func wakesAll() {
        let fence = makeTestFence()
        let start = csys_monotonic_ns()
        let hour = 3_600_000 * millisecond
        let threads = (0..<3).map { _ in
            TestThread {
                do throws(Status) {
                    try fence.sleep(until: start + hour, interruptible: false)
                } catch {
                    Issue.record("slept on after the signal")
                }
            }
        }
        usleep(20_000)
        fence.signal(at: 1)
        for thread in threads { thread.join() }
        #expect(csys_monotonic_ns() - start < hour)
        fence.drop()
    }

    @Test("a signal handler ends an interruptible sleep without a deadline, also with SA_RESTART")
    func interrupted() {
        ignoreSignalsLoudly()
        let fence = makeTestFence()
        let result = Atomic<Int32>(1)
        let waiter = TestThread {
            let outcome = status { () throws(Status) in try fence.sleep(until: .max, interruptible: true) }
            result.store(outcome?.raw ?? 0, ordering: .releasing)
        }
        // The first ones may come before it sleeps. The signal of the fence ends a sleep that they do not.
        var interrupts = 0
        while result.load(ordering: .acquiring) == 1 {
            waiter.interrupt()
            usleep(1_000)
            interrupts += 1
            if interrupts == 60_000 { fence.signal(at: 1) }
        }
        waiter.join()
        #expect(result.load(ordering: .acquiring) == -EINTR)
        fence.signal(at: 1)
        fence.drop()
    }
}

func makeTestFence(context: UInt64 = 0, seqno: UInt64 = 0) -> FencePointer {
    let fence = UnsafeMutablePointer<OrderedFence>.allocate(capacity: 1)
    fence.initialize(to: OrderedFence(home: testFenceHome, context: context, seqno: seqno))
    return UnsafeMutableRawPointer(fence).assumingMemoryBound(to: Fence.self)
}

/// Of no device.
nonisolated(unsafe) private let testFenceHome: FenceHomePointer = {
    let home = FenceHomePointer.allocate(capacity: 1)
    home.initialize(
        to: FenceHome(owner: UnsafeMutableRawPointer(home), isOrdered: true) { memory in
            let fence = memory.assumingMemoryBound(to: OrderedFence.self)
            fence.deinitialize(count: 1)
            fence.deallocate()
        })
    return home
}()
