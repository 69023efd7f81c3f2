// OwnedRange: a range that somebody has of a ZoneAllocator, or had. Holds from the start what releasing it will need:
// the record that waits for a fence, and the reservation of its place in the tracker's index.

typealias OwnedRangePointer = UnsafeMutablePointer<OwnedRange>

struct OwnedRange {
    enum State: UInt32 {
        case used
        /// Released; the range is free when the fence has signalled.
        case waiting
        /// Released and free; the next owner waits for the fence.
        case reusable
    }

    /// First: a pointer to it is a pointer to the OwnedRange.
    fileprivate var tracked: TrackedFence
    /// At `rangeOffset`.
    var range = RangeNode()
    let zone: ZonePointer
    /// The caller's.
    let tag: UInt64
    var state = State.used

    static var rangeOffset: Int { roundUp(MemoryLayout<TrackedFence>.size, to: MemoryLayout<RangeNode>.alignment) }

    init(tracker: RangeTrackerPointer, zone: ZonePointer, tag: UInt64) {
        tracked = TrackedFence(tracker: tracker)
        self.zone = zone
        self.tag = tag
    }
}

extension UnsafeMutablePointer where Pointee == OwnedRange {
    init(having range: RangeNodePointer) {
        self = (UnsafeMutableRawPointer(range) - OwnedRange.rangeOffset).assumingMemoryBound(to: OwnedRange.self)
    }

    var tracked: TrackedFencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: TrackedFence.self) }

    var range: RangeNodePointer { memberPointer(of: self, at: OwnedRange.rangeOffset, as: RangeNode.self) }

    var zone: ZonePointer { pointee.zone }
    var address: UInt64 { pointee.range.start }
    var size: UInt64 { pointee.range.size }
    /// The last address.
    var last: UInt64 { address &+ (size &- 1) }
}
