// Reservation: the fences of everything that uses one buffer object (dma_resv, drivers/dma-buf/dma-resv.c).
//
// Each fence has a usage; asking at a usage gives that one and all stronger ones. A slot is reserved before the
// operation that will need it may still fail, and filled after its point of no return: `add` cannot fail.
//
// Unlike the kernel's, reservations add up (P2): reserve(1) twice is two slots. A fence without a timeline (context
// 0) never replaces another (P11).
//
// - Locking: everything is called with `lock` held.

import CSystem

/// Weakest last: a question at one usage includes those before it.
enum FenceUsage: UInt8 {
    /// Moves and clears of the memory itself.
    case kernel
    case write
    case read
    /// Whatever else must end before the memory goes.
    case bookkeep
}

struct Reservation: ~Copyable {
    struct Slot {
        let fence: FencePointer
        let usage: FenceUsage
    }

    private var magic: UInt32 = 0
    let lock = FutexLock(.reservation)
    fileprivate let memory: UnsafeMutablePointer<Memory>
    fileprivate(set) var slots: UnsafeMutablePointer<Slot>?
    fileprivate(set) var count = 0
    /// Of them, those of the usage that every bind asks for.
    fileprivate var kernelCount = 0
    fileprivate var reserved = 0
    fileprivate var capacity = 0
    /// Changes whenever a fence comes, or goes from before the end: for those who go through the slots bit by bit.
    fileprivate(set) var generation: UInt64 = 0

    /// How far back `add` looks for a fence to replace.
    fileprivate static var supersedeLimit: Int { 16 }

    init(memory: UnsafeMutablePointer<Memory>) { self.memory = memory }
}

extension UnsafeMutablePointer where Pointee == Reservation {
    /// Drops all fences. Nothing may be reserved or waiting.
    func dispose() {
        invariant(pointee.reserved == 0, "a reservation was disposed of with slots reserved")
        for index in 0..<pointee.count { pointee.slots![index].fence.drop() }
        if let slots = pointee.slots { pointee.memory.deallocateArray(slots, count: pointee.capacity) }
        pointee.slots = nil
        pointee.count = 0
    }

    /// Makes sure that `add` can be called `slots` more times.
    /// - Failure: noMemory; nothing is reserved then.
    func reserve(_ slots: Int) throws(Status) {
        let needed = pointee.count + pointee.reserved + slots
        if needed > pointee.capacity {
            prune()
            let left = pointee.count + pointee.reserved + slots
            if left > pointee.capacity {
                try grow(to: needed)
            } else if left > pointee.capacity / 4 * 3 {
                // It would be full again soon, and pruned in vain each time.
                do throws(Status) { try grow(to: needed) } catch {}
            }
        }
        pointee.reserved += slots
    }

    /// Gives reserved slots back.
    func unreserve(_ slots: Int) {
        invariant(pointee.reserved >= slots, "more reservation slots were given back than were reserved")
        pointee.reserved -= slots
    }

    /// Fills a reserved slot; retains the fence. An earlier fence of the same timeline and of the same or a weaker
    /// usage gives up its slot, if it is among the last few; one that is missed costs a slot until it has signalled.
    func add(_ fence: FencePointer, usage: FenceUsage) {
        invariant(pointee.reserved > 0, "a fence was added to a reservation without a reserved slot")
        pointee.reserved -= 1
        pointee.generation = pointee.generation &+ 1
        fence.retain()
        if fence.context != 0 {
            var index = pointee.count - 1
            let end = max(-1, index - Reservation.supersedeLimit)
            while index > end {
                let slot = pointee.slots![index]
                if slot.usage.rawValue >= usage.rawValue, fence.supersedes(slot.fence) {
                    if usage == .kernel, slot.usage != .kernel { pointee.kernelCount += 1 }
                    pointee.slots![index] = Reservation.Slot(fence: fence, usage: usage)
                    slot.fence.drop()
                    return
                }
                index -= 1
            }
        }
        pointee.slots![pointee.count] = Reservation.Slot(fence: fence, usage: usage)
        pointee.count += 1
        if usage == .kernel { pointee.kernelCount += 1 }
    }

    /// A fence at this usage or a stronger one that has not signalled, with a reference for the caller. Takes the
    /// last one, and forgets the signalled ones behind it, so that waiting for all of many does not look at each
    /// again and again.
    func anyUnsignalled(usage: FenceUsage) -> FencePointer? {
        if hasNone(usage) { return nil }
        var index = pointee.count - 1
        while index >= 0 {
            let slot = pointee.slots![index]
            if slot.fence.isSignalled {
                if index == pointee.count - 1 {
                    pointee.count = index
                    drop(slot)
                }
            } else if slot.usage.rawValue <= usage.rawValue {
                slot.fence.retain()
                return slot.fence
            }
            index -= 1
        }
        return nil
    }

    /// Calls body with each fence at this usage or a stronger one that has not signalled.
    func forEachUnsignalled(usage: FenceUsage, _ body: (FencePointer) -> Void) {
        if hasNone(usage) { return }
        for index in 0..<pointee.count {
            let slot = pointee.slots![index]
            if slot.usage.rawValue <= usage.rawValue, !slot.fence.isSignalled { body(slot.fence) }
        }
    }

    /// Fences held, signalled ones included.
    var count: Int { pointee.count }

    /// Nothing has been added at this usage, which is known of the strongest.
    @inline(__always)
    func hasNone(_ usage: FenceUsage) -> Bool { usage == .kernel && pointee.kernelCount == 0 }

    private func drop(_ slot: Reservation.Slot) {
        if slot.usage == .kernel { pointee.kernelCount -= 1 }
        slot.fence.drop()
    }

    private func prune() {
        var kept = 0
        for index in 0..<pointee.count {
            let slot = pointee.slots![index]
            if slot.fence.isSignalled {
                drop(slot)
            } else {
                pointee.slots![kept] = slot
                kept += 1
            }
        }
        if kept < pointee.count { pointee.generation = pointee.generation &+ 1 }
        pointee.count = kept
    }

    private func grow(to needed: Int) throws(Status) {
        let capacity = max(4, max(needed, pointee.capacity * 2))
        guard let slots = pointee.memory.allocateArray(of: Reservation.Slot.self, count: capacity) else {
            throw Status.noMemory
        }
        if let old = pointee.slots {
            slots.moveInitialize(from: old, count: pointee.count)
            pointee.memory.deallocateArray(old, count: pointee.capacity)
        }
        pointee.slots = slots
        pointee.capacity = capacity
    }
}
