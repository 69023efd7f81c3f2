// History: what happened at the addresses of one address space lately, for fault reports and dumps.
//
// A ring of fixed size: the oldest record makes room for the newest. Records are made in signalling sections, so the
// memory is taken at creation; it is not touched before it is needed. Of a bind or unbind that is over within its call
// only the end is recorded. A history that remembers nothing has a ring of one record, which nobody reads: so making a
// record need not ask.
//
// Life: of its address space. Locking: its own lock, a BriefLock held for a few records or one scan; callers may hold any.
// What changes when a record is made belongs to that lock, too: the holds of VMAResources, and how many unbinds are
// pending.

import Synchronization

enum HistoryOperation: UInt8 {
    case bindScheduled
    /// The page-table entries are written.
    case bound
    case unbindScheduled
    /// All it awaited is done.
    case unbindStarted
    /// The page-table entries are cleared and the TLB invalidated.
    case unbindCompleted

    var name: StaticString {
        switch self {
        case .bindScheduled: "bind scheduled"
        case .bound: "bound"
        case .unbindScheduled: "unbind scheduled"
        case .unbindStarted: "unbind started"
        case .unbindCompleted: "unbind completed"
        }
    }
}

struct HistoryRecord {
    var time: UInt64
    var start: UInt64
    var size: UInt64
    /// The buffer's id, and the operation in the upper byte.
    private let bits: UInt64

    @inline(__always)
    init(time: UInt64, start: UInt64, size: UInt64, boID: UInt64, operation: HistoryOperation) {
        self.time = time
        self.start = start
        self.size = size
        bits = boID | UInt64(operation.rawValue) &<< 56
    }

    var boID: UInt64 { bits & 0x00FF_FFFF_FFFF_FFFF }

    var operation: HistoryOperation { HistoryOperation(rawValue: UInt8(truncatingIfNeeded: bits &>> 56))! }

    @inline(__always)
    func covers(_ address: UInt64) -> Bool { address >= start && address &- start < size }

    /// True of the unbind of a mapping, by itself or with neighbours, if this was its bind.
    @inline(__always)
    func isWithin(_ unbind: HistoryRecord) -> Bool {
        boID == unbind.boID && start >= unbind.start && size <= unbind.size
            && start &- unbind.start <= unbind.size &- size
    }

    /// True if both are of the same mapping, or of two that look alike.
    @inline(__always)
    func isSameMapping(as other: HistoryRecord) -> Bool {
        boID == other.boID && start == other.start && size == other.size
    }
}

/// A mapping as a fault report tells of it.
struct RememberedMapping: Equatable {
    var boID: UInt64
    var start: UInt64
    var size: UInt64
    /// When its entries were written; 0 if that is no longer remembered, or has not happened yet.
    var boundAt: UInt64
    /// When its unbind was scheduled; 0 if it is still bound.
    var unboundAt: UInt64
}

typealias HistoryPointer = UnsafeMutablePointer<History>

struct History: ~Copyable {
    /// First, and plain: see the note on ThreadSanitizer in ARCHITECTURE.md.
    fileprivate let memory: UnsafeMutablePointer<Memory>
    fileprivate let lock = BriefLock()
    private let gap = CacheLineGap()
    /// Records made so far; number n is at n % capacity. Under the lock.
    fileprivate var count: UInt64 = 0
    /// Of the newest record.
    fileprivate var latest: UInt64 = 0
    /// Where the next one goes.
    fileprivate var next = 0
    fileprivate let records: UnsafeMutablePointer<HistoryRecord>
    /// Of the ring.
    fileprivate let capacity: Int
    let remembers: Bool

    static var defaultCapacity: Int { 4096 }
    /// Records under one hold of the lock, which other threads spin for.
    fileprivate static var searchedAtOnce: UInt64 { 256 }

    fileprivate init(
        memory: UnsafeMutablePointer<Memory>, records: UnsafeMutablePointer<HistoryRecord>, capacity: Int,
        remembers: Bool
    ) {
        self.memory = memory
        self.records = records
        self.capacity = capacity
        self.remembers = remembers
    }
}

extension UnsafeMutablePointer where Pointee == History {
    // MARK: Life

    /// - Parameter capacity: 0: nothing is remembered.
    /// - Failure: noMemory; nothing is left behind.
    static func make(
        capacity wanted: Int = History.defaultCapacity, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> HistoryPointer {
        let capacity = max(wanted, 1)
        guard let history = memory.allocateApart(of: History.self) else { throw Status.noMemory }
        guard let records = memory.allocateArray(of: HistoryRecord.self, count: capacity) else {
            memory.deallocateApart(history)
            throw Status.noMemory
        }
        history.initialize(to: History(memory: memory, records: records, capacity: capacity, remembers: wanted > 0))
        return history
    }

    func free() {
        let memory = pointee.memory
        memory.deallocateArray(pointee.records, count: pointee.capacity)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    // MARK: Writing

    /// An approximate time, which may be some milliseconds back, is taken for that of the record before, if that is
    /// later.
    /// - Locking: takes the history's lock.
    /// - Signalling: allowed; never allocates.
    func record(
        _ operation: HistoryOperation, start: UInt64, size: UInt64, boID: UInt64, time: UInt64,
        isApproximate: Bool = false
    ) {
        withLock {
            recordLocked(operation, start: start, size: size, boID: boID, time: time, isApproximate: isApproximate)
        }
    }

    /// As record. What changes at the same time belongs to the same lock, because another one would cost as much again.
    /// - Locking: the history's lock is held.
    @inline(__always)
    func recordLocked(
        _ operation: HistoryOperation, start: UInt64, size: UInt64, boID: UInt64, time: UInt64,
        isApproximate: Bool = false
    ) {
        let place = pointee.next
        let latest = isApproximate ? Swift.max(time, pointee.latest) : time
        pointee.count = pointee.count &+ 1
        pointee.next = place &+ 1 == pointee.capacity ? 0 : place &+ 1
        pointee.latest = latest
        (pointee.records + place).initialize(
            to: HistoryRecord(time: latest, start: start, size: size, boID: boID, operation: operation))
    }

    /// Changes something that belongs to the lock: a few instructions, or a few for each of some.
    @inline(__always)
    func withLock<R>(_ change: () -> R) -> R {
        pointee.lock.acquire()
        let result = change()
        pointee.lock.release()
        return result
    }

    // MARK: Reading

    /// The mapping that was last bound at the address, or nil if nothing is remembered. One whose binding has left
    /// the ring is found by its unbind; one that is only scheduled to be bound is the answer when there was no other.
    /// - Locking: takes the history's lock, for a scan of the whole ring.
    func lastMapping(covering address: UInt64) -> RememberedMapping? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var scheduled: HistoryRecord?
        var unbinding: HistoryRecord?
        var unboundFrom = oldest
        var number = pointee.count
        while number > oldest {
            number &-= 1
            let record = pointee.records[slot(of: number)]
            if !record.covers(address) { continue }
            switch record.operation {
            case .bound:
                return mapping(of: record, boundAt: record.time, unbindSearchedFrom: number &+ 1)
            case .bindScheduled:
                if scheduled == nil { scheduled = record }
            case .unbindScheduled, .unbindStarted, .unbindCompleted:
                if unbinding == nil { unbinding = record }
                // The steps of one unbind: the search forward begins at its first.
                if let unbinding, unbinding.isSameMapping(as: record) { unboundFrom = number }
            }
        }
        if let unbinding { return mapping(of: unbinding, boundAt: 0, unbindSearchedFrom: unboundFrom) }
        guard let scheduled else { return nil }
        return mapping(of: scheduled, boundAt: 0, unbindSearchedFrom: pointee.count)
    }

    /// Calls `body` for the latest records, newest first, at most `limit` of them. What is overwritten meanwhile is
    /// left out.
    /// - Locking: takes the history's lock now and then; `body` runs without it.
    func forEachRecent(limit: Int, _ body: (HistoryRecord) -> Void) {
        LockOrder.assertNoneHeld("a history was dumped with a lock held")
        let blank = HistoryRecord(time: 0, start: 0, size: 0, boID: 0, operation: .bound)
        var chunk = InlineArray<16, HistoryRecord>(repeating: blank)
        pointee.lock.acquire()
        var number = pointee.count
        pointee.lock.release()
        var left = limit
        while left > 0 {
            var copied = 0
            pointee.lock.acquire()
            while copied < chunk.count, copied < left, number > oldest {
                number &-= 1
                chunk[copied] = pointee.records[slot(of: number)]
                copied &+= 1
            }
            pointee.lock.release()
            if copied == 0 { return }
            for index in 0..<copied { body(chunk[index]) }
            left -= copied
        }
    }

    /// Calls `body` for the records whose range covers the address, newest first. What is made or overwritten
    /// meanwhile is left out.
    /// - Locking: takes the history's lock for a part of the ring at a time; `body` runs without it.
    func forEachRecent(covering address: UInt64, _ body: (HistoryRecord) -> Void) {
        LockOrder.assertNoneHeld("a history was searched with a lock held")
        let blank = HistoryRecord(time: 0, start: 0, size: 0, boID: 0, operation: .bound)
        var chunk = InlineArray<16, HistoryRecord>(repeating: blank)
        pointee.lock.acquire()
        var number = pointee.count
        pointee.lock.release()
        while true {
            var copied = 0
            pointee.lock.acquire()
            let oldest = oldest
            let end = max(oldest, number.subtractingSaturating(History.searchedAtOnce))
            while copied < chunk.count, number > end {
                number &-= 1
                let record = pointee.records[slot(of: number)]
                if record.covers(address) {
                    chunk[copied] = record
                    copied &+= 1
                }
            }
            pointee.lock.release()
            for index in 0..<copied { body(chunk[index]) }
            if number <= oldest { return }
        }
    }

    // MARK: Parts (lock held)

    /// The number of the oldest record that is still in the ring.
    private var oldest: UInt64 {
        pointee.remembers ? pointee.count.subtractingSaturating(UInt64(pointee.capacity)) : pointee.count
    }

    @inline(__always)
    private func slot(of number: UInt64) -> Int { Int(truncatingIfNeeded: number % UInt64(pointee.capacity)) }

    private func mapping(
        of record: HistoryRecord, boundAt: UInt64, unbindSearchedFrom first: UInt64
    ) -> RememberedMapping {
        var mapping = RememberedMapping(
            boID: record.boID, start: record.start, size: record.size, boundAt: boundAt, unboundAt: 0)
        var number = first
        while number < pointee.count {
            let later = pointee.records[slot(of: number)]
            switch later.operation {
            case .unbindScheduled, .unbindStarted, .unbindCompleted:
                if record.isWithin(later) {
                    mapping.unboundAt = later.time
                    return mapping
                }
            case .bindScheduled, .bound: break
            }
            number &+= 1
        }
        return mapping
    }
}
