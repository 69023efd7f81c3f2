// FutexLock: a mutual-exclusion lock that a thread sleeps on.
//
// One word says whether it is held, another how many threads sleep or are about to. So an uncontended acquire is one
// atomic operation and a release none, only a load and a store. A thread that goes to sleep just between these two is
// not woken: the kernel looks at the word once more before it lets the thread sleep, which leaves a window of a few
// instructions, and a sleep is never long: it ends by itself after a millisecond, and the thread looks again. The store
// is the last that a release does to the lock: whoever gets the lock then may free what it is part of. Not recursive.
//
// Who comes first takes it, which is mostly a thread that has just left it: that is quick, and unfair. So a thread that
// has slept in vain a few times asks for the lock, and the next release hands it over, to nobody else.
//
// Every lock has a rank; a thread may only acquire ranks above those it holds (LockRank), but for `acquire(beside:)`.
// Debug builds check that.

import CSystem
import Synchronization

/// The lock order, outermost first. A thread holds at most one lock of each rank, but for those of fenceSet.
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
    /// What one array of fences or one timeline is made of. Points that are added to several timelines together need
    /// the locks of all of them at once: in the order of their addresses.
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
    private let word = Atomic<UInt32>(FutexLock.free)
    /// Threads that sleep or are about to, and in units of `asks` those among them that ask for the lock.
    private let sleepers = Atomic<UInt32>(0)

    private static var free: UInt32 { 0 }
    private static var held: UInt32 { 1 }
    /// Left to one of those who ask for it.
    private static var handedOver: UInt32 { 2 }
    private static var asks: UInt32 { 1 << 16 }
    /// A thread asks when it has slept so many times in vain.
    private static var patience: Int { 2 }

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
        letGo()
    }

    /// Acquires it with another one of its rank held by this thread, which is at a lower address: two threads that need
    /// several of the same locks do not wait for each other then.
    func acquire(beside other: borrowing FutexLock) {
        #if DEBUG
            invariant(other.word.address < word.address, "locks of one rank were acquired against their addresses")
            LockOrder.willAcquireAnother(rank)
        #endif
        if !take() { acquireSlowly() }
    }

    /// Releases one that was acquired beside others. The first of them, which was not, is released last.
    func releaseBesideOthers() {
        #if DEBUG
            LockOrder.didReleaseAnother(rank)
        #endif
        letGo()
    }

    @inline(__always)
    private func letGo() {
        let sleepers = sleepers.load(ordering: .relaxed)
        if sleepers != 0 { return release(sleepers) }
        word.store(FutexLock.free, ordering: .releasing)
    }

    @inline(never)
    private func release(_ sleepers: UInt32) {
        let address = word.address
        if sleepers < FutexLock.asks {
            word.store(FutexLock.free, ordering: .releasing)
            csys_futex_wake(address, 1)
        } else {
            // Which of those who sleep has asked is not known.
            word.store(FutexLock.handedOver, ordering: .releasing)
            csys_futex_wake(address, UInt32(Int32.max))
        }
    }

    @inline(__always)
    private func take(from state: UInt32 = FutexLock.free) -> Bool {
        word.compareExchange(
            expected: state, desired: FutexLock.held, successOrdering: .acquiring, failureOrdering: .relaxed
        ).exchanged
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
        var sleeps = 0
        var hasAsked = false
        while !take(), !hasAsked || !take(from: FutexLock.handedOver) {
            if sleeps == FutexLock.patience, !hasAsked {
                hasAsked = true
                _ = sleepers.wrappingAdd(FutexLock.asks, ordering: .relaxed)
                continue
            }
            let seen = word.load(ordering: .relaxed)
            if seen == FutexLock.free || (hasAsked && seen == FutexLock.handedOver) { continue }
            // -EAGAIN (the word changed), -EINTR and -ETIMEDOUT all mean: look again.
            _ = csys_futex_wait(word.address, seen, csys_monotonic_ns() &+ 1_000_000)
            sleeps += 1
        }
        _ = sleepers.wrappingSubtract(hasAsked ? FutexLock.asks &+ 1 : 1, ordering: .relaxed)
    }
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
