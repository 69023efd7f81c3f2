// FutexLock: a mutual-exclusion lock of four bytes, after Drepper, "Futexes are tricky", mutex 2.
//
// The word is 0 (free), 1 (held) or 2 (held, and somebody may sleep). An uncontended acquire and release is one
// atomic operation each, without a system call. Not recursive.
//
// Every lock has a rank; a thread may only acquire ranks above those it holds (LockRank). Debug builds check that.

import CSystem
import Synchronization

/// The lock order, outermost first. A thread holds at most one lock of each rank.
enum LockRank: UInt8 {
    /// One buffer object's fences.
    case reservation = 1
    /// A buffer object's list of VMAs.
    case objectList
    /// One address space: its ranges, VMAs and pending unbinds.
    case addressSpace
    /// One address space's page tables.
    case pageTables
    /// One engine: its jobs, its TLB.
    case engine
    /// A memory region's pages.
    case memoryRegion
    case history
    case executor
    /// A device's lists of objects.
    case device
    /// What one array of fences or one timeline is made of.
    case fenceSet
    case fence
    case slab
    /// The process's one libpciaccess.
    case pciAccess
}

struct FutexLock: ~Copyable {
    #if DEBUG
        private let rank: LockRank
    #endif
    private let word = Atomic<UInt32>(0)

    @inline(__always)
    init(_ rank: LockRank) {
        #if DEBUG
            self.rank = rank
        #endif
    }

    @inline(__always)
    func acquire() {
        #if DEBUG
            LockOrder.willAcquire(rank)
        #endif
        if !take() { acquireSlowly() }
    }

    /// True if nobody held it; does not wait.
    @inline(__always)
    func tryAcquire() -> Bool {
        let isTaken = take()
        #if DEBUG
            if isTaken { LockOrder.willAcquire(rank) }
        #endif
        return isTaken
    }

    @inline(__always)
    func release() {
        #if DEBUG
            LockOrder.didRelease(rank)
        #endif
        if word.exchange(0, ordering: .releasing) == 2 { wakeOne() }
    }

    @inline(__always)
    private func take() -> Bool {
        word.compareExchange(expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed).exchanged
    }

    @inline(never)
    private func acquireSlowly() {
        // A short spin covers the usual case, a holder that is about to leave.
        for _ in 0..<64 {
            if word.load(ordering: .relaxed) == 0, take() { return }
        }
        while word.exchange(2, ordering: .acquiring) != 0 {
            // -EAGAIN (the word changed) and -EINTR both mean: look again.
            _ = csys_futex_wait(word.address, 2, .max)
        }
    }

    @inline(never)
    private func wakeOne() { csys_futex_wake(word.address, 1) }
}

extension Atomic where Value == UInt32 {
    /// Where the value lives, for futex calls.
    /// SAFETY: an Atomic is its value's storage and does not move; the address is valid as long as the atomic.
    @inline(__always)
    var address: UnsafeMutablePointer<UInt32> {
        unsafe withUnsafePointer(to: self) {
            UnsafeMutableRawPointer(mutating: UnsafeRawPointer($0)).assumingMemoryBound(to: UInt32.self)
        }
    }
}
