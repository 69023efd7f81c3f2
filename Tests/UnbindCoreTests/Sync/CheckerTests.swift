// The checkers of lock order and signalling sections, each rule broken on purpose in a child process: it ends with the
// message of that rule. What is allowed next to it does not end it.

import CSystem
import Glibc
import Testing

@testable import UnbindCore

@Suite struct CheckerTests {
    /// The child was ended by abort, and said why.
    private func expectAbort(_ result: ExitTest.Result?, _ message: String, at location: SourceLocation = #_sourceLocation)
    {
        guard let result else { return }
        let text = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(text.contains("libunbind: broken invariant: \(message)"), "\(text)", sourceLocation: location)
    }

    // MARK: Lock order

    @Test("locks acquired from the inside out end the process")
    func wrongOrder() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let inner = FutexLock(.fence)
            let outer = FutexLock(.addressSpace)
            inner.acquire()
            outer.acquire()
        }
        expectAbort(result, "locks were acquired against the order of LockRank")
    }

    @Test("two locks of one rank end the process, be they of different objects")
    func sameRank() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let one = FutexLock(.reservation)
            let other = FutexLock(.reservation)
            one.acquire()
            other.acquire()
        }
        expectAbort(result, "locks were acquired against the order of LockRank")
    }

    @Test("a lock acquired twice ends the process instead of hanging it")
    func recursive() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let lock = FutexLock(.device)
            lock.acquire()
            lock.acquire()
        }
        expectAbort(result, "locks were acquired against the order of LockRank")
    }

    @Test("releasing a lock that the thread does not hold ends the process")
    func notHeld() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            FutexLock(.slab).release()
        }
        expectAbort(result, "a lock was released by a thread that does not hold it")
    }

    @Test("every rank after every lower one is in order, and ranks released in any order are forgotten")
    func rightOrder() async {
        await #expect(processExitsWith: .success) {
            for low in LockRank.reservation.rawValue...LockRank.slab.rawValue {
                for high in low...LockRank.slab.rawValue where high > low {
                    let outer = FutexLock(LockRank(rawValue: low)!)
                    let inner = FutexLock(LockRank(rawValue: high)!)
                    outer.acquire()
                    inner.acquire()
                    outer.release()
                    inner.release()
                }
            }
            LockOrder.assertNoneHeld("something is still held")
        }
    }

    /// Several of one rank, in the order of their addresses.
    private static func makeLocks(_ count: Int, _ rank: LockRank) -> UnsafeMutablePointer<FutexLock> {
        let locks = UnsafeMutablePointer<FutexLock>.allocate(capacity: count)
        for index in 0..<count { (locks + index).initialize(to: FutexLock(rank)) }
        return locks
    }

    @Test("several locks of one rank may be held, acquired in the order of their addresses")
    func besideEachOther() async {
        await #expect(processExitsWith: .success) {
            let locks = CheckerTests.makeLocks(3, .fenceSet)
            for _ in 0..<2 {
                locks[0].acquire()
                locks[1].acquire(beside: locks[0])
                locks[2].acquire(beside: locks[1])
                let inner = FutexLock(.slab)
                inner.acquire()
                inner.release()
                locks[1].releaseBesideOthers()
                locks[2].releaseBesideOthers()
                locks[0].release()
                LockOrder.assertNoneHeld("something is still held")
            }
        }
    }

    @Test("locks of one rank acquired against the order of their addresses end the process")
    func wrongAddresses() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let locks = CheckerTests.makeLocks(2, .fenceSet)
            locks[1].acquire()
            locks[0].acquire(beside: locks[1])
        }
        expectAbort(result, "locks of one rank were acquired against their addresses")
    }

    @Test("a lock acquired beside another one ends the process if that is not the innermost, or is not held")
    func notBeside() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let locks = CheckerTests.makeLocks(2, .fenceSet)
            let inner = FutexLock(.fence)
            locks[0].acquire()
            inner.acquire()
            locks[1].acquire(beside: locks[0])
        }
        expectAbort(result, "locks were acquired against the order of LockRank")
        let other = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let locks = CheckerTests.makeLocks(2, .fenceSet)
            locks[1].acquire(beside: locks[0])
        }
        expectAbort(other, "locks were acquired against the order of LockRank")
    }

    // MARK: Signalling sections

    @Test("allocating memory in a signalling section ends the process")
    func allocation() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let memory = TestMemory()
            SignallingSection.begin()
            _ = memory.pointer.allocate(bytes: 16, alignment: 16)
        }
        expectAbort(result, "memory was allocated inside a signalling section")
    }

    @Test("taking from a slab cache that has run out, in a signalling section, ends the process")
    func slab() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let memory = TestMemory()
            let cache = UnsafeMutablePointer<SlabCache>.allocate(capacity: 1)
            cache.initialize(to: SlabCache(for: UInt64.self, memory: memory.pointer, uncached: false))
            SignallingSection.begin()
            _ = cache.take()
        }
        expectAbort(result, "memory was allocated inside a signalling section")
    }

    @Test("a reservation's lock in a signalling section ends the process")
    func reservationLock() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            SignallingSection.begin()
            FutexLock(.reservation).acquire()
        }
        expectAbort(result, "a lock that a fence waiter may hold was acquired inside a signalling section")
    }

    @Test("an address space's lock in a signalling section, however deep, ends the process")
    func addressSpaceLock() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            SignallingSection.begin()
            SignallingSection.begin()
            SignallingSection.end()
            FutexLock(.addressSpace).acquire()
        }
        expectAbort(result, "a lock that a fence waiter may hold was acquired inside a signalling section")
    }

    @Test("inner locks and giving memory back are allowed in a signalling section, and all is after it or suspended")
    func signallingAllowed() async {
        await #expect(processExitsWith: .success) {
            let memory = TestMemory()
            let block = memory.pointer.allocate(bytes: 16, alignment: 16)!
            let outer = FutexLock(.addressSpace)
            let inner = FutexLock(.pageTables)
            SignallingSection.begin()
            inner.acquire()
            inner.release()
            memory.pointer.deallocate(block, bytes: 16)
            SignallingSection.suspended {
                outer.acquire()
                outer.release()
                memory.pointer.deallocate(memory.pointer.allocate(bytes: 16, alignment: 16)!, bytes: 16)
            }
            precondition(SignallingSection.isInside)
            SignallingSection.end()
            outer.acquire()
            outer.release()
            precondition(!SignallingSection.isInside)
        }
    }

    // MARK: Nothing held while waiting and calling

    @Test("sleeping on a fence with a lock held ends the process")
    func sleeping() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let fence = makeTestFence()
            FutexLock(.executor).acquire()
            try? fence.sleep(until: 1, interruptible: false)
        }
        expectAbort(result, "a thread waited for a fence with a lock held")
    }

    @Test("waiting for a fence with a lock held ends the process, even if the fence has signalled")
    func waiting() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let executor = TestExecutor(.simulated)
            let fence = makeTestFence()
            fence.signal(at: 1)
            FutexLock(.reservation).acquire()
            try? executor.pointer.wait(for: fence, timeout: 0, absolute: false, interruptible: false)
        }
        expectAbort(result, "a thread waited for a fence with a lock held")
    }

    @Test("waiting for a device with a lock held ends the process")
    func waitingForIdle() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let executor = TestExecutor(.manual)
            FutexLock(.history).acquire()
            try? executor.pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        }
        expectAbort(result, "a thread waited for a device with a lock held")
    }

    @Test("waiting for a buffer's lock with an inner lock held ends the process")
    func waitingForBuffer() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let gpu = DirectedGPU()
            let buffer = BufferObjectPointer(gpu.makeBuffer())
            try? buffer.lock(by: nil, interruptible: false)
            // As a bug would have it: of another buffer.
            csys_thread_held_ranks().pointee = 1 << 20
            let executor = buffer.pointee.device.pointee.executor
            let word = UnsafeMutablePointer<LockContext>.allocate(capacity: 1)
            word.initialize(to: LockContext(device: buffer.pointee.device))
            try? executor.wait(forWord: word.word, interruptible: false)
        }
        expectAbort(result, "a thread waited for a buffer with a lock held")
    }

    @Test("running work with a lock held ends the process")
    func running() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let executor = TestExecutor(.manual)
            FutexLock(.fenceSet).acquire()
            _ = try? executor.pointer.run(maxItems: 0)
        }
        expectAbort(result, "work was run with a lock held")
    }

    @Test("a work item that leaves a lock held ends the process")
    func leaving() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let executor = TestExecutor(.manual)
            let work = executor.work { _ in FutexLock(.device).acquire() }
            executor.pointer.submit(work.item)
            _ = try? executor.pointer.run(maxItems: 0)
        }
        expectAbort(result, "a work item left a lock held")
    }

    @Test("signalling a fence with a lock held ends the process: its callbacks would run with it")
    func signalling() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let fence = makeTestFence()
            FutexLock(.objectList).acquire()
            fence.signal(at: 1)
        }
        expectAbort(result, "a fence was signalled with a lock held")
    }

    @Test("calling the host program back with a lock held ends the process")
    func callingBack() async {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let device = TestDevice(.manual)
            FutexLock(.memoryRegion).acquire()
            device.pointer.callingBack {}
        }
        expectAbort(result, "a callback was called with a lock held")
    }
}
