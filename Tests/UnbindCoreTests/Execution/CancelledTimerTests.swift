// Taking timed work back.

import CSystem
import Glibc
import Testing

@testable import UnbindCore

@Suite struct CancelledTimerTests {
    static let kinds: [ExecutorKind] = [.pool, .manual, .simulated]

    @Test("work that is taken back before its time does not run, and can be submitted again", arguments: kinds)
    func takenBack(kind: ExecutorKind) {
        let executor = TestExecutor(kind)
        var ran = 0
        let counted = Shared(UnsafeMutablePointer<Int>.allocate(capacity: 1))
        counted.value.initialize(to: 0)
        let works = (0..<20).map { _ in executor.work { _ in counted.value.pointee += 1 } }
        let pointer = executor.pointer
        let hour = pointer.now + 3_600_000_000_000
        for (index, work) in works.enumerated() { pointer.submit(work.item, at: hour + UInt64(index * 7 % 20)) }
        for work in works.reversed() { #expect(pointer.cancel(work.item)) }
        for work in works { #expect(!pointer.cancel(work.item)) }
        // Nothing is left: this returns at once.
        try? pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        #expect(counted.value.pointee == 0)
        for work in works { pointer.submit(work.item, at: pointer.now + 1000) }
        try? pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        ran = counted.value.pointee
        #expect(ran == 20)
        for work in works { #expect(!pointer.cancel(work.item)) }
        counted.value.deallocate()
        executor.finish()
    }

    @Test("the others still run in order", arguments: 0..<20)
    func others(seed: Int) {
        var random = RandomSource(seed: UInt64(seed))
        let executor = TestExecutor(.simulated)
        var order: [Int] = []
        let works = (0..<50).map { index in executor.work { _ in order.append(index) } }
        for index in works.indices { executor.pointer.submit(works[index].item, at: UInt64(1 + index * 37 % 50)) }
        var expected = works.indices.sorted { $0 * 37 % 50 < $1 * 37 % 50 }
        for _ in 0..<20 {
            let victim = expected.remove(at: random.next(below: expected.count))
            #expect(executor.pointer.cancel(works[victim].item))
        }
        _ = try? executor.pointer.run(maxItems: 0)
        #expect(order == expected)
        executor.finish()
    }

    @Test("work that is ready cannot be taken back, nor can it while it runs")
    func tooLate() {
        let executor = TestExecutor(.manual)
        var itself: TestWork?
        let work = executor.work { _ in #expect(!executor.pointer.cancel(itself!.item)) }
        itself = work
        executor.pointer.submit(work.item)
        #expect(!executor.pointer.cancel(work.item))
        #expect((try? executor.pointer.run(maxItems: 0)) == 1)
        executor.finish()
    }

    @Test("a timer and whoever takes it back, on two threads: it runs or is taken back, never both or neither")
    func race() {
        let executor = TestExecutor(.pool)
        let pointer = executor.pointer
        let ran = Shared(UnsafeMutablePointer<Int>.allocate(capacity: 1))
        ran.value.initialize(to: 0)
        let work = executor.work { _ in ran.value.pointee += 1 }
        var taken = 0
        let rounds = 2000
        for round in 0..<rounds {
            let time = pointer.now + 20_000
            pointer.submit(work.item, at: time)
            while pointer.now < time &- 5000 &+ UInt64(round % 20) * 1000 {}
            if pointer.cancel(work.item) { taken += 1 }
            try? pointer.waitIdle(timeout: .max, absolute: false, interruptible: false)
        }
        #expect(ran.value.pointee + taken == rounds)
        ran.value.deallocate()
        executor.finish()
    }
}
