import CSystem
import Glibc
import Synchronization
import Testing

@testable import UnbindCore

@Suite struct ManualExecutorTests {
    @Test("ready work runs first in, first out, and timed work by its time")
    func order() throws {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        var ran: [Int] = []
        let works = (0..<6).map { index in executor.work { _ in ran.append(index) } }
        let now = pointer.now
        pointer.submit(works[0].item)
        pointer.submit(works[1].item, at: now + 4 * millisecond)
        pointer.submit(works[2].item, at: now + 3 * millisecond)
        pointer.submit(works[3].item, at: now + 4 * millisecond)
        pointer.submit(works[4].item)
        pointer.submit(works[5].item, at: 0)
        #expect(pointer.nextEvent <= pointer.now)
        try pointer.runUntil(now + 5 * millisecond)
        #expect(ran == [0, 4, 5, 2, 1, 3])
        #expect(pointer.now >= now + 5 * millisecond && pointer.nextEvent == .max)
        #expect(pointer.scheduleDigest == 0 && pointer.itemsRun == 6)
        executor.finish()
    }

    @Test("immediate work is told when it was submitted, timed work when it was due")
    func times() throws {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        var times: [UInt64] = []
        let works = (0..<2).map { _ in executor.work { times.append($0) } }
        let before = pointer.now
        pointer.submit(works[0].item)
        let after = pointer.now
        pointer.submit(works[1].item, at: before - 1)
        #expect(try pointer.run(maxItems: 0) == 2)
        #expect(times[0] >= before && times[0] <= after && times[1] == before - 1)
        executor.finish()
    }

    @Test("run leaves work that was submitted during the call to the next one")
    func runIsBounded() throws {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        var runs = 0
        var works: [TestWork] = []
        works = [
            executor.work { _ in
                runs += 1
                if runs < 4 { pointer.submit(works[0].item) }
            }
        ]
        pointer.submit(works[0].item)
        for expected in 1...4 {
            #expect(isReadable(pointer.eventfd))
            #expect(try pointer.run(maxItems: 0) == 1)
            #expect(runs == expected)
        }
        #expect(!isReadable(pointer.eventfd))
        #expect(try pointer.run(maxItems: 0) == 0)
        executor.finish()
    }

    @Test("run stops after so many items and never waits for timers")
    func runLimit() throws {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        let works = (0..<5).map { _ in executor.work { _ in } }
        for work in works[..<4] { pointer.submit(work.item) }
        let due = pointer.now + 20 * millisecond
        pointer.submit(works[4].item, at: due)
        #expect(try pointer.run(maxItems: 3) == 3)
        #expect(isReadable(pointer.eventfd))
        #expect(try pointer.run(maxItems: 3) == 1)
        #expect(!isReadable(pointer.eventfd))
        #expect(pointer.nextEvent == due)
        try pointer.runUntil(due)
        #expect(pointer.itemsRun == 5)
        executor.finish()
    }

    @Test("the event descriptor is readable until submitted work was seen")
    func eventDescriptor() throws {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        let works = (0..<3).map { _ in executor.work { _ in } }
        #expect(!isReadable(pointer.eventfd))
        let due = pointer.now + 3_600_000 * millisecond
        pointer.submit(works[0].item, at: due)
        // An earlier timer changes the time until which the event loop may sleep.
        #expect(isReadable(pointer.eventfd))
        #expect(try pointer.run(maxItems: 0) == 0)
        #expect(!isReadable(pointer.eventfd))
        pointer.submit(works[1].item, at: due + 1)
        #expect(!isReadable(pointer.eventfd))
        pointer.submit(works[2].item)
        #expect(isReadable(pointer.eventfd))
        #expect(try pointer.run(maxItems: 0) == 1)
        #expect(!isReadable(pointer.eventfd))
        // The clock cannot be moved on: take the timers away by hand.
        pointer.pointee.timers = nil
        executor.finish()
    }

    @Test("runUntil a time in the past runs only what was due by then")
    func runUntilPast() throws {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        var ran: [Int] = []
        let works = (0..<3).map { index in executor.work { _ in ran.append(index) } }
        let now = pointer.now
        pointer.submit(works[0].item)
        pointer.submit(works[1].item, at: now - 5)
        pointer.submit(works[2].item, at: now - 10)
        try pointer.runUntil(now - 5)
        #expect(ran == [1, 2] && isReadable(pointer.eventfd))
        executor.finish()
        #expect(ran == [1, 2, 0])
    }

    @Test("a waiting thread runs work until its fence signals")
    func waitRunsWork() throws {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        let fence = makeTestFence()
        let signals = executor.work { fence.signal(at: $0) }
        var others = 0
        let other = executor.work { _ in others += 1 }
        let due = pointer.now + 5 * millisecond
        pointer.submit(signals.item, at: due)
        pointer.submit(other.item)
        try pointer.wait(for: fence, timeout: .max, absolute: false, interruptible: false)
        #expect(pointer.now >= due && others == 1)
        fence.drop()
        executor.finish()
    }

    @Test("a waiting thread sleeps until another thread signals the fence or submits work")
    func waitForOtherThread() throws {
        for submits in [false, true] {
            let executor = TestExecutor(.manual)
            let pointer = executor.pointer
            let fence = makeTestFence()
            let signals = executor.work { fence.signal(at: $0) }
            let thread = TestThread {
                usleep(3000)
                if submits { pointer.submit(signals.item) } else { fence.signal(at: pointer.now) }
            }
            try pointer.wait(for: fence, timeout: .max, absolute: false, interruptible: true)
            #expect(fence.isSignalled)
            thread.join()
            fence.drop()
            executor.finish()
        }
    }

    @Test("a wait ends at its deadline, relative or absolute, and leaves the fence alone")
    func timeout() {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        let fence = makeTestFence()
        var runs = 0
        var works: [TestWork] = []
        works = [
            executor.work { _ in
                runs += 1
                if !fence.isSignalled { pointer.submit(works[0].item) }
            }
        ]
        func wait(_ timeout: UInt64, absolute: Bool) -> Status? {
            status { () throws(Status) in
                try pointer.wait(for: fence, timeout: timeout, absolute: absolute, interruptible: false)
            }
        }
        let start = pointer.now
        #expect(wait(2 * millisecond, absolute: false) == .timedOut)
        #expect(pointer.now >= start + 2 * millisecond)
        #expect(wait(start + 5 * millisecond, absolute: true) == .timedOut)
        #expect(pointer.now >= start + 5 * millisecond)
        // Asking runs nothing; and work without end does not keep the deadline from passing.
        pointer.submit(works[0].item)
        #expect(wait(0, absolute: false) == .timedOut && wait(start, absolute: true) == .timedOut && runs == 0)
        #expect(wait(2 * millisecond, absolute: false) == .timedOut && runs > 0)
        // Work is left: the event loop must hear of it.
        #expect(isReadable(pointer.eventfd))
        fence.signal(at: 1)
        executor.finish()
        fence.drop()
    }

    @Test("a signal handler ends an interruptible wait, and only such a one", arguments: [false, true])
    func interruption(idle: Bool) {
        ignoreSignalsLoudly()
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        let fence = makeTestFence()
        let timer = executor.work { _ in }
        if idle { pointer.submit(timer.item, at: pointer.now + 60_000 * millisecond) }
        for interruptible in [true, false] {
            let result = Atomic<Int32>(1)
            let waiter = TestThread {
                let outcome = status { () throws(Status) in
                    if idle {
                        try pointer.waitIdle(
                            timeout: 50 * millisecond, absolute: false, interruptible: interruptible)
                    } else {
                        try pointer.wait(
                            for: fence, timeout: interruptible ? .max : 50 * millisecond, absolute: false,
                            interruptible: interruptible)
                    }
                }
                result.store(outcome?.raw ?? 0, ordering: .releasing)
            }
            while result.load(ordering: .acquiring) == 1 {
                pthread_kill(waiter.handle, SIGUSR1)
                usleep(1000)
            }
            waiter.join()
            #expect(result.load(ordering: .acquiring) == (interruptible ? -EINTR : -ETIME))
        }
        pointer.pointee.timers = nil
        fence.drop()
        executor.finish()
    }

    @Test("several threads wait for their fences and run one another's work")
    func manyWaiters() {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        for _ in 0..<200 {
            let fences = (0..<4).map { _ in makeTestFence() }
            let works = fences.map { fence in executor.work { fence.signal(at: $0) } }
            let threads = (0..<4).map { index in
                TestThread {
                    pointer.submit(works[3 - index].item, at: pointer.now + UInt64(index) * 20_000)
                    try! pointer.wait(for: fences[index], timeout: .max, absolute: false, interruptible: false)
                }
            }
            for thread in threads { thread.join() }
            for fence in fences { fence.drop() }
        }
        #expect(pointer.itemsRun == 800)
        executor.finish()
    }

    @Test("a fence that signals while its waiter leaves does not lose the waiter's memory")
    func signalRacesWithLeaving() {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        var random = RandomSource(seed: 1)
        var outcomes: Set<Int32> = []
        for _ in 0..<2000 {
            let fence = makeTestFence()
            fence.retain()
            let delay = random.next(below: 60)
            let signaller = TestThread {
                let end = pointer.now + UInt64(delay) * 1000
                while pointer.now < end {}
                fence.signal(at: 1)
                fence.drop()
            }
            let outcome = status { () throws(Status) in
                try pointer.wait(for: fence, timeout: 30_000, absolute: false, interruptible: false)
            }
            outcomes.insert(outcome?.raw ?? 0)
            signaller.join()
            fence.drop()
        }
        #expect(outcomes.isSubset(of: [0, -ETIME]))
        executor.finish()
    }

    @Test("waiting for idle serves timers, ends with the last item and times out")
    func waitIdle() throws {
        let executor = TestExecutor(.manual)
        let pointer = executor.pointer
        try pointer.waitIdle(timeout: 0, absolute: false, interruptible: false)
        let due = pointer.now + 10 * millisecond
        let work = executor.work { _ in }
        pointer.submit(work.item, at: due)
        for timeout in [0, millisecond] {
            let outcome = status { () throws(Status) in
                try pointer.waitIdle(timeout: timeout, absolute: false, interruptible: false)
            }
            #expect(outcome == .timedOut)
        }
        try pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        #expect(pointer.now >= due && pointer.itemsRun == 1)
        executor.finish()
    }
}
