// RangeTracker: which fences concern which addresses, for programs that keep their own page tables (what PendingUnbinds
// is to an address space).
//
// Records (TrackedFence) are in an IntervalIndex as long as their fences have not signalled. A fence that signals
// pushes its record on a list, without any lock; every call takes those out of the index first. So a signal never waits
// for a thread that holds the lock, and a look-up must tolerate fences that have signalled.
//
// A ZoneAllocator begins with one, and is told of each record that leaves the index.
//
// Life: handles, and each fence that may still push a record, hold references. The last handle takes back what hangs on
// fences: nobody can ask any more.
//
// - Locking: `lock` guards the index. No fence is signalled, waited for or dropped for good under it.

import Synchronization

typealias RangeTrackerPointer = UnsafeMutablePointer<RangeTracker>

struct RangeTracker: ~Copyable {
    /// Called under the lock with each record that leaves the index.
    typealias Leaving = @convention(c) (_ tracker: UnsafeMutableRawPointer, _ record: UnsafeMutableRawPointer) -> Void
    /// Frees the object that begins with the tracker.
    typealias Release = @convention(c) (_ tracker: UnsafeMutableRawPointer) -> Void

    /// What a C handle is checked against: that of the object that begins with it.
    var magic: UInt32
    let count = SharedCount()
    let device: DevicePointer
    /// What records are made of.
    let records: UnsafeMutablePointer<SlabCache>
    fileprivate let leaving: Leaving?
    fileprivate let release: Release
    /// At `indexOffset`.
    var index: IntervalIndex
    /// Their fences have signalled, and they are still in the index; the newest first.
    fileprivate let completed = Atomic<TrackedFencePointer?>(nil)
    fileprivate let lock = FutexLock(.rangeTracker)

    static var magic: UInt32 { 0x7574_726b }
    static var indexOffset: Int { 48 }

    init(
        device: DevicePointer, magic: UInt32, records: UnsafeMutablePointer<SlabCache>, leaving: Leaving?,
        release: @escaping Release
    ) {
        self.magic = magic
        self.device = device
        self.records = records
        self.leaving = leaving
        self.release = release
        index = IntervalIndex(memory: device.pointee.memory)
    }
}

extension UnsafeMutablePointer where Pointee == RangeTracker {
    // MARK: Life

    /// - Failure: closed, noMemory.
    static func make(device: DevicePointer) throws(Status) -> RangeTrackerPointer {
        try device.checkOpen()
        guard let tracker = device.pointee.memory.allocateApart(of: RangeTracker.self) else {
            throw Status.noMemory
        }
        tracker.initialize(
            to: RangeTracker(
                device: device, magic: RangeTracker.magic, records: device.cache(.trackedFence), leaving: nil,
                release: freeTracker))
        tracker.began()
        return tracker
    }

    /// The device has one handle more.
    func began() {
        pointee.device.retain()
        pointee.device.handleCreated(.rangeTracker)
    }

    func drop() {
        if pointee.count.drop() { pointee.release(UnsafeMutableRawPointer(self)) }
    }

    /// The caller lets go of a handle; the last one forgets everything.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        pointee.device.handleDropped(.rangeTracker)
        takeBack()
        drop()
    }

    /// Takes the records' callbacks back; those that are being called keep the tracker until then.
    private func takeBack() {
        var taken = 0
        pointee.lock.acquire()
        index.forEachOverlap(start: 0, last: .max) { node, _ in
            let record = TrackedFencePointer(having: node)
            if record.fence.remove(record.callback) {
                push(record)
                taken &+= 1
            }
            return true
        }
        pointee.lock.release()
        for _ in 0..<taken { drop() }
    }

    /// For whoever frees it: nothing hangs on a fence any more.
    func end() {
        leave(enter())
        invariant(index.count == 0, "a range tracker was freed with fences in it")
        index.dispose()
        pointee.magic = 0
    }

    // MARK: The lock

    var index: UnsafeMutablePointer<IntervalIndex> {
        memberPointer(of: self, at: RangeTracker.indexOffset, as: IntervalIndex.self)
    }

    /// Acquires the lock and takes records whose fences have signalled out of the index; they are for `leave`.
    func enter() -> TrackedFencePointer? {
        pointee.lock.acquire()
        if pointee.completed.load(ordering: .relaxed) == nil { return nil }
        let first = pointee.completed.exchange(nil, ordering: .acquiring)
        var next = first
        while let record = next {
            next = record.pointee.next
            index.remove(record.node)
            index.unreserve()
            pointee.leaving?(UnsafeMutableRawPointer(self), UnsafeMutableRawPointer(record))
        }
        return first
    }

    /// Releases the lock and lets go of the records' fences.
    func leave(_ completed: TrackedFencePointer?) {
        pointee.lock.release()
        var next = completed
        while let record = next {
            next = record.pointee.next
            let fence = record.fence
            pointee.records.give(UnsafeMutableRawPointer(record))
            fence.drop()
        }
    }

    /// Hands over a record whose fence has signalled. Any thread, no lock.
    func push(_ record: TrackedFencePointer) {
        var head = pointee.completed.load(ordering: .relaxed)
        while true {
            record.pointee.next = head
            let result = pointee.completed.weakCompareExchange(
                expected: head, desired: record, successOrdering: .releasing, failureOrdering: .relaxed)
            if result.exchanged { return }
            head = result.original
        }
    }

    // MARK: Inserting

    /// Puts a record into the index, reserved for, and hangs it on the fence. False, and nothing changes, if that has
    /// signalled. The caller has a reference to the fence.
    /// - Locking: held.
    func insert(_ record: TrackedFencePointer, start: UInt64, last: UInt64, fence: FencePointer) -> Bool {
        fence.retain()
        record.set(fence)
        pointee.count.retain()
        index.insert(record.node, start: start, last: last)
        if fence.add(record.callback) { return true }
        index.remove(record.node)
        drop()
        fence.drop()
        return false
    }

    /// Remembers a fence, unless it has signalled.
    /// - Failure: closed, noMemory.
    func insert(start: UInt64, last: UInt64, fence: FencePointer) throws(Status) {
        try pointee.device.checkOpen()
        if fence.isSignalled { return }
        guard let memory = pointee.records.take() else { throw Status.noMemory }
        let record = memory.bindMemory(to: TrackedFence.self, capacity: 1)
        record.initialize(to: TrackedFence(tracker: self))
        let completed = enter()
        let isReserved = index.reserve()
        let isInserted = isReserved && insert(record, start: start, last: last, fence: fence)
        if isReserved, !isInserted { index.unreserve() }
        leave(completed)
        if !isInserted { pointee.records.give(memory) }
        if !isReserved { throw Status.noMemory }
    }
}

private func freeTracker(_ memory: UnsafeMutableRawPointer) {
    let tracker = memory.assumingMemoryBound(to: RangeTracker.self)
    let device = tracker.pointee.device
    tracker.end()
    tracker.deinitialize(count: 1)
    device.pointee.memory.deallocateApart(tracker)
    device.drop()
}
