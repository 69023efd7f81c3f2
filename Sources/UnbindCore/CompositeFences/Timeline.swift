// Timeline: growing sequence numbers and the fences that say when each has been reached (dma_fence_chain,
// drivers/dma-buf/dma-fence-chain.c, and drm_syncobj).
//
// The points that have not been reached are in a ring, in the order of their seqnos, so that halving finds a seqno. A
// point leaves the ring when it is the first and its own fence has signalled; nothing is kept of it but the timeline's
// value. Fences signal in the order of the seqnos: one thread at a time takes points out and signals them (the drain);
// others that complete a point meanwhile leave it to that one.
//
// Every point depends on what was there before it, so that timelines cannot form a circle.
//
// Life: handles, the points (each until it is freed) and a drain under way hold references. The ring holds a reference
// to each of its points.
//
// - Locking: `lock` guards the ring, the value and the state of the points. No fence is signalled or dropped under it.
//   Whoever adds points to several timelines together holds all their locks, in the order of their addresses.

import Synchronization

typealias TimelinePointer = UnsafeMutablePointer<Timeline>

struct Timeline: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = Timeline.magic
    let count = SharedCount()
    let device: DevicePointer
    /// Of the points' fences.
    let context: UInt64
    /// For the drain; at `relayOffset`.
    var relay = RelayItem()
    fileprivate let lock = FutexLock(.fenceSet)
    // Under the lock.
    /// Points not reached: `pending` of them from `first` on, round the end.
    fileprivate var ring: UnsafeMutablePointer<TimelinePointPointer>?
    fileprivate var capacity = 0
    fileprivate var first = 0
    fileprivate var pending = 0
    /// The seqno of the last point added.
    fileprivate var last: UInt64 = 0
    fileprivate var reached: UInt64 = 0
    fileprivate var isDraining = false

    static var magic: UInt32 { 0x7574_6c6e }
    static var relayOffset: Int { 32 }

    fileprivate init(device: DevicePointer, context: UInt64) {
        self.device = device
        self.context = context
    }
}

extension UnsafeMutablePointer where Pointee == Timeline {
    // MARK: Life

    static func make(device: DevicePointer) throws(Status) -> TimelinePointer {
        try device.checkOpen()
        guard let memory = device.cache(.timeline).take() else { throw Status.noMemory }
        let timeline = memory.bindMemory(to: Timeline.self, capacity: 1)
        timeline.initialize(to: Timeline(device: device, context: device.nextContext()))
        device.retain()
        device.handleCreated(.timeline)
        return timeline
    }

    func retain() { pointee.count.retain() }

    func drop() {
        guard pointee.count.drop() else { return }
        let device = pointee.device
        invariant(pointee.pending == 0, "a timeline was freed with points pending")
        if let ring = pointee.ring { device.pointee.memory.deallocateArray(ring, count: pointee.capacity) }
        pointee.magic = 0
        deinitialize(count: 1)
        device.cache(.timeline).give(UnsafeMutableRawPointer(self))
        device.drop()
    }

    /// The caller lets go of a handle. Points that are pending still signal.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        pointee.device.handleDropped(.timeline)
        drop()
    }

    // MARK: Adding points

    /// Adds a point that is reached when `fence` has signalled and all before it are reached.
    /// - Failure: invalid if `seqno` does not grow; closed; noMemory. Nothing is added then.
    func add(_ seqno: UInt64, awaiting fence: FencePointer) throws(Status) {
        try pointee.device.checkOpen()
        let point = try TimelinePointPointer.make(on: self, seqno: seqno, awaiting: fence)
        try append(point)
        Relay.open { point.start(on: fence) }
    }

    /// Adds a point that is reached when all before it are.
    /// - Failure: as of add; noMemory only if points are pending.
    func signal(_ seqno: UInt64) throws(Status) {
        try pointee.device.checkOpen()
        if try advance(to: seqno) { return }
        let point = try TimelinePointPointer.make(on: self, seqno: seqno, awaiting: nil)
        try append(point)
        Relay.open { self.completed(point, error: 0) }
    }

    /// Nothing is pending: no point is needed.
    private func advance(to seqno: UInt64) throws(Status) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if seqno <= pointee.last { throw Status.invalid }
        if pointee.pending != 0 { return false }
        pointee.last = seqno
        pointee.reached = seqno
        return true
    }

    /// Puts the point in the ring; it is still to be started. Takes it over, also on failure.
    private func append(_ point: TimelinePointPointer) throws(Status) {
        do throws(Status) {
            pointee.lock.acquire()
            defer { pointee.lock.release() }
            if point.seqno <= pointee.last { throw Status.invalid }
            try reserve(1)
            put(point)
        } catch {
            point.discard()
            throw error
        }
    }

    /// Room in the ring for so many more.
    private func reserve(_ more: Int) throws(Status) {
        let needed = pointee.pending &+ more
        if needed <= pointee.capacity { return }
        let memory = pointee.device.pointee.memory
        var capacity = max(8, 2 * pointee.capacity)
        while capacity < needed { capacity *= 2 }
        guard let ring = memory.allocateArray(of: TimelinePointPointer.self, count: capacity) else {
            throw Status.noMemory
        }
        if let old = pointee.ring {
            for index in 0..<pointee.pending { (ring + index).initialize(to: place(index).pointee) }
            memory.deallocateArray(old, count: pointee.capacity)
        }
        pointee.ring = ring
        pointee.capacity = capacity
        pointee.first = 0
    }

    /// There is room, and its number grows.
    private func put(_ point: TimelinePointPointer) {
        place(pointee.pending).initialize(to: point)
        pointee.pending = pointee.pending &+ 1
        pointee.last = point.seqno
        pointee.device.workBegan()
    }

    /// Of the index-th pending point. The capacity is a power of two.
    private func place(_ index: Int) -> UnsafeMutablePointer<TimelinePointPointer> {
        pointee.ring.unsafelyUnwrapped + ((pointee.first &+ index) & (pointee.capacity &- 1))
    }

    // MARK: Adding points to several timelines

    /// Puts all points of a list in the rings of their timelines, or none; they are still to be started. A number that
    /// others have seen cannot be taken back: so the timelines' locks are held together until nothing can fail any
    /// more.
    /// - Parameter first: of the list, which is in the order of the timelines' addresses, and for each timeline in the
    ///   order in which its points are added.
    /// - Failure: invalid if a number does not grow; noMemory.
    static func push(_ first: TimelinePointLinkPointer) throws(Status) {
        acquireLocks(first)
        defer { releaseLocks(first) }
        try checkNumbers(first)
        try reserveRoom(first)
        var next: TimelinePointLinkPointer? = first
        while let link = next {
            link.timeline.put(link.pointee.point!)
            next = link.pointee.next
        }
    }

    private static func acquireLocks(_ first: TimelinePointLinkPointer) {
        first.timeline.pointee.lock.acquire()
        var link = first
        while let next = link.pointee.next {
            if next.timeline != link.timeline {
                next.timeline.pointee.lock.acquire(beside: link.timeline.pointee.lock)
            }
            link = next
        }
    }

    private static func releaseLocks(_ first: TimelinePointLinkPointer) {
        var link = first
        while let next = link.pointee.next {
            if next.timeline != link.timeline { next.timeline.pointee.lock.releaseBesideOthers() }
            link = next
        }
        first.timeline.pointee.lock.release()
    }

    private static func checkNumbers(_ first: TimelinePointLinkPointer) throws(Status) {
        var last = first.timeline.pointee.last
        var link = first
        while true {
            let seqno = link.pointee.point!.seqno
            if seqno <= last { throw Status.invalid }
            guard let next = link.pointee.next else { return }
            last = next.timeline == link.timeline ? seqno : next.timeline.pointee.last
            link = next
        }
    }

    private static func reserveRoom(_ first: TimelinePointLinkPointer) throws(Status) {
        var link = first
        var count = 1
        while true {
            let next = link.pointee.next
            if let next, next.timeline == link.timeline {
                count += 1
            } else {
                try link.timeline.reserve(count)
                count = 1
            }
            guard let next else { return }
            link = next
        }
    }

    // MARK: Reaching points

    /// What the point waited for by itself has happened.
    func completed(_ point: TimelinePointPointer, error: Int32) {
        pointee.lock.acquire()
        let awaited = point.complete(error: error)
        let drains = !pointee.isDraining && place(0).pointee.isDone
        if drains { pointee.isDraining = true }
        pointee.lock.release()
        awaited?.drop()
        guard drains else { return }
        retain()
        let relay = memberPointer(of: self, at: Timeline.relayOffset, as: RelayItem.self)
        Relay.hand(relay, context: UnsafeMutableRawPointer(self)) { timeline in
            timeline.assumingMemoryBound(to: Timeline.self).drain()
        }
    }

    /// Signals what has been reached. Takes over a reference.
    fileprivate func drain() {
        let device = pointee.device
        while let point = takeReached() {
            point.fence.signalInTurn(error: point.error, at: device.now)
            point.fence.drop()
            device.workEnded()
        }
        drop()
    }

    /// With the ring's reference. Nil: the drain has ended.
    private func takeReached() -> TimelinePointPointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard pointee.pending > 0, place(0).pointee.isDone else {
            pointee.isDraining = false
            return nil
        }
        let point = place(0).pointee
        pointee.first = (pointee.first &+ 1) & (pointee.capacity &- 1)
        pointee.pending = pointee.pending &- 1
        pointee.reached = point.seqno
        return point
    }

    // MARK: Asking

    /// The highest seqno reached.
    var value: UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.reached
    }

    /// A fence that signals when `seqno` has been reached, with a reference: that of the first point from `seqno` on.
    /// - Failure: again if there is no such point yet.
    func fence(at seqno: UInt64) throws(Status) -> FencePointer {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if seqno <= pointee.reached { return pointee.device.signalledFence }
        if seqno > pointee.last { throw Status.again }
        let fence = place(index(of: seqno)).pointee.fence
        fence.retain()
        return fence
    }

    /// How many pending points are before `seqno`.
    private func index(of seqno: UInt64) -> Int {
        var (low, high) = (0, pointee.pending)
        while low < high {
            let middle = (low &+ high) / 2
            if place(middle).pointee.seqno < seqno { low = middle &+ 1 } else { high = middle }
        }
        return low
    }

    /// How many points up to that of `seqno` are pending. Never grows.
    func pendingCount(upTo seqno: UInt64) -> Int {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return lockedPendingCount(upTo: seqno)
    }

    private func lockedPendingCount(upTo seqno: UInt64) -> Int {
        let before = index(of: seqno)
        return before < pointee.pending && place(before).pointee.seqno == seqno ? before &+ 1 : before
    }

    /// The fences that the points up to `seqno` still wait for, with a reference each; how many they are.
    func copyAwaited(upTo seqno: UInt64, to fences: UnsafeMutablePointer<FencePointer>, limit: Int) -> Int {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        let pending = lockedPendingCount(upTo: seqno)
        invariant(pending <= limit, "points were added to a timeline before others")
        var copied = 0
        for index in 0..<pending {
            guard let fence = place(index).pointee.awaited else { continue }
            fence.retain()
            (fences + copied).initialize(to: fence)
            copied &+= 1
        }
        return copied
    }

    // MARK: Invariants

    /// For tests.
    func checkInvariants() {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var previous = pointee.reached
        for index in 0..<pointee.pending {
            let point = place(index).pointee
            invariant(point.seqno > previous, "the points of a timeline are out of order")
            invariant(!point.fence.isSignalled, "a point of a timeline signalled before it was reached")
            previous = point.seqno
        }
        invariant(previous <= pointee.last, "a timeline has a point behind its last")
        invariant(pointee.capacity & (pointee.capacity &- 1) == 0, "a timeline's ring has an odd size")
        if pointee.pending > 0, place(0).pointee.isDone {
            invariant(pointee.isDraining, "a point of a timeline is done and nobody signals it")
        }
    }

    /// Points not reached.
    var pendingCount: Int {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.pending
    }
}
