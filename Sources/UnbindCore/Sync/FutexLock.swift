// FutexLock: a mutual-exclusion lock that a thread sleeps on.
//
// One word says whether it is held, another how many threads sleep or are about to. So an uncontended acquire is one
// atomic operation and a release none, only a load and a store. A thread that goes to sleep just between these two is
// not woken: the kernel looks at the word once more before it lets the thread sleep, which leaves a window of a few
// instructions, and a sleep is never long: it ends by itself after a millisecond, and the thread looks again. The store
// is the last that a release does to the lock: whoever gets the lock then may free what it is part of. Not recursive.
//
// Every lock has a rank; a thread may only acquire ranks above those it holds (LockRank). Debug builds check that.

import CSystem
import Synchronization

/// The lock order, outermost first. A thread holds at most one lock of each rank.
enum LockRank: UInt8 {
    /// The batches of one address space, one after the other.
    case batches = 0
    /// One buffer object's fences.
    case reservation
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
    /// The ranges of one tracker, or of one allocator of zones.
    case rangeTracker
    /// What one array of fences or one timeline is made of.
    case fenceSet
    case fence
    /// What is awaited of the kernel.
    case kernelWaits
    case slab
    /// The process's one libpciaccess.
    case pciAccess
}

struct FutexLock: ~Copyable {
    #if DEBUG
        private let rank: LockRank
    #endif
    private let word = Atomic<UInt32>(0)
    private let sleepers = Atomic<UInt32>(0)

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
        let hasSleepers = sleepers.load(ordering: .relaxed) != 0
        word.store(0, ordering: .releasing)
        if hasSleepers { wakeOne() }
    }

    @inline(__always)
    private func take() -> Bool {
        word.compareExchange(expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed).exchanged
    }

    @inline(never)
    private func acquireSlowly() {
        // A holder is about to leave, as a rule. Looking seldom lets one that comes back at once get on: what the lock
        // guards is in its cache, and passing it on costs more than some of the work under the lock.
        var pauses = 4
        for _ in 0..<12 {
            for _ in 0..<pauses { csys_pause() }
            if word.load(ordering: .relaxed) == 0, take() { return }
            if pauses < 256 { pauses = pauses &* 2 }
        }
        _ = sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
        while !take() {
            // -EAGAIN (the word changed), -EINTR and -ETIMEDOUT all mean: look again.
            _ = csys_futex_wait(word.address, 1, csys_monotonic_ns() &+ 1_000_000)
        }
        _ = sleepers.wrappingSubtract(1, ordering: .relaxed)
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
