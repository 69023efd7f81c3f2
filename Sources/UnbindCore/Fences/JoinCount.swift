// JoinCount: how many things are still to happen before a gate opens.
//
// All there is to the gate of an unbind, which happens whatever becomes of what it awaits; a SoftwareFence keeps the
// first error besides.

import Synchronization

struct JoinCount: ~Copyable {
    /// Awaited things not yet done, plus one until committed.
    private let pending = Atomic<Int32>(1)

    init() {}

    /// One more thing to wait for. Only before commit.
    @inline(__always)
    func await() {
        let old = pending.wrappingAdd(1, ordering: .relaxed).oldValue
        invariant(old >= 1, "a gate was given something to await after it had opened")
    }

    /// So many things to wait for, and committed: for who knows them all before anybody else knows of the gate.
    @inline(__always)
    func commit(awaiting count: Int32) { pending.store(count, ordering: .relaxed) }

    /// One awaited thing is done, or nothing more will be awaited. True: the gate has opened, the caller runs what
    /// waited.
    @inline(__always)
    func complete() -> Bool {
        // Nobody else has anything left to complete.
        if pending.load(ordering: .acquiring) == 1 {
            pending.store(0, ordering: .releasing)
            return true
        }
        let old = pending.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue
        invariant(old >= 1, "a gate was completed more often than it awaited")
        return old == 1
    }

    /// Of a committed one: so many things are not yet done.
    var awaitedCount: Int32 { pending.load(ordering: .acquiring) }

    /// Everything is done and the gate is committed.
    var isOpen: Bool { pending.load(ordering: .acquiring) == 0 }
}
