// Unbinds on their way to the backend: whole ranges, neighbours as one, as many in a call as it takes.
//
// A list of resources in order of addresses is gone through from `nextUnmap` on. Those with nothing mapped (their bind
// has failed, or the VM is suspended) are passed over, and completed with the others.
//
// The pieces of a bind that failed half-way are unmapped in the same way; then the list is that bind's resource, and
// `failure` is set.

import CSystem
import CUnbind
import Synchronization

extension VMAResource: AddressOrdered {
    static func address(of element: ResourcePointer) -> UInt64 { element.pointee.start }
    static func next(of element: ResourcePointer) -> ResourcePointer? { element.pointee.next }
    static func setNext(of element: ResourcePointer, to next: ResourcePointer?) { element.setNext(next) }
}

extension UnsafeMutablePointer where Pointee == BackendSpace {
    func beginUnbinds(at time: UInt64) {
        let vm = pointee.vm!
        vm.pointee.stats.pointee.batches.add(1)
        var next = pointee.unbinds
        while let resource = next {
            vm.pointee.history.record(
                .unbindStarted, start: resource.pointee.start, size: resource.pointee.size,
                boID: resource.pointee.boID, time: time)
            next = resource.pointee.next
        }
        beginUnmapping(pointee.unbinds, pieces: .max)
    }

    /// - pieces: at most so many of each of the list.
    func beginUnmapping(_ list: ResourcePointer?, pieces: Int) {
        pointee.nextUnmap = UnmapPlace(resource: list)
        pointee.pieceLimit = pieces
        pointee.unmappedStart = .max
        pointee.unmappedEnd = 0
        resetLimit()
        pointee.step = .unmap
    }

    /// The next batch may be as large as the backend takes.
    func resetLimit() {
        let most = Int(pointee.backend.pointee.ops.max_ranges)
        pointee.batch.pointee.limit = most == 0 ? RangeBatch.capacity : Swift.min(most, RangeBatch.capacity)
    }

    func unmap() -> BackendOutcome {
        if !pointee.isResumed {
            if pointee.backend.isLost {
                // Also what was unmapped just now: its TLB invalidation does not come any more.
                markLost(from: pointee.failure == 0 ? pointee.unbinds : pointee.nextUnmap.resource)
                pointee.step = .unmapped
                return .goOn
            }
            gatherUnmaps()
            if pointee.batch.isEmpty {
                pointee.step = .handedOver
                return .goOn
            }
        }
        guard let status = update() else { return .pending }
        if status == 0 {
            pointee.retries = 0
            noteUnmapped()
            pointee.nextUnmap = pointee.unmapEnd
        } else if status == -ENOBUFS, pointee.batch.pointee.count > 1 {
            pointee.batch.pointee.limit = pointee.batch.pointee.count / 2
        } else if let outcome = retry(after: status) {
            return outcome
        }
        return .goOn
    }

    private func gatherUnmaps() {
        let batch = pointee.batch
        batch.removeAll()
        var place = pointee.nextUnmap
        while let resource = place.resource {
            let following = next(after: resource)
            let pages = resource.pointee.pages
            let count = Swift.min(pages.pieceCount, pointee.pieceLimit)
            while resource.pointee.writtenIn == VMAResource.mapped, place.piece < count {
                let piece = resource.pointee.binding.piece(place.piece, of: pages)
                if !batch.add(.unmap(piece)) {
                    pointee.unmapEnd = place
                    return
                }
                place.piece += 1
            }
            place = UnmapPlace(resource: following)
        }
        pointee.unmapEnd = place
    }

    /// In the list that is being unmapped: a bind that failed half-way is in none, and has another use for its link.
    private func next(after resource: ResourcePointer) -> ResourcePointer? {
        pointee.failure == 0 ? resource.pointee.next : nil
    }

    func noteUnmapped() {
        let batch = pointee.batch
        let (first, last) = (batch.pointee.ranges[0], batch.pointee.ranges[batch.pointee.count - 1])
        pointee.unmappedStart = Swift.min(pointee.unmappedStart, first.address)
        pointee.unmappedEnd = Swift.max(pointee.unmappedEnd, last.address &+ last.size)
    }

    /// Nobody will unmap these any more.
    func markLost(from first: ResourcePointer?) {
        var next = first
        while let resource = next {
            if resource.pointee.writtenIn != 0 { resource.pointee.writtenIn = VMAResource.lost }
            next = self.next(after: resource)
        }
    }

    func completeUnmapped(at time: UInt64) {
        pointee.step = .map
        resetLimit()
        if pointee.failure != 0 { return endFailed(at: time) }
        let vm = pointee.vm!
        let unbinds = pointee.unbinds
        pointee.unbinds = nil
        SignallingSection.begin()
        var next = unbinds
        while let resource = next {
            next = resource.pointee.next
            switch resource.pointee.writtenIn {
            // Somebody may hold it still.
            case VMAResource.mapped: resource.pointee.writtenIn = 0
            case VMAResource.suspended: _ = vm.pointee.stats.pointee.skipped.wrappingAdd(1, ordering: .relaxed)
            default: break
            }
        }
        vm.endUnbinds(unbinds, at: time, recordsStart: false)
        SignallingSection.end()
    }
}
