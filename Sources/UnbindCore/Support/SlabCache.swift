// SlabCache: objects of one size, cut from slabs of memory that is kept until the cache goes.
//
// After Bonwick and Adams, "Magazines and Vmem" (2001), with stripes in the place of CPUs: each stripe has two
// magazines (lists of free objects), and each thread uses one stripe. The first threads of the process have one to
// themselves, the same in all caches, and the next thread has it when they end: so they have nothing to hand back, and
// taking or giving an object is a pop. The other threads share the other stripes, each behind a lock, and move on when
// they find theirs taken. Full magazines go to a depot and come back from there; only when that is
// empty, objects are cut from a slab, and only when that is used up, the allocator is called. Giving never does.
// `uncached` makes every object one allocation, for leak checkers and for failing the n-th.
//
// - Locking: the locks of the shared stripes, held for a few instructions or to refill from the depot, whose lock is the
//   innermost of all.
// - Signalling: give() may be called in a signalling section, take() may not.

import CSystem
import Synchronization

struct SlabCache: ~Copyable {
    /// First, one behind the other: see `stripe`. There is no array of what cannot be copied.
    private let stripe0 = SlabStripe(), stripe1 = SlabStripe(), stripe2 = SlabStripe(), stripe3 = SlabStripe()
    private let stripe4 = SlabStripe(), stripe5 = SlabStripe(), stripe6 = SlabStripe(), stripe7 = SlabStripe()
    private let stripe8 = SlabStripe(), stripe9 = SlabStripe(), stripe10 = SlabStripe(), stripe11 = SlabStripe()
    private let stripe12 = SlabStripe(), stripe13 = SlabStripe(), stripe14 = SlabStripe(), stripe15 = SlabStripe()
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

    /// Of all slabs.
    fileprivate var bytes = 0

    fileprivate struct Slab {
        let next: UnsafeMutablePointer<Slab>?
        let bytes: Int
    }

    /// Big enough that the header is noise, small enough for a device with ten objects.
    fileprivate static var smallSlabBytes: Int { 16384 }
    /// Of a hundred thousand objects that are looked at in no order each is in another page, and finding the page takes
    /// longer than the look: from here on slabs are huge pages.
    fileprivate static var manyBytes: Int { 8 * Memory.hugePageBytes }
    fileprivate static var magazineSize: UInt32 { 16 }
    static var stripeCount: UInt32 { 16 }
    /// Of them, the first ones, each for one thread.
    static var ownStripeCount: UInt32 { 8 }

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
    /// Written by whoever uses the stripe, read by anybody.
    let taken = Atomic<UInt64>(0)
    let given = Atomic<UInt64>(0)
    var loadedCount: UInt32 = 0
    /// Of a shared one.
    let lock = BriefLock()
    /// No two stripes on one cache line, nor on two that are fetched together.
    private let padding = InlineArray<11, UInt64>(repeating: 0)
}

/// For the thread whose stripe it is, or who holds its lock.
extension UnsafeMutablePointer where Pointee == SlabStripe {
    /// There must be something loaded.
    @inline(__always)
    fileprivate func pop() -> UnsafeMutableRawPointer {
        let object = pointee.loaded.unsafelyUnwrapped
        pointee.loaded = object.pointee.next
        pointee.loadedCount = pointee.loadedCount &- 1
        countTaken()
        return UnsafeMutableRawPointer(object)
    }

    /// There must be room.
    @inline(__always)
    fileprivate func push(_ object: UnsafeMutableRawPointer) {
        let node = object.bindMemory(to: FreeObject.self, capacity: 1)
        node.pointee.next = pointee.loaded
        pointee.loaded = node
        pointee.loadedCount = pointee.loadedCount &+ 1
        countGiven()
    }

    @inline(__always)
    fileprivate func countTaken() {
        pointee.taken.store(pointee.taken.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }

    @inline(__always)
    fileprivate func countGiven() {
        pointee.given.store(pointee.given.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }
}

extension UnsafeMutablePointer where Pointee == SlabCache {
    /// All objects must have been given back: `isEmpty`.
    func dispose() {
        invariant(liveCount == 0, "a slab cache was disposed of with objects alive")
        while let slab = pointee.slabs {
            pointee.slabs = slab.pointee.next
            pointee.memory.deallocate(UnsafeMutableRawPointer(slab), bytes: slab.pointee.bytes)
        }
    }

    /// Uninitialised memory for one object, or nil.
    @inline(__always)
    func take() -> UnsafeMutableRawPointer? {
        let index = csys_thread_stripe()!.pointee &- 1
        // An uncached cache has nothing loaded.
        if index < SlabCache.ownStripeCount, stripe(index).pointee.loadedCount != 0 { return stripe(index).pop() }
        return takeSlowly()
    }

    @inline(never)
    private func takeSlowly() -> UnsafeMutableRawPointer? {
        if pointee.uncached { return takeUncached() }
        if csys_thread_stripe()!.pointee == 0 { csys_claim_stripe() }
        let (stripe, isShared) = acquireStripe()
        let object = stripe.pointee.loadedCount > 0 || reload(stripe) ? stripe.pop() : nil
        if isShared { stripe.pointee.lock.release() }
        return object
    }

    @inline(__always)
    func give(_ object: UnsafeMutableRawPointer) {
        let index = csys_thread_stripe()!.pointee &- 1
        if index < SlabCache.ownStripeCount, !pointee.uncached {
            let stripe = stripe(index)
            if stripe.pointee.loadedCount != SlabCache.magazineSize { return stripe.push(object) }
        }
        giveSlowly(object)
    }

    @inline(never)
    private func giveSlowly(_ object: UnsafeMutableRawPointer) {
        if pointee.uncached { return giveUncached(object) }
        let (stripe, isShared) = acquireStripe()
        if stripe.pointee.loadedCount == SlabCache.magazineSize { unload(stripe) }
        stripe.push(object)
        if isShared { stripe.pointee.lock.release() }
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
            counts.taken &+= stripe.pointee.taken.load(ordering: .relaxed)
            counts.given &+= stripe.pointee.given.load(ordering: .relaxed)
        }
        return counts
    }

    // MARK: Stripes

    @inline(__always)
    private func stripe(_ index: UInt32) -> UnsafeMutablePointer<SlabStripe> {
        memberPointer(of: self, at: 0, as: SlabStripe.self) + Int(truncatingIfNeeded: index)
    }

    /// The thread's own stripe, or a shared one, whose lock is to be released.
    @inline(__always)
    private func acquireStripe() -> (UnsafeMutablePointer<SlabStripe>, isShared: Bool) {
        let index = csys_thread_stripe()!.pointee &- 1
        return index < SlabCache.ownStripeCount ? (stripe(index), false) : (acquireSharedStripe(), true)
    }

    /// Where somebody else is, the thread moves on, and stays where it gets in.
    @inline(never)
    private func acquireSharedStripe() -> UnsafeMutablePointer<SlabStripe> {
        let number = csys_thread_stripe()!
        // It has not asked for one of its own.
        var place = number.pointee == 0 ? 0 : number.pointee &- 1 &- SlabCache.ownStripeCount
        var backoff = Backoff()
        while true {
            let next = stripe(SlabCache.ownStripeCount &+ place)
            if next.pointee.lock.tryAcquire() { return next }
            place = (place &+ 1) % (SlabCache.stripeCount &- SlabCache.ownStripeCount)
            if number.pointee != 0 { number.pointee = SlabCache.ownStripeCount &+ place &+ 1 }
            // Once round, all are held: somebody was interrupted, or refills.
            if place == 0 { backoff.pause() }
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
        let memory = pointee.memory
        // A host's allocator has huge pages or has not.
        let isMany = pointee.bytes >= SlabCache.manyBytes && memory.pointee.isDefault
        let bytes = isMany ? Memory.hugePageBytes : SlabCache.smallSlabBytes
        guard let slab = memory.allocateSlab(bytes: bytes, alignment: 64) else { return false }
        let header = slab.bindMemory(to: SlabCache.Slab.self, capacity: 1)
        header.initialize(to: SlabCache.Slab(next: pointee.slabs, bytes: bytes))
        pointee.slabs = header
        pointee.bytes = pointee.bytes &+ bytes
        let offset = roundUp(MemoryLayout<SlabCache.Slab>.size, to: max(pointee.alignment, 64))
        pointee.unused = slab + offset
        pointee.unusedCount = (bytes - offset) / pointee.objectBytes
        return true
    }

    // MARK: Without slabs

    private func takeUncached() -> UnsafeMutableRawPointer? {
        let object = pointee.memory.allocate(bytes: pointee.objectBytes, alignment: pointee.alignment)
        guard let object else { return nil }
        let (stripe, isShared) = acquireStripe()
        stripe.countTaken()
        if isShared { stripe.pointee.lock.release() }
        return object
    }

    private func giveUncached(_ object: UnsafeMutableRawPointer) {
        pointee.memory.deallocate(object, bytes: pointee.objectBytes)
        let (stripe, isShared) = acquireStripe()
        stripe.countGiven()
        if isShared { stripe.pointee.lock.release() }
    }
}
