import CSystem
import Glibc
import Synchronization
import Testing

@testable import UnbindCore

@Suite struct PoolExecutorTests {
    @Test("what four threads submit runs exactly once", arguments: [1, 4])
    func submitStorm(workers: Int) {
        let executor = TestExecutor(.pool, workers: workers)
        let pointer = executor.pointer
        let perThread = 10_000
        let runs = UnsafeMutablePointer<Atomic<UInt32>>.allocate(capacity: 4 * perThread)
        let items = WorkItemPointer.allocate(capacity: 4 * perThread)
        for index in 0..<4 * perThread {
            (runs + index).initialize(to: Atomic(0))
            (items + index).initialize(
                to: WorkItem(label: 0, context: UnsafeMutableRawPointer(runs + index)) { context, _ in
                    _ = context.assumingMemoryBound(to: Atomic<UInt32>.self).pointee
                        .wrappingAdd(1, ordering: .relaxed)
                })
        }
        let threads = (0..<4).map { thread in
            TestThread {
                for index in thread * perThread..<(thread + 1) * perThread {
                    switch index % 16 {
                    case 0: pointer.submit(items + index, at: pointer.now + UInt64(index % 7) * 10_000)
                    case 1: pointer.submit(items + index, at: 0)
                    default: pointer.submit(items + index)
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        try! pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        #expect((0..<4 * perThread).allSatisfy { runs[$0].load(ordering: .relaxed) == 1 })
        #expect(pointer.itemsRun == UInt64(4 * perThread))
        executor.finish()
        items.deallocate()
        runs.deallocate()
    }

    @Test("timers run at their time or after, in order on one worker")
    func timers() throws {
        let executor = TestExecutor(.pool)
        let pointer = executor.pointer
        var ran: [[UInt64]] = []
        let works = (0..<4).map { _ in executor.work { ran.append([$0, pointer.now]) } }
        let base = pointer.now
        for (index, delay) in [UInt64(9), 3, 6, 3].enumerated() {
            pointer.submit(works[index].item, at: base + delay * millisecond)
        }
        #expect(pointer.nextEvent == base + 3 * millisecond)
        try pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        #expect(ran.map { $0[0] } == [3, 3, 6, 9].map { base + $0 * millisecond })
        #expect(ran.allSatisfy { $0[1] >= $0[0] })
        #expect(pointer.nextEvent == .max && pointer.eventfd == -1 && pointer.scheduleDigest == 0)
        executor.finish()
    }

    @Test("a timer is served by an idle worker although the one that slept for it got other work")
    func timerDuringLongWork() throws {
        let executor = TestExecutor(.pool, workers: 2)
        let pointer = executor.pointer
        for _ in 0..<10 {
            let fence = makeTestFence()
            let release = makeTestFence()
            // Holds its worker until the timer has run.
            let long = executor.work { _ in
                try! release.sleep(until: .max, interruptible: false)
                fence.signal(at: 1)
            }
            let timer = executor.work { release.signal(at: $0) }
            usleep(500)
            pointer.submit(timer.item, at: pointer.now + 2 * millisecond)
            usleep(500)
            pointer.submit(long.item)
            try pointer.wait(for: fence, timeout: .max, absolute: false, interruptible: false)
            try pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
            fence.drop()
            release.drop()
        }
        executor.finish()
    }

    @Test("an item may submit itself again, and may be freed by its own function")
    func resubmission() throws {
        let executor = TestExecutor(.pool, workers: 4)
        let pointer = executor.pointer
        let fence = makeTestFence()
        var runs = 0
        var works: [TestWork] = []
        works = [
            executor.work { time in
                runs += 1
                switch runs {
                case 10_000: fence.signal(at: time)
                case let run where run % 1000 == 0: pointer.submit(works[0].item, at: pointer.now + 10_000)
                default: pointer.submit(works[0].item)
                }
            }
        ]
        pointer.submit(works[0].item)
        try pointer.wait(for: fence, timeout: .max, absolute: false, interruptible: false)
        for _ in 0..<1000 {
            let item = WorkItemPointer.allocate(capacity: 1)
            item.initialize(
                to: WorkItem(label: 0, context: UnsafeMutableRawPointer(item)) { context, _ in
                    overwrite(context, 0xAA, MemoryLayout<WorkItem>.size)
                    context.assumingMemoryBound(to: WorkItem.self).deallocate()
                })
            pointer.submit(item)
        }
        try pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        #expect(runs == 10_000 && pointer.itemsRun == 11_000)
        fence.drop()
        executor.finish()
    }

    @Test("stop finishes what is ready, and what that submits for now")
    func stopFinishesReadyWork() {
        for _ in 0..<20 {
            let executor = TestExecutor(.pool, workers: 3)
            let count = Atomic<Int>(0)
            var works: [TestWork] = []
            for index in 0..<100 {
                var runs = 0
                works.append(
                    executor.work { _ in
                        runs += 1
                        _ = count.wrappingAdd(1, ordering: .relaxed)
                        if runs < 3 { executor.pointer.submit(works[index].item) }
                    })
            }
            for work in works { executor.pointer.submit(work.item) }
            executor.finish()
            #expect(count.load(ordering: .relaxed) == 300)
        }
    }

    @Test("waits time out, and ask without sleeping")
    func timeouts() {
        let executor = TestExecutor(.pool)
        let pointer = executor.pointer
        let fence = makeTestFence()
        let start = pointer.now
        func wait(_ timeout: UInt64, absolute: Bool) -> Status? {
            status { () throws(Status) in
                try pointer.wait(for: fence, timeout: timeout, absolute: absolute, interruptible: false)
            }
        }
        #expect(wait(0, absolute: false) == .timedOut)
        #expect(wait(2 * millisecond, absolute: false) == .timedOut && pointer.now >= start + 2 * millisecond)
        #expect(wait(start + 4 * millisecond, absolute: true) == .timedOut)
        #expect(pointer.now >= start + 4 * millisecond)
        let timer = executor.work { _ in }
        pointer.submit(timer.item, at: pointer.now + 10 * millisecond)
        let idle = status { () throws(Status) in
            try pointer.waitIdle(timeout: millisecond, absolute: false, interruptible: false)
        }
        #expect(idle == .timedOut)
        let unsupported = [
            status { () throws(Status) in _ = try pointer.run(maxItems: 0) },
            status { () throws(Status) in try pointer.runUntil(0) },
        ]
        #expect(unsupported == [.unsupported, .unsupported])
        pointer.charge(.max)
        fence.signal(at: 1)
        #expect(wait(0, absolute: false) == nil)
        fence.drop()
        try! pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        executor.finish()
    }

    @Test("a signal handler ends an interruptible wait", arguments: [false, true])
    func interruption(idle: Bool) {
        ignoreSignalsLoudly()
        let executor = TestExecutor(.pool)
        let pointer = executor.pointer
        let fence = makeTestFence()
        let release = makeTestFence()
        let work = executor.work { _ in try! release.sleep(until: .max, interruptible: false) }
        pointer.submit(work.item)
        let result = Atomic<Int32>(1)
        let waiter = TestThread {
            let outcome = status { () throws(Status) in
                if idle {
                    try pointer.waitIdle(timeout: .max, absolute: false, interruptible: true)
                } else {
                    try pointer.wait(for: fence, timeout: .max, absolute: false, interruptible: true)
                }
            }
            result.store(outcome?.raw ?? 0, ordering: .releasing)
        }
        while result.load(ordering: .acquiring) == 1 {
            pthread_kill(waiter.handle, SIGUSR1)
            usleep(1000)
        }
        waiter.join()
        #expect(result.load(ordering: .acquiring) == -EINTR)
        release.signal(at: 1)
        executor.finish()
        fence.drop()
        release.drop()
    }

    @Test("items know where they run")
    func runningThread() throws {
        let executor = TestExecutor(.pool)
        let pointer = executor.pointer
        var inside = false
        let work = executor.work { _ in inside = pointer.isRunningOnThisThread }
        pointer.submit(work.item)
        try pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        #expect(inside && !pointer.isRunningOnThisThread)
        #expect(pointer.kind == .pool)
        executor.finish()
    }
}
