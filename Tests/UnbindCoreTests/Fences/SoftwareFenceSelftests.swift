// The selftests of i915_sw_fence (kernel semantics, section 3, items 1 to 10) for gates, edges and the executor.
//
// The check for cycles of item 2 (dag) has no counterpart: an edge goes from a fence that exists to a gate that is not
// committed, whose own fence nobody else knows yet. No call can make a circle of them.

import CSystem
import Synchronization
import Testing

@testable import UnbindCore

@Suite struct SoftwareFenceSelftests {
    @Test("selftest 1 self: a gate that awaits nothing opens with its commit")
    func selfOnly() {
        let node = GateNode()
        #expect(!node.isDone)
        node.commit()
        #expect(node.isDone)
    }

    @Test("selftest 2 dag: edges without a circle, committed in every order, all end")
    func dag() {
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3)]
        for order in permutations(of: [0, 1, 2, 3]) {
            let nodes = (0..<4).map { _ in GateNode() }
            for (from, to) in edges { nodes[from].await(nodes[to]) }
            for index in order { nodes[index].commit() }
            #expect(nodes.allSatisfy { $0.isDone })
        }
    }

    @Test("selftest 3 AB: A awaits B and ends with it")
    func ab() {
        let (a, b) = (GateNode(), GateNode())
        a.await(b)
        a.commit()
        #expect(!a.isDone)
        b.commit()
        #expect(a.isDone && b.isDone)
    }

    @Test("selftest 4 ABC: of a chain of three only the head ends all")
    func abc() {
        let (a, b, c) = (GateNode(), GateNode(), GateNode())
        a.await(b)
        b.await(c)
        a.commit()
        b.commit()
        #expect(!a.isDone && !b.isDone)
        c.commit()
        #expect(a.isDone && b.isDone && c.isDone)
    }

    @Test("selftest 5 AB_C: A and B await C")
    func abAwaitC() {
        let (a, b, c) = (GateNode(), GateNode(), GateNode())
        a.await(c)
        b.await(c)
        a.commit()
        b.commit()
        #expect(!a.isDone && !b.isDone)
        c.commit()
        #expect(a.isDone && b.isDone)
    }

    @Test("selftest 6 C_AB: C ends after both A and B")
    func cAwaitsAB() {
        let (a, b, c) = (GateNode(), GateNode(), GateNode())
        c.await(a)
        c.await(b)
        c.commit()
        a.commit()
        #expect(!c.isDone)
        b.commit()
        #expect(c.isDone)
    }

    @Test("selftest 7 chain: 4096 arrays, each of the one before, all end with the head and need no stack")
    func chain() {
        let device = TestDevice(.manual)
        let head = device.makeFence()
        var arrays: [FencePointer] = []
        for _ in 0..<4096 { arrays.append(device.array([arrays.last ?? head])) }
        #expect(arrays.allSatisfy { !$0.isSignalled })
        head.signal(error: -5, at: 1)
        #expect(arrays.allSatisfy { $0.isSignalled && $0.error == -5 })
        for fence in arrays + [head] { fence.drop() }
        device.close()
    }

    @Test("selftest 8 ipc: a work item behind a fence writes after it and before the fence of its own")
    func ipc() {
        let executor = TestExecutor(.pool, workers: 2)
        let (input, output) = (makeTestFence(), makeTestFence())
        let value = Shared(UnsafeMutablePointer<Int>.allocate(capacity: 1))
        value.value.initialize(to: 0)
        let work = executor.work { _ in
            value.value.pointee = 1
            output.signal(at: 1)
        }
        let context = StartContext(executor: executor.pointer, item: work.item)
        let callback = UnsafeMutablePointer<FenceCallback>.allocate(capacity: 1)
        callback.initialize(
            to: FenceCallback(
                function: { callback, _ in
                    let callback = callback.assumingMemoryBound(to: FenceCallback.self)
                    let start = Unmanaged<StartContext>.fromOpaque(callback.pointee.context!).takeUnretainedValue()
                    start.executor.submit(start.item)
                }, context: Unmanaged.passUnretained(context).toOpaque()))
        #expect(input.add(callback))
        #expect(value.value.pointee == 0 && !output.isSignalled)
        input.signal(at: 1)
        #expect(status { () throws(Status) in try output.sleep(until: .max, interruptible: false) } == nil)
        #expect(value.value.pointee == 1)
        withExtendedLifetime(context) {}
        try? executor.pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        callback.deallocate()
        value.value.deallocate()
        input.drop()
        output.drop()
        executor.finish()
    }

    @Test(
        "selftest 9 timer: work for a past time is done at once, work for a later one never early",
        arguments: [2, 3, 5, 7, 11, 13])
    func timer(delay: UInt64) {
        let executor = TestExecutor(.simulated)
        let fence = makeTestFence()
        var ran = false
        let past = executor.work { _ in ran = true }
        let later = executor.work { time in fence.signal(at: time) }
        try? executor.pointer.runUntil(100)
        executor.pointer.submit(past.item, at: 50)
        executor.pointer.submit(later.item, at: 100 + delay)
        try? executor.pointer.runUntil(100)
        #expect(ran && !fence.isSignalled)
        try? executor.pointer.runUntil(99 + delay)
        #expect(!fence.isSignalled)
        try? executor.pointer.runUntil(100 + delay)
        #expect(fence.isSignalled && fence.pointee.timestamp == 100 + delay)
        fence.drop()
        executor.finish()
    }

    @Test("selftest 10 dma_fence: of two gates on one fence, the one that a timer may also open does so first")
    func fenceAndTimer() {
        let executor = TestExecutor(.simulated)
        let fence = makeTestFence()
        let (plain, timed) = (GateNode(), GateNode())
        plain.await(fence)
        plain.commit()
        let expiry = executor.work { _ in timed.finish(error: -ETIMEDOUT) }
        timed.await(nothing: ())
        timed.commit()
        executor.pointer.submit(expiry.item, at: 10)
        try? executor.pointer.runUntil(9)
        #expect(!plain.isDone && !timed.isDone)
        try? executor.pointer.runUntil(10)
        #expect(!plain.isDone && timed.isDone && timed.error == -ETIMEDOUT)
        fence.signal(at: 11)
        #expect(plain.isDone && plain.error == 0)
        fence.drop()
        executor.finish()
    }
}

private final class StartContext {
    let executor: ExecutorPointer
    let item: WorkItemPointer
    init(executor: ExecutorPointer, item: WorkItemPointer) {
        self.executor = executor
        self.item = item
    }
}

/// A gate with a fence that signals when it opens, so that another gate can await it.
private final class GateNode {
    private let gate = UnsafeMutablePointer<SoftwareFence>.allocate(capacity: 1)
    private let fence = makeTestFence()
    private var callbacks: [UnsafeMutablePointer<FenceCallback>] = []

    init() { gate.initialize(to: SoftwareFence()) }

    deinit {
        for callback in callbacks { callback.deallocate() }
        fence.drop()
        gate.deinitialize(count: 1)
        gate.deallocate()
    }

    var isDone: Bool { fence.isSignalled }
    var error: Int32 { fence.error }

    func await(_ other: GateNode) { self.await(other.fence) }

    func await(_ fence: FencePointer) {
        gate.pointee.await()
        let callback = UnsafeMutablePointer<FenceCallback>.allocate(capacity: 1)
        callback.initialize(
            to: FenceCallback(
                function: { callback, fence in
                    let context = callback.assumingMemoryBound(to: FenceCallback.self).pointee.context!
                    let error = fence.assumingMemoryBound(to: Fence.self).error
                    Unmanaged<GateNode>.fromOpaque(context).takeUnretainedValue().finish(error: error)
                }, context: Unmanaged.passUnretained(self).toOpaque()))
        callbacks.append(callback)
        if !fence.add(callback) { finish(error: fence.error) }
    }

    func await(nothing: Void) { gate.pointee.await() }
    func commit() { finish(error: 0) }

    func finish(error: Int32) {
        if gate.pointee.complete(error: error) { fence.signal(error: gate.pointee.error, at: 1) }
    }
}

private func permutations(of values: [Int]) -> [[Int]] {
    if values.count < 2 { return [values] }
    return values.flatMap { first in permutations(of: values.filter { $0 != first }).map { [first] + $0 } }
}
