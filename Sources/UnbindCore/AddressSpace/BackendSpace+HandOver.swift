// Unbinds that are left to the kernel before what they await has ended.
//
// Where all that an unbind awaits is the kernel's (KernelPoint), the kernel may be told of the unbind at once and waits
// itself. The library still awaits the same, and completes the unbind as ever; but by then its range is unmapped, or
// will be in a moment, and nobody had to be woken first. If it cannot be handed over (the kernel is short of memory,
// every bind queue waits for something else) it is unmapped when it is ready, like any other.
//
//     offer: the points that it awaits, with an extra hold of its gate -> the work: one call for all that await the
//     same -> the hold is dropped -> the gate opens -> the drain -> the work waits for the unmap's own end
//
// - Locking: the space's lock for what is offered.
// - Signalling: everything here; nothing allocates.

import CSystem
import CUnbind
import Synchronization

/// An unbind and what it awaits: each timeline with a reference.
struct UnbindOffer: BitwiseCopyable {
    static var mostWaits: Int { 4 }

    let resource: ResourcePointer
    fileprivate(set) var count = 0
    fileprivate var timelines = InlineArray<4, KernelTimelinePointer?>(repeating: nil)
    fileprivate var points = InlineArray<4, UInt64>(repeating: 0)

    fileprivate init(_ resource: ResourcePointer) { self.resource = resource }

    /// False if there are too many. Of one timeline the last point is enough.
    fileprivate mutating func add(_ place: (timeline: KernelTimelinePointer, point: UInt64)) -> Bool {
        for index in 0..<count where timelines[index] == place.timeline {
            points[index] = max(points[index], place.point)
            return true
        }
        if count == Self.mostWaits { return false }
        place.timeline.retain()
        timelines[count] = place.timeline
        points[count] = place.point
        count += 1
        return true
    }

    fileprivate func release() {
        for index in 0..<count { timelines[index]!.free() }
    }

    fileprivate func awaitsSame(as other: UnbindOffer) -> Bool {
        if count != other.count { return false }
        for index in 0..<count {
            if timelines[index] != other.timelines[index] || points[index] != other.points[index] { return false }
        }
        return true
    }
}

/// Those that are offered, and those that the work has in hand.
struct UnbindOffers {
    static var capacity: Int { 256 }

    fileprivate let offered: UnsafeMutablePointer<UnbindOffer>
    fileprivate let inHand: UnsafeMutablePointer<UnbindOffer>

    /// Nil if there is no memory.
    static func make(_ memory: UnsafeMutablePointer<Memory>) -> UnbindOffers? {
        guard let offered = memory.allocateArray(of: UnbindOffer.self, count: 2 * capacity) else { return nil }
        return UnbindOffers(offered: offered, inHand: offered + capacity)
    }

    func free(_ memory: UnsafeMutablePointer<Memory>) {
        memory.deallocateArray(offered, count: 2 * Self.capacity)
    }
}

extension UnsafeMutablePointer where Pointee == BackendSpace {
    /// What the kernel would have to await for an unbind with these edges, all of which are unsignalled; nil if it
    /// cannot.
    func offer(_ resource: ResourcePointer, awaiting edges: AwaitPointer?) -> UnbindOffer? {
        guard pointee.offers != nil else { return nil }
        var offer = UnbindOffer(resource)
        var next = edges
        while let edge = next {
            next = edge.pointee.next
            guard let place = edge.pointee.fence.kernelPoint?.place, offer.add(place) else {
                offer.release()
                return nil
            }
        }
        return offer
    }

    /// Takes an offer, whose resource's gate has a hold for it. False: there is no room.
    /// - Locking: the VM's lock is held.
    func take(_ offer: UnbindOffer) -> Bool {
        pointee.lock.acquire()
        let count = pointee.offerCount.load(ordering: .relaxed)
        if count == UnbindOffers.capacity {
            pointee.lock.release()
            offer.release()
            return false
        }
        (pointee.offers!.offered + count).initialize(to: offer)
        pointee.offerCount.store(count + 1, ordering: .relaxed)
        let starts = start()
        pointee.lock.release()
        if starts { pointee.backend.pointee.device.pointee.executor.submit(item) }
        return true
    }

    /// Those that are offered are the work's now.
    /// - Locking: held.
    func takeOffers() -> Int {
        let count = pointee.offerCount.load(ordering: .relaxed)
        guard count > 0, let offers = pointee.offers else { return 0 }
        for index in 0..<count { (offers.inHand + index).initialize(to: offers.offered[index]) }
        pointee.offerCount.store(0, ordering: .relaxed)
        return count
    }

    /// Waits for as long as one comes after the other, and not for long: they go to the kernel together.
    func letOffersGather() {
        let quiet: UInt64 = 20_000
        guard pointee.backend.pointee.device.pointee.executor.kind == .pool else { return }
        let begin = csys_monotonic_ns()
        var (seen, since) = (pointee.offerCount.load(ordering: .relaxed), begin)
        while seen != 0, seen < UnbindOffers.capacity {
            csys_pause()
            let now = csys_monotonic_ns()
            let count = pointee.offerCount.load(ordering: .relaxed)
            if count != seen { (seen, since) = (count, now) }
            if now &- since >= quiet || now &- begin >= 50 * quiet { return }
        }
    }

    /// Hands over what the work has in hand, those that await the same together.
    func handOver(_ count: Int, at time: UInt64) {
        let offers = pointee.offers!.inHand
        for first in 0..<count where offers[first].count > 0 {
            var list: ResourcePointer?
            let offer = offers[first]
            for index in first..<count where offers[index].awaitsSame(as: offer) {
                let resource = offers[index].resource
                resource.setNext(list)
                list = resource
                if index > first {
                    offers[index].release()
                    offers[index].count = 0
                }
            }
            list = AddressOrder.sorted(list)
            unmapAll(of: list, after: offer)
            while let resource = list {
                list = resource.pointee.next
                // Its own if this was the last it awaited; else somebody else's from here on.
                if resource.pointee.gate.complete() { pointee.vm.pointee.drain.makeReady(resource, at: time) }
            }
            offer.release()
        }
    }

    /// As much of it as the kernel takes. What has nothing mapped, or awaits nothing any more, is left.
    private func unmapAll(of list: ResourcePointer?, after offer: UnbindOffer) {
        let batch = pointee.batch
        resetLimit()
        var next = list
        while let first = next {
            batch.removeAll()
            var resource = next
            while let candidate = resource {
                let mark = batch.mark
                if isToBeHandedOver(candidate), !gather(candidate) {
                    batch.undo(to: mark)
                    break
                }
                resource = candidate.pointee.next
            }
            // One that is too large for any call.
            next = resource == first ? first.pointee.next : resource
            guard !batch.isEmpty, let place = unmap(after: offer) else { continue }
            var taken: ResourcePointer? = first
            while let one = taken, one != resource {
                if isToBeHandedOver(one) { one.pointee.writtenIn = place }
                taken = one.pointee.next
            }
        }
    }

    /// Only the work changes what this asks.
    private func isToBeHandedOver(_ resource: ResourcePointer) -> Bool {
        resource.pointee.writtenIn == VMAResource.mapped
    }

    /// False if there is no room for all its pieces.
    private func gather(_ resource: ResourcePointer) -> Bool {
        let pages = resource.pointee.pages
        for piece in 0..<pages.pieceCount {
            if !pointee.batch.add(.unmap(resource.pointee.binding.piece(piece, of: pages))) { return false }
        }
        return true
    }

    /// Where to wait for the end of what is in the batch. Nil: the kernel has not taken it.
    private func unmap(after offer: UnbindOffer) -> UInt64? {
        let backend = pointee.backend
        guard !backend.isLost, let function = backend.pointee.link?.unmap else { return nil }
        var waits = InlineArray<4, KernelWait>(repeating: KernelWait(syncobj: Syncobj(handle: 0), point: 0))
        for index in 0..<offer.count {
            waits[index] = KernelWait(syncobj: offer.timelines[index]!.pointee.syncobj, point: offer.points[index])
        }
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        var place: UInt64 = 0
        let (batch, context, handle) = (pointee.batch, backend.pointee.context, pointee.handle)
        let status = waits.span.withUnsafeBufferPointer { waits in
            function(
                context, handle, batch.pointee.ranges, UInt32(batch.pointee.count), waits.baseAddress,
                UInt32(offer.count), &place)
        }
        if status != 0 { return nil }
        pointee.updates.add(1)
        pointee.updatedRanges.add(UInt64(batch.pointee.count))
        return place
    }

    // MARK: The end

    /// Waits for the unmaps of those of `unbinds` that were handed over.
    func awaitHandedOver() -> BackendOutcome {
        guard let function = pointee.backend.pointee.link?.awaitUnmap, let place = lastPlace() else {
            pointee.step = .invalidate
            return .goOn
        }
        let (context, handle) = (pointee.backend.pointee.context, pointee.handle)
        guard let status = perform({ token in function(context, handle, place, token) }) else { return .pending }
        if status != 0, let outcome = retry(after: status) { return outcome }
        pointee.retries = 0
        var next = pointee.unbinds
        while let resource = next {
            next = resource.pointee.next
            guard resource.pointee.isHandedOver, resource.pointee.writtenIn >> 56 == place >> 56 else { continue }
            resource.pointee.writtenIn = status == 0 ? 0 : VMAResource.lost
        }
        return .goOn
    }

    /// The last of those on the bind queue of the first that is handed over.
    private func lastPlace() -> UInt64? {
        if pointee.failure != 0 { return nil }
        var last: UInt64?
        var next = pointee.unbinds
        while let resource = next {
            next = resource.pointee.next
            let place = resource.pointee.writtenIn
            guard resource.pointee.isHandedOver, place >> 56 == (last ?? place) >> 56 else { continue }
            last = max(last ?? 0, place)
        }
        return last
    }
}

extension VMAResource {
    /// The kernel has been told to unmap it: `writtenIn` says by which point of which bind queue of its space, the
    /// latter, from 1 on, in the top byte.
    var isHandedOver: Bool { writtenIn > VMAResource.mapped && writtenIn < VMAResource.suspended }
}
