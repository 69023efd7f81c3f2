// The lock that threads sleep on: one at a time, and a thread that comes back at once does not keep the others out.

import CSystem
import Synchronization
import Testing

@testable import UnbindCore

@Suite(.serialized) struct FutexLockTests {
    /// A lock and what it guards.
    private final class Contended: @unchecked Sendable {
        let lock = FutexLock(.device)
        var turns = 0
        var isInside = false
        var overlaps = 0
        let isOver = Atomic<Bool>(false)

        /// One turn of so many ns.
        func take(for duration: UInt64) {
            lock.acquire()
            if isInside { overlaps += 1 }
            isInside = true
            let end = csys_monotonic_ns() + duration
            while duration > 0, csys_monotonic_ns() < end { csys_pause() }
            turns += 1
            isInside = false
            lock.release()
        }
    }

    @Test("a thread that takes a lock again as soon as it has left it does not keep another one out")
    func handsOver() {
        let contended = Contended()
        let other = PlainThread {
            while !contended.isOver.load(ordering: .relaxed) { contended.take(for: 1_000_000) }
        }
        let rounds = 20
        for _ in 0..<rounds {
            csys_nap()
            contended.take(for: 0)
        }
        contended.isOver.store(true, ordering: .relaxed)
        other.join()
        // Before locks were handed over it was hundreds, as a rule.
        #expect(contended.turns < rounds * 8, "\(contended.turns - rounds) turns of the other in \(rounds) of this one")
    }

    @Test("of six threads that hold a lock for short and for long each gets its turns, one at a time")
    func turns() {
        let contended = Contended()
        let threads = (0..<6).map { number in
            PlainThread {
                var random = SimulationRandom(seed: UInt64(number))
                for _ in 0..<400 {
                    contended.take(for: random.chance(10) ? 300_000 : UInt64(random.below(2_000)))
                    if random.chance(10) { csys_nap() }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(contended.turns == 6 * 400 && contended.overlaps == 0)
    }
}
