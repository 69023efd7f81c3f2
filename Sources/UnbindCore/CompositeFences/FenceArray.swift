// FenceArray: one fence for many (dma_fence_array, drivers/dma-buf/dma-fence-array.c): signals when all its members
// have, or the first of them has. Made in one piece of memory: the array, then its members.
//
// Life. The references are those of its fence. Beside them there are holds: one for each member that may still call
// back, and one for the array itself until it is torn down, which happens once: when it has signalled, or when nobody
// refers to it any more. Tearing down takes the callbacks back; one that is running meanwhile on another thread keeps
// its hold, so that the memory stays, and finds that the array is not to be signalled. The last hold drops the members.
//
// - Locking: `lock` guards the members against those who look inside (FenceUnwrap). Nothing is called with it held.

import Synchronization

typealias FenceArrayPointer = UnsafeMutablePointer<FenceArray>

struct FenceArray: ~Copyable {
    /// First: a pointer to it is a pointer to the FenceArray.
    fileprivate let fence: OrderedFence
    /// At `relayOffset`.
    var relay = RelayItem()
    /// Opens when the array is to signal, and is committed when all members are known.
    fileprivate let gate = SoftwareFence()
    let signalsOnAny: Bool
    let count: Int
    /// A member has been the first; only for an array that signals on any.
    fileprivate let isClaimed = Atomic<UInt32>(0)
    fileprivate let holds = Atomic<Int32>(1)
    fileprivate let lock = FutexLock(.fenceSet)
    /// Under the lock.
    fileprivate var hasMembers = true
    /// Written with the array's own hold, read with the last reference or hold.
    fileprivate var isTornDown = false
    fileprivate var isDying = false

    static var relayOffset: Int { roundUp(MemoryLayout<OrderedFence>.size, to: MemoryLayout<RelayItem>.alignment) }

    fileprivate static var membersOffset: Int {
        roundUp(MemoryLayout<FenceArray>.size, to: MemoryLayout<FenceArrayMember>.alignment)
    }

    fileprivate static func byteCount(_ members: Int) -> Int {
        membersOffset + members * MemoryLayout<FenceArrayMember>.stride
    }
}

private struct FenceArrayMember {
    /// First: a pointer to it is a pointer to the member.
    var callback: FenceCallback
    /// A counted reference.
    let fence: FencePointer
}

extension UnsafeMutablePointer where Pointee == Device {
    /// One fence for `count` others, which it retains. The fence may have signalled when this returns; with a context
    /// it takes a place in that timeline, and one of the others must be the fence before it there.
    /// - Failure: noMemory.
    func makeFenceArray(
        of fences: UnsafeMutablePointer<FencePointer>, count: Int, signalsOnAny: Bool, context: UInt64 = 0,
        seqno: UInt64 = 0
    ) throws(Status) -> FencePointer {
        let memory = try takeFenceArrayMemory(count)
        return makeFenceArray(
            in: memory, of: fences, count: count, signalsOnAny: signalsOnAny, context: context, seqno: seqno)
    }

    /// For an array of so many: for whoever must not fail once it makes it.
    /// - Failure: noMemory.
    func takeFenceArrayMemory(_ count: Int) throws(Status) -> UnsafeMutableRawPointer {
        guard let memory = pointee.memory.allocate(bytes: FenceArray.byteCount(count), alignment: 16) else {
            throw Status.noMemory
        }
        return memory
    }

    /// It was not needed.
    func giveFenceArrayMemory(_ memory: UnsafeMutableRawPointer, _ count: Int) {
        pointee.memory.deallocate(memory, bytes: FenceArray.byteCount(count))
    }

    /// As above, in memory for as many.
    func makeFenceArray(
        in memory: UnsafeMutableRawPointer, of fences: UnsafeMutablePointer<FencePointer>, count: Int,
        signalsOnAny: Bool, context: UInt64 = 0, seqno: UInt64 = 0
    ) -> FencePointer {
        let array = memory.bindMemory(to: FenceArray.self, capacity: 1)
        array.initialize(
            to: FenceArray(
                fence: OrderedFence(home: fenceHome(.array), context: context, seqno: seqno),
                signalsOnAny: signalsOnAny, count: count))
        for index in 0..<count {
            let fence = fences[index]
            fence.retain()
            array.members.advanced(by: index).initialize(
                to: FenceArrayMember(callback: FenceCallback(function: memberSignalled, context: memory), fence: fence))
        }
        retain()
        workBegan()
        array.start()
        return array.fence
    }
}

extension UnsafeMutablePointer where Pointee == FenceArray {
    fileprivate var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    private var relay: RelayItemPointer { memberPointer(of: self, at: FenceArray.relayOffset, as: RelayItem.self) }

    fileprivate var members: UnsafeMutablePointer<FenceArrayMember> {
        (UnsafeMutableRawPointer(self) + FenceArray.membersOffset).assumingMemoryBound(to: FenceArrayMember.self)
    }

    // MARK: Signalling

    /// Hangs the array on its members.
    fileprivate func start() {
        if pointee.signalsOnAny { pointee.gate.await() }
        for index in 0..<pointee.count {
            let member = members + index
            if !pointee.signalsOnAny { pointee.gate.await() }
            _ = pointee.holds.wrappingAdd(1, ordering: .relaxed)
            if member.pointee.fence.add(UnsafeMutableRawPointer(member).assumingMemoryBound(to: FenceCallback.self)) {
                continue
            }
            let isOpen = complete(error: member.pointee.fence.error)
            invariant(!isOpen, "an array of fences was complete before all its members were known")
            _ = pointee.holds.wrappingSubtract(1, ordering: .relaxed)
            // The rest need not be awaited.
            if pointee.signalsOnAny { break }
        }
        if pointee.gate.commit() {
            // The reference that tearing down drops.
            fence.retain()
            Relay.open { self.signal() }
        }
    }

    /// A member has signalled. True if the array is to signal now.
    private func complete(error: Int32) -> Bool {
        if pointee.signalsOnAny, pointee.isClaimed.exchange(1, ordering: .relaxed) != 0 { return false }
        return pointee.gate.complete(error: error)
    }

    fileprivate func completed(by member: FencePointer) {
        // If nobody refers to the array any more, it is being freed and not to be signalled.
        if complete(error: member.error), fence.tryRetain() {
            Relay.hand(relay, context: UnsafeMutableRawPointer(self)) { array in
                array.assumingMemoryBound(to: FenceArray.self).signal()
            }
        }
        dropHold()
    }

    /// Takes over a reference.
    fileprivate func signal() {
        let device = fence.device
        fence.signalInTurn(error: pointee.gate.error, at: device.now)
        device.workEnded()
        tearDown()
    }

    // MARK: Life

    /// Whoever took back or lost a member's callback, or the array's own hold.
    private func dropHold() {
        guard pointee.holds.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue == 1 else { return }
        pointee.lock.acquire()
        pointee.hasMembers = false
        pointee.lock.release()
        for index in 0..<pointee.count { members[index].fence.drop() }
        if pointee.isDying { free() } else { fence.drop() }
    }

    private func tearDown() {
        pointee.isTornDown = true
        // Of an array that signals on all and has, every callback has been called.
        if pointee.signalsOnAny || pointee.isDying {
            for index in 0..<pointee.count {
                let member = members + index
                let callback = UnsafeMutableRawPointer(member).assumingMemoryBound(to: FenceCallback.self)
                if member.pointee.fence.remove(callback) {
                    let old = pointee.holds.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue
                    invariant(old > 1, "an array of fences lost its own hold before it was torn down")
                }
            }
        }
        dropHold()
    }

    /// The last reference has gone. Not in place: the members may be arrays whose last reference this is.
    fileprivate func release() {
        Relay.hand(relay, context: UnsafeMutableRawPointer(self)) { array in
            let array = array.assumingMemoryBound(to: FenceArray.self)
            if array.pointee.isTornDown {
                array.free()
            } else {
                array.pointee.isDying = true
                array.fence.device.workEnded()
                array.tearDown()
            }
        }
    }

    private func free() {
        let device = fence.device
        let bytes = FenceArray.byteCount(pointee.count)
        deinitialize(count: 1)
        device.pointee.memory.deallocate(UnsafeMutableRawPointer(self), bytes: bytes)
        device.drop()
    }

    // MARK: Looking inside

    /// Copies the members to `fences`, which has room for `count`, with a reference each. 0 if the array no longer has
    /// them: it has signalled.
    func copyMembers(to fences: UnsafeMutablePointer<FencePointer>) -> Int {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if !pointee.hasMembers { return 0 }
        for index in 0..<pointee.count {
            let fence = members[index].fence
            fence.retain()
            (fences + index).initialize(to: fence)
        }
        return pointee.count
    }
}

private func memberSignalled(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let member = callback.assumingMemoryBound(to: FenceArrayMember.self)
    let array = member.pointee.callback.context.unsafelyUnwrapped.assumingMemoryBound(to: FenceArray.self)
    array.completed(by: fence.assumingMemoryBound(to: Fence.self))
}

func releaseFenceArray(_ memory: UnsafeMutableRawPointer) {
    memory.assumingMemoryBound(to: FenceArray.self).release()
}
