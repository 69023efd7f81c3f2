// SoftwareFence: a join gate (i915_sw_fence). It opens when everything it awaits is done and it is committed.
//
// Embedded in what is to happen then (an unbind, an asynchronous bind, a job), which is told so by whoever makes the
// last decrement: `complete` and `commit` answer true exactly once. There is no callback here and so no recursion,
// however long a chain of gates is: the owner hands its work to an executor.
//
// The first error to arrive is kept; it belongs to the edge it came in by (P30), because every awaited fence is asked
// for its own.

import Synchronization

struct SoftwareFence: ~Copyable {
    private let count = JoinCount()
    private let firstError = Atomic<Int32>(0)

    init() {}

    /// One more thing to wait for. Only before commit.
    @inline(__always)
    func await() { count.await() }

    /// So many things to wait for, and committed: for who knows them all before anybody else knows of the gate.
    @inline(__always)
    func commit(awaiting number: Int32) { count.commit(awaiting: number) }

    /// One awaited thing is done. True: the gate has opened, the caller runs what waited.
    @inline(__always)
    func complete(error: Int32) -> Bool {
        if error != 0 {
            _ = firstError.compareExchange(expected: 0, desired: error, ordering: .relaxed)
        }
        return count.complete()
    }

    /// Nothing more will be awaited. True: the gate has opened.
    @inline(__always)
    func commit() -> Bool { complete(error: 0) }

    /// Everything is done and the gate is committed.
    var isOpen: Bool { count.isOpen }

    @inline(__always)
    var error: Int32 { firstError.load(ordering: .relaxed) }
}
