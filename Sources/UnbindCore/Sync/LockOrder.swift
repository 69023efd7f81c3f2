// LockOrder and SignallingSection: the two rules that keep the engine free of deadlock, checked at run time
// in debug builds (the kernel's lockdep, and dma_fence_begin_signalling).
//
//   1. Locks are acquired in the order of LockRank, and several of one rank, where that is needed, in the order of
//      their addresses. The ranks a thread holds are a bit mask in a word of its own.
//   2. Between the moment when a fence is bound to signal and its signal, nothing may allocate and no lock
//      of the address space may be taken: the allocator or the lock's holder may itself wait for the fence.

import CSystem

enum LockOrder {
    static func willAcquire(_ rank: LockRank) {
        let held = csys_thread_held_ranks()!
        let bit = UInt64(1) << UInt64(rank.rawValue)
        invariant(held.pointee < bit, "locks were acquired against the order of LockRank")
        invariant(
            rank.rawValue > LockRank.addressSpace.rawValue || !SignallingSection.isInside,
            "a lock that a fence waiter may hold was acquired inside a signalling section")
        held.pointee |= bit
    }

    /// One more of the rank that was acquired last.
    static func willAcquireAnother(_ rank: LockRank) {
        let held = csys_thread_held_ranks().pointee
        invariant(held >> UInt64(rank.rawValue) == 1, "locks were acquired against the order of LockRank")
    }

    /// The first of the rank is still held: the bit is its.
    static func didReleaseAnother(_ rank: LockRank) {
        let bit = UInt64(1) << UInt64(rank.rawValue)
        invariant(
            csys_thread_held_ranks().pointee & bit != 0, "a lock was released by a thread that does not hold it")
    }

    static func didRelease(_ rank: LockRank) {
        let held = csys_thread_held_ranks()!
        let bit = UInt64(1) << UInt64(rank.rawValue)
        invariant(held.pointee & bit != 0, "a lock was released by a thread that does not hold it")
        held.pointee &= ~bit
    }

    /// Before waiting and before calling back: nothing may be held.
    @inline(__always)
    static func assertNoneHeld(_ message: StaticString) {
        #if DEBUG
            invariant(csys_thread_held_ranks().pointee == 0, message)
        #endif
    }
}

enum SignallingSection {
    @inline(__always)
    static func begin() {
        #if DEBUG
            csys_thread_signalling_depth().pointee += 1
        #endif
    }

    @inline(__always)
    static func end() {
        #if DEBUG
            csys_thread_signalling_depth().pointee -= 1
        #endif
    }

    /// A callback of the user's may do what it is documented to: it is not part of the section it runs in.
    @inline(__always)
    static func suspended<R>(_ body: () -> R) -> R {
        #if DEBUG
            let depth = csys_thread_signalling_depth()!
            let saved = depth.pointee
            depth.pointee = 0
            defer { depth.pointee = saved }
        #endif
        return body()
    }

    static var isInside: Bool { csys_thread_signalling_depth().pointee != 0 }

    @inline(__always)
    static func assertNotInside(_ message: StaticString) {
        #if DEBUG
            invariant(!isInside, message)
        #endif
    }
}
