// SlabCache: objects of one size, cut from slabs of memory that is kept until the cache goes.
//
// After Bonwick and Adams, "Magazines and Vmem" (2001), with stripes in the place of CPUs: each stripe has two
// magazines (lists of free objects) behind a lock of its own, each thread uses one stripe, and leaves it for the next
// when it finds it taken. So threads do not meet, none has anything to hand back when it ends, and taking or giving an
// object is one atomic exchange and a pop. Full magazines go to a depot and come back from there; only when that is
// empty, objects are cut from a slab, and only when that is used up, the allocator is called. Giving never does.
// `uncached` makes every object one allocation, for leak checkers and for failing the n-th.
//
// - Locking: the locks of the stripes, held for a few instructions or to refill from the depot, whose lock is the
//   innermost of all.
// - Signalling: give() may be called in a signalling section, take() may not.

import CSystem
import Synchronization

struct SlabCache: ~Copyable {
    /// First, one behind the other: see `stripe`. There is no array of what cannot be copied.
    private let stripe0 = SlabStripe(), stripe1 = SlabStripe(), stripe2 = SlabStripe(), stripe3 = SlabStripe()
    private let stripe4 = SlabStripe(), stripe5 = SlabStripe(), stripe6 = SlabStripe(), stripe7 = SlabStripe()
    fileprivate let memory: UnsafeMutablePointer<Memory>
    let objectBytes: Int
    fileprivate let alignment: Int
    fileprivate let uncached: Bool

    // The depot, under the lock.

    /// Magazines of `magazineSize` objects each.
    fileprivate var full: UnsafeMutablePointer<FreeObject>?
    fileprivate var slabs: UnsafeMutablePointer<Slab>?
    /// Of the newest slab: what was never given out.
    fileprivate var unused: UnsafeMutableRawPointer?
    fileprivate var unusedCount = 0
    fileprivate let lock = FutexLock(.slab)

    fileprivate struct Slab { var next: UnsafeMutablePointer<Slab>? }

    /// Big enough that the header is noise, small enough for a device with ten objects.
    fileprivate static var slabBytes: Int { 16384 }
    fileprivate static var magazineSize: UInt32 { 16 }
    static var stripeCount: UInt32 { 8 }

    init<T: ~Copyable>(for type: T.Type, memory: UnsafeMutablePointer<Memory>, uncached: Bool) {
        self.memory = memory
        self.uncached = uncached
        alignment = MemoryLayout<T>.alignment
        objectBytes = roundUp(max(MemoryLayout<T>.size, MemoryLayout<FreeObject>.size), to: max(alignment, 8))
    }
}

private struct FreeObject {
    /// In its magazine.
    var next: UnsafeMutablePointer<FreeObject>?
    /// In the depot: the first object of the next magazine.
    var nextMagazine: UnsafeMutablePointer<FreeObject>?
}

/// What the threads of one stripe have at hand.
private struct SlabStripe: ~Copyable {
    var loaded: UnsafeMutablePointer<FreeObject>?
    /// Empty or full.
    var spare: UnsafeMutablePointer<FreeObject>?
    var taken: UInt64 = 0
    var given: UInt64 = 0
    var loadedCount: UInt32 = 0
    let lock = BriefLock()
    /// No two stripes on one cache line, nor on two that are fetched together.
    private let padding = InlineArray<11, UInt64>(repeating: 0)
}

extension UnsafeMutablePointer where Pointee == SlabCache {
    /// All objects must have been given back: `isEmpty`.
    func dispose() {
        invariant(liveCount == 0, "a slab cache was disposed of with objects alive")
        while let slab = pointee.slabs {
            pointee.slabs = slab.pointee.next
            pointee.memory.deallocate(UnsafeMutableRawPointer(slab), bytes: SlabCache.slabBytes)
        }
    }

    /// Uninitialised memory for one object, or nil.
    func take() -> UnsafeMutableRawPointer? {
        if pointee.uncached { return takeUncached() }
        let stripe = acquireStripe()
        if stripe.pointee.loadedCount == 0, !reload(stripe) {
            stripe.pointee.lock.release()
            return nil
        }
        let object = stripe.pointee.loaded.unsafelyUnwrapped
        stripe.pointee.loaded = object.pointee.next
        stripe.pointee.loadedCount = stripe.pointee.loadedCount &- 1
        stripe.pointee.taken = stripe.pointee.taken &+ 1
        stripe.pointee.lock.release()
        return UnsafeMutableRawPointer(object)
    }

    func give(_ object: UnsafeMutableRawPointer) {
        if pointee.uncached { return giveUncached(object) }
        let stripe = acquireStripe()
        if stripe.pointee.loadedCount == SlabCache.magazineSize { unload(stripe) }
        let node = object.bindMemory(to: FreeObject.self, capacity: 1)
        node.pointee.next = stripe.pointee.loaded
        stripe.pointee.loaded = node
        stripe.pointee.loadedCount = stripe.pointee.loadedCount &+ 1
        stripe.pointee.given = stripe.pointee.given &+ 1
        stripe.pointee.lock.release()
    }

    /// Objects taken and not given back.
    var liveCount: Int {
        let (taken, given) = counts
        return Int(truncatingIfNeeded: taken &- given)
    }

    /// Objects taken so far.
    var takenCount: UInt64 { counts.taken }

    private var counts: (taken: UInt64, given: UInt64) {
        var counts: (taken: UInt64, given: UInt64) = (0, 0)
        for index in 0..<SlabCache.stripeCount {
            let stripe = stripe(index)
            stripe.pointee.lock.acquire()
            counts.taken &+= stripe.pointee.taken
            counts.given &+= stripe.pointee.given
            stripe.pointee.lock.release()
        }
        return counts
    }

    // MARK: Stripes

    @inline(__always)
    private func stripe(_ index: UInt32) -> UnsafeMutablePointer<SlabStripe> {
        memberPointer(of: self, at: 0, as: SlabStripe.self) + Int(truncatingIfNeeded: index)
    }

    @inline(__always)
    private func acquireStripe() -> UnsafeMutablePointer<SlabStripe> {
        let own = stripe(csys_thread_stripe()!.pointee)
        return own.pointee.lock.tryAcquire() ? own : acquireOtherStripe()
    }

    /// Somebody else uses the thread's stripe: it moves on, and stays where it gets in.
    @inline(never)
    private func acquireOtherStripe() -> UnsafeMutablePointer<SlabStripe> {
        let own = csys_thread_stripe()!
        var backoff = Backoff()
        while true {
            own.pointee = (own.pointee &+ 1) % SlabCache.stripeCount
            let next = stripe(own.pointee)
            if next.pointee.lock.tryAcquire() { return next }
            // Once round, all are held: somebody was interrupted, or refills.
            if own.pointee == 0 { backoff.pause() }
        }
    }

    /// Fills the loaded magazine, which is empty. False if there is no memory.
    @inline(never)
    private func reload(_ stripe: UnsafeMutablePointer<SlabStripe>) -> Bool {
        if let spare = stripe.pointee.spare {
            stripe.pointee.loaded = spare
            stripe.pointee.loadedCount = SlabCache.magazineSize
            stripe.pointee.spare = nil
            return true
        }
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if let magazine = pointee.full {
            pointee.full = magazine.pointee.nextMagazine
            stripe.pointee.loaded = magazine
            stripe.pointee.loadedCount = SlabCache.magazineSize
            return true
        }
        if pointee.unusedCount == 0, !addSlab() { return false }
        var first: UnsafeMutablePointer<FreeObject>?
        let count = Swift.min(Int(SlabCache.magazineSize), pointee.unusedCount)
        for _ in 0..<count {
            let object = pointee.unused.unsafelyUnwrapped
            pointee.unused = object + pointee.objectBytes
            let node = object.bindMemory(to: FreeObject.self, capacity: 1)
            node.pointee.next = first
            first = node
        }
        pointee.unusedCount = pointee.unusedCount &- count
        stripe.pointee.loaded = first
        stripe.pointee.loadedCount = UInt32(truncatingIfNeeded: count)
        return true
    }

    /// Makes room in the loaded magazine, which is full.
    @inline(never)
    private func unload(_ stripe: UnsafeMutablePointer<SlabStripe>) {
        if let spare = stripe.pointee.spare {
            pointee.lock.acquire()
            spare.pointee.nextMagazine = pointee.full
            pointee.full = spare
            pointee.lock.release()
        }
        stripe.pointee.spare = stripe.pointee.loaded
        stripe.pointee.loaded = nil
        stripe.pointee.loadedCount = 0
    }

    /// - Locking: the depot's is held.
    private func addSlab() -> Bool {
        guard let slab = pointee.memory.allocate(bytes: SlabCache.slabBytes, alignment: 64) else { return false }
        let header = slab.bindMemory(to: SlabCache.Slab.self, capacity: 1)
        header.initialize(to: SlabCache.Slab(next: pointee.slabs))
        pointee.slabs = header
        let offset = roundUp(MemoryLayout<SlabCache.Slab>.size, to: max(pointee.alignment, 64))
        pointee.unused = slab + offset
        pointee.unusedCount = (SlabCache.slabBytes - offset) / pointee.objectBytes
        return true
    }

    // MARK: Without slabs

    private func takeUncached() -> UnsafeMutableRawPointer? {
        let object = pointee.memory.allocate(bytes: pointee.objectBytes, alignment: pointee.alignment)
        guard let object else { return nil }
        let stripe = acquireStripe()
        stripe.pointee.taken = stripe.pointee.taken &+ 1
        stripe.pointee.lock.release()
        return object
    }

    private func giveUncached(_ object: UnsafeMutableRawPointer) {
        pointee.memory.deallocate(object, bytes: pointee.objectBytes)
        let stripe = acquireStripe()
        stripe.pointee.given = stripe.pointee.given &+ 1
        stripe.pointee.lock.release()
    }
}
