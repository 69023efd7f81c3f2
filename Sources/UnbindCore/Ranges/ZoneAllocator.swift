// ZoneAllocator: who has which addresses of one or more zones, for programs that keep their own page tables.
//
// A RangeAllocator for each zone, and one RangeTracker for what was released and still waits for a fence. Releasing
// after a fence puts the range's record into the tracker; the range itself is taken until the fence has signalled, or,
// if it may be reused, free at once: whoever reserves any part of it is then given the fences that the tracker has
// there.
//
// - Locking: the tracker's lock guards everything.

typealias ZoneAllocatorPointer = UnsafeMutablePointer<ZoneAllocator>
typealias ZonePointer = UnsafeMutablePointer<Zone>

struct Zone: ~Copyable {
    /// First, so that its address is the zone's.
    fileprivate var ranges: RangeAllocator
    let alignment: UInt64
    var usedBytes: UInt64 = 0
    var waitingBytes: UInt64 = 0
    var used = 0
    var waiting = 0
    var reusable = 0

    /// From one to the next: a RangeAllocator needs more than the alignment of its members.
    static var stride: Int { roundUp(MemoryLayout<Zone>.size, to: 64) }
}

struct ZoneAllocator: ~Copyable {
    /// First: a pointer to it is a pointer to the ZoneAllocator.
    fileprivate let tracker: RangeTracker
    fileprivate let zones: UnsafeMutableRawPointer
    let zoneCount: Int

    static var magic: UInt32 { 0x7572_616c }
}

/// The checked form of struct unbind_range_zone.
struct ZoneDescription {
    let start: UInt64
    let size: UInt64
    let alignment: UInt64
}

extension UnsafeMutablePointer where Pointee == Zone {
    var ranges: UnsafeMutablePointer<RangeAllocator> {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeAllocator.self)
    }

    var base: UInt64 { pointee.ranges.start }
    var limit: UInt64 { pointee.ranges.end }
    var size: UInt64 { limit &- base }

    func contains(_ address: UInt64) -> Bool { base <= address && address < limit }

    /// Enters or leaves the sums of a state.
    /// - Locking: held.
    func count(_ range: OwnedRangePointer, as state: OwnedRange.State) { change(by: 1, range.size, state) }
    func uncount(_ range: OwnedRangePointer, as state: OwnedRange.State) { change(by: -1, 0 &- range.size, state) }

    private func change(by number: Int, _ bytes: UInt64, _ state: OwnedRange.State) {
        switch state {
        case .used:
            pointee.used &+= number
            pointee.usedBytes &+= bytes
        case .waiting:
            pointee.waiting &+= number
            pointee.waitingBytes &+= bytes
        case .reusable: pointee.reusable &+= number
        }
    }
}

extension UnsafeMutablePointer where Pointee == ZoneAllocator {
    var tracker: RangeTrackerPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: RangeTracker.self) }

    var device: DevicePointer { tracker.pointee.device }

    func zone(_ index: Int) -> ZonePointer {
        (pointee.zones + index &* Zone.stride).assumingMemoryBound(to: Zone.self)
    }

    func zone(containing address: UInt64) -> (zone: ZonePointer, index: Int)? {
        for index in 0..<pointee.zoneCount where zone(index).contains(address) { return (zone(index), index) }
        return nil
    }

    // MARK: Life

    /// - Failure: closed, noMemory.
    static func make(
        device: DevicePointer, zoneCount: Int, _ description: (Int) -> ZoneDescription
    ) throws(Status) -> ZoneAllocatorPointer {
        try device.checkOpen()
        let memory = device.pointee.memory
        guard let allocator = memory.allocateApart(of: ZoneAllocator.self) else { throw Status.noMemory }
        guard let zones = memory.allocate(bytes: zoneCount * Zone.stride, alignment: 64) else {
            memory.deallocateApart(allocator)
            throw Status.noMemory
        }
        allocator.initialize(
            to: ZoneAllocator(
                tracker: RangeTracker(
                    device: device, magic: ZoneAllocator.magic, records: device.cache(.ownedRange),
                    leaving: fenceSignalled, release: freeAllocator),
                zones: zones, zoneCount: zoneCount))
        for index in 0..<zoneCount {
            let zone = description(index)
            allocator.zone(index).initialize(
                to: Zone(
                    ranges: RangeAllocator(
                        start: zone.start, size: zone.size, unit: zone.alignment, coloring: false,
                        cache: device.cache(.rangeIndex)),
                    alignment: zone.alignment))
        }
        allocator.tracker.began()
        return allocator
    }

    fileprivate func free() {
        let device = device
        let records = tracker.pointee.records
        tracker.end()
        for index in 0..<pointee.zoneCount {
            let zone = zone(index)
            var ranges = zone.ranges.nodes(from: 0, to: .max)
            while let range = ranges.nextNode() {
                zone.ranges.remove(range)
                records.give(UnsafeMutableRawPointer(OwnedRangePointer(having: range)))
            }
            zone.ranges.dispose()
            zone.deinitialize(count: 1)
        }
        let memory = device.pointee.memory
        memory.deallocate(pointee.zones, bytes: pointee.zoneCount * Zone.stride)
        deinitialize(count: 1)
        memory.deallocateApart(self)
        device.drop()
    }
}

/// A fence that a released range waited for.
private func fenceSignalled(_ tracker: UnsafeMutableRawPointer, _ record: UnsafeMutableRawPointer) {
    let range = record.assumingMemoryBound(to: OwnedRange.self)
    let state = range.pointee.state
    invariant(state != .used, "a range that is in use was in the tracker of its allocator")
    range.zone.uncount(range, as: state)
    if state == .waiting { range.zone.ranges.remove(range.range) }
}

private func freeAllocator(_ memory: UnsafeMutableRawPointer) {
    memory.assumingMemoryBound(to: ZoneAllocator.self).free()
}
