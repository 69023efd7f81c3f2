// ZoneAllocator: what is at an address, and how much there is of what.

/// What an address is.
struct ZoneAddress {
    /// Nil: free.
    var state: OwnedRange.State?
    var start: UInt64 = 0
    var size: UInt64 = 0
    var tag: UInt64 = 0
    var zone = 0
    /// How many that have not signalled concern any of it.
    var fences = 0
}

struct ZoneSums {
    var size: UInt64 = 0
    var usedBytes: UInt64 = 0
    var waitingBytes: UInt64 = 0
    var used = 0
    var waiting = 0
    var reusable = 0
}

extension UnsafeMutablePointer where Pointee == ZoneAllocator {
    /// - Failure: noDevice, if the address is in no zone.
    func lookup(_ address: UInt64) throws(Status) -> ZoneAddress {
        guard let (zone, index) = zone(containing: address) else { throw Status.noDevice }
        let completed = tracker.enter()
        defer { tracker.leave(completed) }
        var answer = ZoneAddress(zone: index)
        if let node = zone.ranges.node(containing: address) {
            let range = OwnedRangePointer(having: node)
            answer.state = range.pointee.state
            answer.start = range.address
            answer.size = range.size
            answer.tag = range.pointee.tag
        } else {
            let hole = zone.ranges.hole(around: address)
            answer.start = hole.lowerBound
            answer.size = hole.upperBound &- hole.lowerBound
        }
        answer.fences = tracker.unfinishedCount(
            from: answer.start, through: answer.start &+ (answer.size &- 1))
        return answer
    }

    /// Of one zone, or of all.
    /// - Failure: invalid, if there is no such zone.
    func sums(zone wanted: Int?) throws(Status) -> ZoneSums {
        if let wanted, wanted >= pointee.zoneCount { throw Status.invalid }
        let completed = tracker.enter()
        defer { tracker.leave(completed) }
        var sums = ZoneSums()
        for index in 0..<pointee.zoneCount where wanted == nil || index == wanted {
            let zone = zone(index)
            sums.size &+= zone.size
            sums.usedBytes &+= zone.pointee.usedBytes
            sums.waitingBytes &+= zone.pointee.waitingBytes
            sums.used &+= zone.pointee.used
            sums.waiting &+= zone.pointee.waiting
            sums.reusable &+= zone.pointee.reusable
        }
        return sums
    }

    /// For tests.
    func checkInvariants() {
        let completed = tracker.enter()
        tracker.index.checkInvariants()
        var inIndex = 0
        for index in 0..<pointee.zoneCount {
            let zone = zone(index)
            zone.ranges.checkInvariants()
            invariant(
                zone.ranges.count == zone.pointee.used + zone.pointee.waiting
                    && zone.ranges.allocatedBytes == zone.pointee.usedBytes + zone.pointee.waitingBytes,
                "a zone counted its ranges wrongly")
            inIndex += zone.pointee.waiting + zone.pointee.reusable
        }
        invariant(tracker.index.count == inIndex, "a released range is not in the tracker, or another is")
        tracker.leave(completed)
    }
}
