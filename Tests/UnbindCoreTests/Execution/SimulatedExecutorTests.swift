import CSystem
import Testing

@testable import UnbindCore

@Suite struct SimulatedExecutorTests {
    @Test("time begins at 0, stands still while work runs and moves to each item's time")
    func virtualTime() throws {
        let executor = TestExecutor(.simulated)
        let pointer = executor.pointer
        var seen: [[UInt64]] = []
        let works = (0..<3).map { _ in executor.work { time in seen.append([time, pointer.now]) } }
        pointer.submit(works[0].item, at: 500)
        pointer.submit(works[1].item, at: 20)
        pointer.submit(works[2].item)
        #expect(pointer.now == 0 && pointer.nextEvent == 0 && pointer.eventfd == -1)
        #expect(try pointer.run(maxItems: 0) == 3)
        #expect(seen == [[0, 0], [20, 20], [500, 500]])
        #expect(pointer.now == 500 && pointer.nextEvent == .max && pointer.itemsRun == 3)
        // Time that has passed is now, and the item is told what it asked for.
        pointer.submit(works[0].item, at: 7)
        #expect(pointer.nextEvent == 7)
        #expect(try pointer.run(maxItems: 0) == 1)
        #expect(seen.last == [7, 500])
        executor.finish()
    }

    @Test("run stops after so many items")
    func runLimit() throws {
        let executor = TestExecutor(.simulated)
        let works = (0..<5).map { _ in executor.work { _ in } }
        for (index, work) in works.enumerated() { executor.pointer.submit(work.item, at: UInt64(index) * 10) }
        #expect(try executor.pointer.run(maxItems: 2) == 2)
        #expect(executor.pointer.now == 10 && executor.pointer.nextEvent == 20)
        #expect(try executor.pointer.run(maxItems: 0) == 3)
        #expect(try executor.pointer.run(maxItems: 0) == 0)
        executor.finish()
    }

    @Test("runUntil runs what is due by then, and moves the clock there but never back")
    func runUntil() throws {
        let executor = TestExecutor(.simulated)
        let pointer = executor.pointer
        var ran: [UInt64] = []
        let works = (0..<3).map { _ in executor.work { ran.append($0) } }
        for (index, time) in [UInt64(10), 20, 21].enumerated() { pointer.submit(works[index].item, at: time) }
        try pointer.runUntil(20)
        #expect(ran == [10, 20] && pointer.now == 20)
        try pointer.runUntil(5)
        #expect(pointer.now == 20)
        try pointer.runUntil(1000)
        #expect(ran == [10, 20, 21] && pointer.now == 1000)
        executor.finish()
    }

    @Test("charging time lets the device work meanwhile, but does nothing inside a work item")
    func charge() throws {
        let executor = TestExecutor(.simulated)
        let pointer = executor.pointer
        var ran: [UInt64] = []
        let work = executor.work { time in
            ran.append(time)
            pointer.charge(1_000_000)
            #expect(pointer.now == time)
        }
        pointer.submit(work.item, at: 40)
        pointer.charge(39)
        #expect(ran.isEmpty && pointer.now == 39)
        pointer.charge(2)
        #expect(ran == [40] && pointer.now == 41)
        pointer.charge(.max)
        #expect(pointer.now == .max)
        executor.finish()
    }

    /// A program of items that submit others at random times, all from one generator.
    static func schedule(seed: UInt64) -> (digest: UInt64, order: [UInt64]) {
        let executor = TestExecutor(.simulated, seed: seed)
        let pointer = executor.pointer
        var order: [UInt64] = []
        var works: [TestWork] = []
        for label in 0..<20 {
            var runs = 0
            works.append(
                executor.work(label: UInt64(label)) { time in
                    order.append(UInt64(label))
                    runs += 1
                    if runs < 10 {
                        pointer.submit(works[label].item, at: time + UInt64((label * runs) % 3) * 10)
                    }
                })
        }
        for work in works { pointer.submit(work.item) }
        _ = try! pointer.run(maxItems: 0)
        let digest = pointer.scheduleDigest
        #expect(pointer.itemsRun == 200)
        executor.finish()
        return (digest, order)
    }

    @Test("the same seed gives the same schedule and digest, other seeds give others")
    func seeds() {
        var digests: Set<UInt64> = []
        var orders: Set<[UInt64]> = []
        for seed in 0..<50 as Range<UInt64> {
            let first = Self.schedule(seed: seed)
            let second = Self.schedule(seed: seed)
            #expect(first.digest == second.digest && first.order == second.order)
            digests.insert(first.digest)
            orders.insert(first.order)
        }
        #expect(digests.count == 50 && orders.count == 50)
    }

    @Test("each of the ready items has the same chance to be next")
    func fairPick() {
        var firsts: [UInt64: Int] = [:]
        for seed in 0..<800 as Range<UInt64> {
            let executor = TestExecutor(.simulated, seed: seed)
            var first: UInt64?
            let works = (0..<4).map { label in executor.work { _ in first = first ?? UInt64(label) } }
            for work in works { executor.pointer.submit(work.item) }
            _ = try! executor.pointer.run(maxItems: 0)
            firsts[first!, default: 0] += 1
            executor.finish()
        }
        #expect(firsts.count == 4 && firsts.values.allSatisfy { $0 > 140 && $0 < 260 })
    }

    @Test("waiting runs the simulation until the fence signals, no further")
    func waitRunsWork() throws {
        let executor = TestExecutor(.simulated)
        let pointer = executor.pointer
        let fence = makeTestFence()
        let signals = executor.work { fence.signal(at: $0) }
        let later = executor.work { _ in }
        pointer.submit(signals.item, at: 100)
        pointer.submit(later.item, at: 200)
        try pointer.wait(for: fence, timeout: .max, absolute: false, interruptible: false)
        #expect(pointer.now == 100 && fence.pointee.timestamp == 100 && pointer.itemsRun == 1)
        // A signalled fence needs nothing.
        try pointer.wait(for: fence, timeout: 0, absolute: false, interruptible: false)
        try pointer.wait(for: fence, timeout: 5, absolute: true, interruptible: false)
        #expect(pointer.nextEvent == 200)
        try pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        #expect(pointer.now == 200)
        fence.drop()
        executor.finish()
    }

    @Test("a wait that nothing can end is a deadlock, one with a timeout passes virtual time")
    func deadlockAndTimeout() {
        let executor = TestExecutor(.simulated)
        let pointer = executor.pointer
        let fence = makeTestFence()
        let work = executor.work { _ in }
        pointer.submit(work.item, at: 1_000)
        func wait(_ timeout: UInt64, absolute: Bool = false) -> Status? {
            status { () throws(Status) in
                try pointer.wait(for: fence, timeout: timeout, absolute: absolute, interruptible: true)
            }
        }
        #expect(wait(0) == .timedOut && pointer.now == 0)
        #expect(wait(30) == .timedOut && pointer.now == 30 && pointer.itemsRun == 0)
        #expect(wait(90, absolute: true) == .timedOut && pointer.now == 90)
        #expect(wait(50, absolute: true) == .timedOut && pointer.now == 90)
        #expect(wait(1_000, absolute: true) == .timedOut && pointer.now == 1_000 && pointer.itemsRun == 1)
        #expect(wait(.max) == .deadlock)
        #expect(wait(.max, absolute: true) == .deadlock)
        // Finite, though its end is beyond the clock.
        #expect(pointer.now == 1_000)
        #expect(wait(.max - 2_000) == .timedOut && pointer.now == .max - 1_000)
        fence.drop()
        executor.finish()
    }

    @Test("waiting for idle ends with the last item, or with its deadline")
    func waitIdle() {
        let executor = TestExecutor(.simulated)
        let pointer = executor.pointer
        func waitIdle(_ timeout: UInt64) -> Status? {
            status { () throws(Status) in
                try pointer.waitIdle(timeout: timeout, absolute: false, interruptible: false)
            }
        }
        #expect(waitIdle(0) == nil && waitIdle(.max) == nil)
        var inside: Status?
        let work = executor.work { _ in inside = waitIdle(.max) }
        pointer.submit(work.item, at: 50)
        #expect(waitIdle(0) == .timedOut && pointer.now == 0)
        #expect(waitIdle(49) == .timedOut && pointer.now == 49)
        #expect(waitIdle(1000) == nil && pointer.now == 50)
        #expect(inside == .deadlock)
        executor.finish()
    }

    @Test("an item may wait inside itself: work nests, and each level knows where it runs")
    func nesting() throws {
        let outerExecutor = TestExecutor(.simulated)
        let innerExecutor = TestExecutor(.manual)
        let outer = outerExecutor.pointer
        let inner = innerExecutor.pointer
        let fence = makeTestFence()
        var seen: [[Bool]] = []
        let signals = outerExecutor.work { fence.signal(at: $0) }
        let innerWork = outerExecutor.work { _ in
            seen.append([outer.isRunningOnThisThread, inner.isRunningOnThisThread])
        }
        let work = outerExecutor.work { _ in
            seen.append([outer.isRunningOnThisThread, inner.isRunningOnThisThread])
            inner.submit(innerWork.item)
            _ = try! inner.run(maxItems: 0)
            seen.append([outer.isRunningOnThisThread, inner.isRunningOnThisThread])
            try! outer.wait(for: fence, timeout: .max, absolute: false, interruptible: false)
        }
        outer.submit(work.item)
        outer.submit(signals.item, at: 10)
        #expect(try outer.run(maxItems: 0) == 1)
        // The outer one's item is not over while the inner one's runs.
        #expect(seen == [[true, false], [true, true], [true, false]])
        #expect(!outer.isRunningOnThisThread && outer.itemsRun == 2 && outer.now == 10)
        fence.drop()
        innerExecutor.finish()
        outerExecutor.finish()
    }

    @Test("a second thread waits for the first to leave its item: simulated work never runs in parallel")
    func oneThreadAtATime() {
        let executor = TestExecutor(.simulated)
        let pointer = executor.pointer
        var inside = 0
        var most = 0
        var works: [TestWork] = []
        for index in 0..<8 {
            var runs = 0
            works.append(
                executor.work { time in
                    inside += 1
                    most = max(most, inside)
                    runs += 1
                    for _ in 0..<50 { sched_yield() }
                    if runs < 100 { pointer.submit(works[index].item, at: time + 3) }
                    inside -= 1
                })
        }
        for work in works { pointer.submit(work.item) }
        let threads = (0..<3).map { _ in
            TestThread { try! pointer.waitIdle(timeout: .max, absolute: false, interruptible: false) }
        }
        for thread in threads { thread.join() }
        #expect(most == 1 && pointer.itemsRun == 800)
        executor.finish()
    }

    @Test("stop runs what is ready at the present time")
    func stopRunsReadyWork() {
        let executor = TestExecutor(.simulated)
        var runs = 0
        var works: [TestWork] = []
        for index in 0..<2 {
            works.append(
                executor.work { _ in
                    runs += 1
                    if runs < 5 { executor.pointer.submit(works[index].item) }
                })
        }
        for work in works { executor.pointer.submit(work.item) }
        executor.finish()
        #expect(runs == 6)
    }
}
