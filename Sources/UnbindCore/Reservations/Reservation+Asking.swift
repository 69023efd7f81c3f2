// Reservation: looking at the fences without taking any out: as a list, or one by one while others add to it
// (dma_resv_get_fences, dma_resv_iter).

/// The place of somebody who goes through the fences of a reservation, letting go of its lock in between. Kept by the
/// caller of the library (struct unbind_fence_cursor).
struct ReservationCursor {
    /// `magic` once begun.
    var magic: UInt32
    let usage: UInt32
    /// Of the next slot to look at.
    fileprivate(set) var index: Int
    /// The reservation's when the pass began.
    fileprivate(set) var generation: UInt64

    static var magic: UInt32 { 0x7563_7572 }
}

/// What a cursor came to.
enum ReservationStep {
    /// With a reference.
    case fence(FencePointer, FenceUsage)
    /// The fences have changed since the pass began: the cursor is at the beginning again.
    case changed
    case end
}

extension UnsafeMutablePointer where Pointee == Reservation {
    /// Copies slots of fences that have not signalled to `slots`, which has room for `count`, with a reference each.
    func copyUnsignalled(to slots: UnsafeMutablePointer<Reservation.Slot>) -> Int {
        var copied = 0
        for index in 0..<pointee.count where isUnsignalled(index, .bookkeep) {
            let slot = pointee.slots.unsafelyUnwrapped[index]
            slot.fence.retain()
            (slots + copied).initialize(to: slot)
            copied += 1
        }
        return copied
    }

    private func isUnsignalled(_ index: Int, _ usage: FenceUsage) -> Bool {
        let slot = pointee.slots.unsafelyUnwrapped[index]
        return slot.usage.rawValue <= usage.rawValue && !slot.fence.isSignalled
    }

    // MARK: One by one

    func makeCursor(usage: FenceUsage) -> ReservationCursor {
        ReservationCursor(
            magic: ReservationCursor.magic, usage: UInt32(usage.rawValue), index: 0, generation: pointee.generation)
    }

    /// The next fence that has not signalled.
    func step(_ cursor: inout ReservationCursor, usage: FenceUsage) -> ReservationStep {
        if cursor.generation != pointee.generation {
            cursor = makeCursor(usage: usage)
            return .changed
        }
        while cursor.index >= 0, cursor.index < pointee.count {
            let index = cursor.index
            cursor.index += 1
            if !isUnsignalled(index, usage) { continue }
            let slot = pointee.slots.unsafelyUnwrapped[index]
            slot.fence.retain()
            return .fence(slot.fence, slot.usage)
        }
        return .end
    }
}
