import CSystem
import Glibc
import Testing

@testable import UnbindCore

/// What all kinds have in common: their making, their end and their misuse.
@Suite struct ExecutorTests {
    static let kinds: [ExecutorKind] = [.pool, .manual, .simulated]

    @Test("an executor that is made and stopped leaves nothing behind", arguments: kinds)
    func life(kind: ExecutorKind) {
        for workers in [1, 2, 17] {
            let executor = TestExecutor(kind, workers: workers)
            #expect(executor.pointer.kind == kind && executor.pointer.nextEvent == .max)
            #expect(executor.pointer.itemsRun == 0)
            executor.finish()
            #expect(executor.memory.pointer.pointee.bytes.load(ordering: .relaxed) == 0)
        }
    }

    @Test("each allocation of making one may fail, and nothing is left behind", arguments: kinds)
    func makingWithoutMemory(kind: ExecutorKind) {
        for successes in 0..<(kind == .pool ? 2 : 1) {
            let left = UnsafeMutablePointer<Int>.allocate(capacity: 1)
            let memory = UnsafeMutablePointer<Memory>.allocate(capacity: 1)
            left.initialize(to: successes)
            memory.initialize(
                to: Memory(
                    userData: left,
                    allocate: { left, size, alignment in
                        let left = left!.assumingMemoryBound(to: Int.self)
                        left.pointee -= 1
                        return left.pointee < 0 ? nil : mallocAllocate(nil, size, alignment)
                    }))
            let outcome = status { () throws(Status) in
                _ = try ExecutorPointer.make(kind: kind, workerCount: 3, seed: 0, memory: memory, device: left)
            }
            #expect(outcome == .noMemory)
            #expect(memory.pointee.bytes.load(ordering: .relaxed) == 0)
            memory.deinitialize(count: 1)
            memory.deallocate()
            left.deallocate()
        }
    }

    @Test(
        "when threads cannot be started, making a pool fails and ends those that were",
        .enabled(if: dlsym(nil, "__asan_init") == nil, "AddressSanitizer needs the address space that this test takes away"))
    func makingWithoutThreads() async {
        await #expect(processExitsWith: .exitCode(7)) {
            // Address space for a few stacks, not for all.
            var pages = 0
            if let file = fopen("/proc/self/statm", "r") {
                withUnsafeMutablePointer(to: &pages) { pages in
                    _ = withVaList([pages]) { vfscanf(file, "%ld", $0) }
                }
                fclose(file)
            }
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
            limit.rlim_cur = rlim_t(pages * 4096 + (100 << 20))
            setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
            let memory = TestMemory()
            let outcome = status { () throws(Status) in
                _ = try ExecutorPointer.make(
                    kind: .pool, workerCount: 64, seed: 0, memory: memory.pointer, device: memory.pointer)
            }
            let clean = memory.pointer.pointee.bytes.load(ordering: .relaxed) == 0
            exit(outcome == .again && clean ? 7 : 1)
        }
    }

    @Test("submitting an item that is queued is a broken invariant")
    func submitTwice() async {
        await #expect(processExitsWith: .signal(SIGABRT)) {
            let executor = TestExecutor(.manual)
            let work = executor.work { _ in }
            executor.pointer.submit(work.item)
            executor.pointer.submit(work.item, at: 5)
        }
    }

    @Test("stopping with timed work pending is a broken invariant")
    func stopWithTimers() async {
        await #expect(processExitsWith: .signal(SIGABRT)) {
            let executor = TestExecutor(.pool)
            let work = executor.work { _ in }
            executor.pointer.submit(work.item, at: .max - 1)
            executor.finish()
        }
    }

    @Test("submitting to a stopped executor is a broken invariant")
    func submitAfterStop() async {
        await #expect(processExitsWith: .signal(SIGABRT)) {
            let executor = TestExecutor(.pool)
            let work = executor.work { _ in }
            executor.pointer.stop()
            executor.pointer.submit(work.item)
        }
    }

    @Test("all threads that wait for idle are told", arguments: kinds)
    func manyIdleWaiters(kind: ExecutorKind) {
        let executor = TestExecutor(kind, workers: 2)
        let pointer = executor.pointer
        for _ in 0..<50 {
            let work = executor.work { _ in }
            pointer.submit(work.item, at: pointer.now + 300_000)
            let threads = (0..<5).map { _ in
                TestThread { try! pointer.waitIdle(timeout: .max, absolute: false, interruptible: true) }
            }
            for thread in threads { thread.join() }
        }
        #expect(pointer.itemsRun == 50)
        executor.finish()
    }
}
