// ZoneAllocator: reserving a range and releasing it.

import CSystem

/// The checked form of struct unbind_range_request, but for what depends on the zone.
struct ZoneRequest {
    enum Place {
        case anywhere(Placement)
        case fixed(UInt64)
    }

    var size: UInt64
    /// 0: the zone's.
    var alignment: UInt64 = 0
    var zone = 0
    var place = Place.anywhere(.best)
    var tag: UInt64 = 0
    /// Whether the caller can be given a fence to wait for.
    var takesFence = true
}

extension UnsafeMutablePointer where Pointee == ZoneAllocator {
    // MARK: Reserving

    /// Reserves a range: its address, and what to wait for before it is used, with a reference.
    /// - Failure: invalid, noDevice, noSpace, busy, closed, noMemory. Nothing has changed then.
    func reserve(_ request: ZoneRequest) throws(Status) -> (address: UInt64, fence: FencePointer?) {
        try device.checkOpen()
        guard request.zone < pointee.zoneCount else { throw Status.invalid }
        let zone = zone(request.zone)
        let alignment = max(request.alignment, zone.pointee.alignment)
        guard request.size != 0, isAligned(request.size, to: zone.pointee.alignment) else { throw Status.invalid }
        if case .fixed(let address) = request.place {
            guard isAligned(address, to: alignment) else { throw Status.invalid }
            guard zone.contains(address), zone.limit &- address >= request.size else { throw Status.noDevice }
        }
        let records = tracker.pointee.records
        guard let memory = records.take() else { throw Status.noMemory }
        let range = memory.bindMemory(to: OwnedRange.self, capacity: 1)
        range.initialize(to: OwnedRange(tracker: tracker, zone: zone, tag: request.tag))

        let completed = tracker.enter()
        do throws(Status) {
            try take(range, request, alignment: alignment)
        } catch {
            tracker.leave(completed)
            records.give(memory)
            throw error
        }
        let (address, last) = (range.address, range.last)
        if tracker.unfinishedCount(from: address, through: last) == 0 {
            tracker.leave(completed)
            return (address, nil)
        }
        // What may fail now does so before others can see that the range is taken.
        do throws(Status) {
            if !request.takesFence { throw Status.busy }
            let owners = try FormerOwners(from: address, through: last, in: tracker)
            tracker.leave(completed)
            return (address, owners.merged())
        } catch {
            giveBack(range)
            tracker.leave(completed)
            records.give(memory)
            throw error
        }
    }

    /// - Locking: held.
    private func take(_ range: OwnedRangePointer, _ request: ZoneRequest, alignment: UInt64) throws(Status) {
        let ranges = range.zone.ranges
        guard tracker.index.reserve() else { throw Status.noMemory }
        do throws(Status) {
            switch request.place {
            case .anywhere(let placement):
                try ranges.insert(
                    range.range, size: request.size, alignment: alignment, color: 0, placement: placement, from: 0,
                    to: .max)
            case .fixed(let address):
                try ranges.reserve(range.range, start: address, size: request.size, color: 0)
            }
        } catch {
            tracker.index.unreserve()
            throw error
        }
        range.zone.count(range, as: .used)
    }

    // MARK: Releasing

    /// - Locking: held.
    private func giveBack(_ range: OwnedRangePointer) {
        range.zone.uncount(range, as: .used)
        range.zone.ranges.remove(range.range)
        tracker.index.unreserve()
    }

    /// The range that begins at the address and is in use.
    /// - Locking: held.
    private func usedRange(at address: UInt64) -> OwnedRangePointer? {
        guard let (zone, _) = zone(containing: address), let node = zone.ranges.node(containing: address) else {
            return nil
        }
        let range = OwnedRangePointer(having: node)
        return range.address == address && range.pointee.state == .used ? range : nil
    }

    /// - Failure: invalid, if no range in use begins there.
    func release(_ address: UInt64) throws(Status) {
        let completed = tracker.enter()
        guard let range = usedRange(at: address) else {
            tracker.leave(completed)
            throw Status.invalid
        }
        giveBack(range)
        tracker.leave(completed)
        tracker.pointee.records.give(UnsafeMutableRawPointer(range))
    }

    /// Releases the range once the fence has signalled; with `isReusable` it is free now, and who reserves any of it
    /// is given the fence.
    /// - Failure: as above.
    func release(_ address: UInt64, after fence: FencePointer, isReusable: Bool) throws(Status) {
        let completed = tracker.enter()
        guard let range = usedRange(at: address) else {
            tracker.leave(completed)
            throw Status.invalid
        }
        if tracker.insert(range.tracked, start: range.address, last: range.last, fence: fence) {
            let state = isReusable ? OwnedRange.State.reusable : .waiting
            range.zone.uncount(range, as: .used)
            range.zone.count(range, as: state)
            if isReusable { range.zone.ranges.remove(range.range) }
            range.pointee.state = state
            tracker.leave(completed)
            return
        }
        giveBack(range)
        tracker.leave(completed)
        tracker.pointee.records.give(UnsafeMutableRawPointer(range))
    }
}
