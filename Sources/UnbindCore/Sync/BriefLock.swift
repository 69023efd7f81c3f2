// BriefLock: a lock for sections of a few instructions, in one word. Acquiring it is one atomic exchange, releasing it
// a plain store: half the cost of a FutexLock, for which a thread that finds it held looks again and again, and naps
// when that takes long, instead of sleeping until it is woken.
//
// Nothing is called with it held that could wait. Not recursive.

import CSystem
import Synchronization

struct BriefLock: ~Copyable {
    private let word = Atomic<UInt32>(0)

    init() {}

    @inline(__always)
    func acquire() {
        if !tryAcquire() { acquireSlowly() }
    }

    @inline(__always)
    func tryAcquire() -> Bool { word.exchange(1, ordering: .acquiring) == 0 }

    @inline(__always)
    func release() { word.store(0, ordering: .releasing) }

    @inline(never)
    private func acquireSlowly() {
        var backoff = Backoff()
        while word.load(ordering: .relaxed) != 0 || !tryAcquire() { backoff.pause() }
    }
}

/// How a thread passes the time until another one has left a brief section.
struct Backoff {
    private var tries = 0

    /// The holder has a few instructions to go. If it was interrupted, it is let run, whoever is more urgent.
    mutating func pause() {
        tries &+= 1
        if tries < 64 { csys_pause() } else { csys_nap() }
    }
}
