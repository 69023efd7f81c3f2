// The selftests of dma_fence, dma_fence_chain and dma_fence_unwrap (kernel semantics, section 3, items 37 to 39).

import CSystem
import Glibc
import Synchronization
import Testing

@testable import UnbindCore

@Suite struct FenceSelftests {
    // MARK: 37 dma_fence

    @Test("selftest 37 signal: the second one fails, and the status and the error are there with the first")
    func signalTwice() {
        let fence = makeTestFence()
        #expect(!fence.isSignalled && fence.error == 0)
        #expect(fence.signal(error: -5, at: 1))
        #expect(!fence.signal(at: 2))
        #expect(fence.isSignalled && fence.error == -5)
        fence.drop()
    }

    @Test("selftest 37 callbacks: added before the signal called, added after it or removed in time not")
    func callbacks() {
        let fence = makeTestFence()
        let (before, removed, late) = (CountedCallback(), CountedCallback(), CountedCallback())
        #expect(fence.add(before.pointer) && fence.add(removed.pointer))
        #expect(fence.remove(removed.pointer) && !fence.remove(removed.pointer))
        fence.signal(at: 1)
        #expect(!fence.add(late.pointer))
        #expect(before.count == 1 && removed.count == 0 && late.count == 0)
        #expect(!fence.remove(before.pointer))
        fence.drop()
    }

    @Test("selftest 37 wait: with no time left, with some, and for a signal from another thread")
    func waits() {
        let fence = makeTestFence()
        #expect(status { () throws(Status) in try fence.sleep(until: 0, interruptible: false) } == .timedOut)
        let soon = csys_monotonic_ns() + millisecond
        #expect(status { () throws(Status) in try fence.sleep(until: soon, interruptible: false) } == .timedOut)
        let thread = TestThread {
            usleep(5_000)
            fence.signal(at: 1)
        }
        #expect(status { () throws(Status) in try fence.sleep(until: .max, interruptible: false) } == nil)
        #expect(status { () throws(Status) in try fence.sleep(until: 0, interruptible: false) } == nil)
        thread.join()
        fence.drop()
    }

    @Test("selftest 37 stub: 64 of them have signalled from birth")
    func stubs() {
        let device = TestDevice(.manual)
        let stubs = (0..<64).map { _ in device.pointer.signalledFence }
        #expect(stubs.allSatisfy { $0.isSignalled && $0.error == 0 })
        for stub in stubs { stub.drop() }
        device.close()
    }

    @Test(
        "selftest 37 race: two threads signal each other's fences and add callbacks to them", arguments: [false, true])
    func race(waits: Bool) {
        let rounds = 400
        let fences = (0..<2).map { _ in (0..<rounds).map { _ in makeTestFence() } }
        let threads = (0..<2).map { mine in
            TestThread {
                for round in 0..<rounds {
                    let (own, other) = (fences[mine][round], fences[1 - mine][round])
                    let callback = CountedCallback()
                    let isAdded = other.add(callback.pointer)
                    own.signal(at: 1)
                    if waits {
                        let result = status { () throws(Status) in try other.sleep(until: .max, interruptible: false) }
                        #expect(result == nil)
                    }
                    if isAdded, !other.remove(callback.pointer) {
                        while callback.count == 0 { sched_yield() }
                    }
                    #expect(callback.count <= (isAdded ? 1 : 0))
                }
            }
        }
        for thread in threads { thread.join() }
        for fence in fences.joined() { fence.drop() }
    }

    // MARK: 38 chain

    @Test("selftest 38 find_seqno: each of 64 points, what has been reached, and beyond the end")
    func findSeqno() {
        let chain = Chain(64, step: 1)
        #expect(point(chain.timeline, 65) == nil && point(chain.timeline, .max) == nil)
        chain.expect(0, isPointOf: nil)
        for seqno in 1...64 { chain.expect(UInt64(seqno), isPointOf: seqno) }
        chain.end()
    }

    @Test("selftest 38 find_signaled: a point that has been reached is a fence that has signalled")
    func findSignalled() {
        let chain = Chain(2, step: 1)
        chain.fences[0].signal(at: 1)
        chain.expect(1, isPointOf: nil)
        chain.expect(2, isPointOf: 2)
        chain.end()
    }

    @Test("selftest 38 find_out_of_order: a point that waits for one before it has not been reached")
    func findOutOfOrder() {
        let chain = Chain(3, step: 1)
        chain.fences[1].signal(at: 1)
        chain.expect(2, isPointOf: 2)
        #expect(chain.timeline.value == 0)
        chain.fences[0].signal(at: 1)
        chain.expect(2, isPointOf: nil)
        chain.expect(3, isPointOf: 3)
        #expect(chain.timeline.value == 2)
        chain.end()
    }

    @Test("selftest 38 find_gap: with even seqnos an odd one is the next point's")
    func findGap() {
        let chain = Chain(64, step: 2)
        for index in 1...64 {
            chain.expect(UInt64(2 * index - 1), isPointOf: index)
            chain.expect(UInt64(2 * index), isPointOf: index)
        }
        #expect(point(chain.timeline, 129) == nil)
        chain.end()
    }

    @Test("selftest 38 find_race: one thread looks points up while two others signal them")
    func findRace() {
        let chain = Shared(Chain(1_000, step: 1))
        let signallers = (0..<2).map { half in
            TestThread {
                for index in stride(from: half, to: 1_000, by: 2) { chain.value.fences[index].signal(at: 1) }
            }
        }
        var random = RandomSource(seed: 5)
        while chain.value.timeline.value < 1_000 {
            let seqno = UInt64(random.next(below: 1_000)) + 1
            let before = chain.value.timeline.value
            guard let fence = point(chain.value.timeline, seqno) else {
                Issue.record("a point is missing")
                break
            }
            #expect(fence.context == 0 || fence.seqno == seqno)
            #expect(seqno > before || fence.isSignalled)
            fence.drop()
        }
        for thread in signallers { thread.join() }
        chain.value.end()
    }

    @Test("selftest 38 signal and wait: forward, backward and in a random order, the value follows", arguments: 0..<3)
    func signalOrders(kind: Int) {
        let chain = Chain(100, step: 1)
        var order = Array(0..<100)
        if kind == 1 { order.reverse() }
        var random = RandomSource(seed: 9)
        if kind == 2 { order.sort { _, _ in random.next() & 1 == 0 } }
        let last = Shared(point(chain.timeline, 100)!)
        let waiter = TestThread {
            #expect(status { () throws(Status) in try last.value.sleep(until: .max, interruptible: false) } == nil)
        }
        var done = Set<Int>()
        for index in order {
            chain.fences[index].signal(at: 1)
            done.insert(index)
            #expect(chain.timeline.value == UInt64((0..<100).first { !done.contains($0) } ?? 100))
            chain.timeline.checkInvariants()
        }
        waiter.join()
        last.value.drop()
        chain.end()
    }

    // MARK: 39 unwrap

    @Test("selftest 39 unwrap_array and unwrap_chain: each yields every leaf once")
    func unwrapOne() {
        let device = TestDevice(.manual)
        let fences = (0..<5).map { _ in device.makeFence() }
        let array = device.array(fences)
        #expect(Set(device.unwrap(array)) == Set(fences) && device.unwrap(array).count == 5)
        let timeline = device.makeTimeline()
        for (index, fence) in fences.enumerated() {
            mustHave { () throws(Status) in try timeline.add(UInt64(index) + 1, awaiting: fence) }
        }
        let third = point(timeline, 3)!
        #expect(Set(device.unwrap(third)) == Set(fences[0..<3]) && device.unwrap(third).count == 3)
        fences[1].signal(at: 1)
        #expect(Set(device.unwrap(third)) == [fences[0], fences[2]])
        let any = device.array(fences.suffix(2), any: true)
        #expect(device.unwrap(any) == [any])
        for fence in fences { fence.signal(at: 1) }
        #expect(device.unwrap(array).isEmpty && device.unwrap(third).isEmpty)
        for fence in fences + [array, any, third] { fence.drop() }
        timeline.dropHandle()
        device.close()
    }

    @Test("selftest 39 unwrap_chain_array: points of arrays, and arrays of points, yield the leaves")
    func unwrapNested() {
        let device = TestDevice(.manual)
        let fences = (0..<6).map { _ in device.makeFence() }
        let timeline = device.makeTimeline()
        for index in 0..<3 {
            let array = device.array([fences[2 * index], fences[2 * index + 1]])
            mustHave { () throws(Status) in try timeline.add(UInt64(index) + 1, awaiting: array) }
            array.drop()
        }
        let last = point(timeline, 3)!
        #expect(Set(device.unwrap(last)) == Set(fences) && device.unwrap(last).count == 6)
        let outer = device.array([last])
        #expect(Set(device.unwrap(outer)) == Set(fences))
        for fence in fences { fence.signal(at: 1) }
        #expect(outer.isSignalled)
        for fence in fences + [last, outer] { fence.drop() }
        timeline.dropHandle()
        device.close()
    }

    @Test("selftest 39 unwrap_merge: two become an array of both; duplicates, signalled and superseded ones go")
    func merge() {
        let device = TestDevice(.manual)
        let (first, second) = (device.makeFence(), device.makeFence())
        let both = device.merge([first, second])
        #expect(both.pointee.kind == .array && Set(device.unwrap(both)) == [first, second])
        let again = device.merge([both, first, second, both])
        #expect(device.unwrap(again).count == 2)
        let context = device.pointer.nextContext()
        let ordered = (1...3).map { makeTestFence(context: context, seqno: UInt64($0)) }
        let latest = device.merge([ordered[1], ordered[2], ordered[0]])
        #expect(latest == ordered[2])
        second.signal(at: 1)
        let mixed = device.merge([again, ordered[0], second])
        #expect(Set(device.unwrap(mixed)) == [first, ordered[0]])
        for fence in ordered + [first] { fence.signal(at: 1) }
        #expect(mixed.isSignalled && both.isSignalled && again.isSignalled)
        for fence in ordered + [first, second, both, again, latest, mixed] { fence.drop() }
        device.close()
    }
}

/// A timeline of `count` points of `step`, each with a fence.
private final class Chain {
    let device = TestDevice(.manual)
    let timeline: TimelinePointer
    let fences: [FencePointer]
    private let step: Int

    init(_ count: Int, step: Int) {
        self.step = step
        let device = device
        timeline = device.makeTimeline()
        fences = (0..<count).map { _ in device.makeFence() }
        for (index, fence) in fences.enumerated() {
            let timeline = timeline
            mustHave { () throws(Status) in try timeline.add(UInt64((index + 1) * step), awaiting: fence) }
        }
    }

    /// `number` is the point's, from 1; nil: it has been reached.
    func expect(_ seqno: UInt64, isPointOf number: Int?) {
        guard let fence = point(timeline, seqno) else {
            Issue.record("no fence for \(seqno)")
            return
        }
        if let number {
            #expect(!fence.isSignalled && fence.seqno == UInt64(number * step))
        } else {
            #expect(fence.isSignalled)
        }
        fence.drop()
    }

    func end() {
        for fence in fences {
            fence.signal(at: 1)
            fence.drop()
        }
        #expect(timeline.value == UInt64(fences.count * step) && timeline.pendingCount == 0)
        timeline.dropHandle()
        device.close()
    }
}

/// A callback that counts its calls. Keep it until it was called or removed.
private final class CountedCallback: @unchecked Sendable {
    let pointer = UnsafeMutablePointer<FenceCallback>.allocate(capacity: 1)
    private let calls = Atomic<Int>(0)

    init() {
        pointer.initialize(
            to: FenceCallback(
                function: { callback, _ in
                    let context = callback.assumingMemoryBound(to: FenceCallback.self).pointee.context!
                    let counted = Unmanaged<CountedCallback>.fromOpaque(context).takeUnretainedValue()
                    _ = counted.calls.wrappingAdd(1, ordering: .releasing)
                }, context: Unmanaged.passUnretained(self).toOpaque()))
    }

    deinit { pointer.deallocate() }

    var count: Int { calls.load(ordering: .acquiring) }
}
