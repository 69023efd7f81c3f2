// Binds on their way to the backend.
//
// All that are ready go in one call, or in as few as the backend takes; a bind is never cut in two if it fits in one.
// If a call fails, each of its binds is tried by itself, so that one that cannot be mapped fails alone. A bind whose first
// pieces were mapped when a later one failed is unmapped again, and has then failed as a whole.

import CSystem
import CUnbind

extension BindWork: AddressOrdered {
    static func address(of element: BindWorkPointer) -> UInt64 { element.pointee.binding.start }
    static func next(of element: BindWorkPointer) -> BindWorkPointer? { element.pointee.next }
    static func setNext(of element: BindWorkPointer, to next: BindWorkPointer?) { element.pointee.next = next }
}

extension UnsafeMutablePointer where Pointee == BackendSpace {
    func beginBinds(at time: UInt64) {
        var next = pointee.binds
        while let work = next {
            work.countWait(until: time)
            next = work.pointee.next
        }
        pointee.mappedPieces = 0
        pointee.singles = 0
        resetLimit()
    }

    func map(at time: UInt64) -> BackendOutcome {
        guard let first = pointee.binds else {
            pointee.step = .take
            return .goOn
        }
        if !pointee.isResumed {
            // What it awaited has failed, or nothing can be mapped any more.
            let error = pointee.backend.isLost ? Status.lost.raw : first.pointee.gate.error
            if error != 0 {
                fail(first, error, at: time)
                return .goOn
            }
            if pointee.isSuspended {
                first.pointee.resource.pointee.writtenIn = VMAResource.suspended
                endFirst(first, error: 0, at: time)
                return .goOn
            }
            gatherMaps(from: first)
        }
        guard let status = update() else { return .pending }
        if status == 0 {
            endMapped(at: time)
        } else if status == -ENOBUFS, pointee.batch.pointee.count > 1 {
            pointee.batch.pointee.limit = pointee.batch.pointee.count / 2
        } else if pointee.gathered > 1 {
            pointee.singles = pointee.gathered
        } else {
            fail(first, status, at: time)
        }
        return .goOn
    }

    private func gatherMaps(from first: BindWorkPointer) {
        let batch = pointee.batch
        batch.removeAll()
        pointee.gathered = 0
        pointee.mapEndPieces = 0
        var next: BindWorkPointer? = first
        var piece = pointee.mappedPieces
        // One whose wait has failed is ended when it comes first.
        while let work = next, work.pointee.gate.error == 0 {
            let mark = batch.mark
            if !gather(work, from: &piece) {
                if work == first {
                    pointee.gathered = 1
                    pointee.mapEndPieces = piece
                } else {
                    batch.undo(to: mark)
                }
                break
            }
            pointee.gathered = pointee.gathered &+ 1
            next = work.pointee.next
            piece = 0
            if pointee.singles > 0 { break }
        }
        pointee.mapEnd = next
    }

    /// False if the batch is full: then `piece` is the first that is not in it.
    private func gather(_ work: BindWorkPointer, from piece: inout Int) -> Bool {
        let pages = work.pointee.resource.pointee.pages
        let buffer = pages.backendBuffer
        while piece < pages.pieceCount {
            let binding = work.pointee.binding.piece(piece, of: pages)
            if !pointee.batch.add(.map(binding, of: buffer, work.pointee.mapping)) { return false }
            piece += 1
        }
        return true
    }

    /// The call has mapped what was gathered.
    private func endMapped(at time: UInt64) {
        while let work = pointee.binds, work != pointee.mapEnd {
            work.pointee.resource.pointee.writtenIn = VMAResource.mapped
            endFirst(work, error: 0, at: time)
        }
        pointee.mappedPieces = pointee.mapEndPieces
    }

    private func fail(_ work: BindWorkPointer, _ error: Int32, at time: UInt64) {
        if pointee.mappedPieces == 0 { return endFirst(work, error: error, at: time) }
        pointee.failure = error
        work.pointee.resource.pointee.writtenIn = VMAResource.mapped
        beginUnmapping(work.pointee.resource, pieces: pointee.mappedPieces)
    }

    /// The pieces of the first bind that had been mapped are not any more.
    func endFailed(at time: UInt64) {
        let work = pointee.binds!
        let error = pointee.failure
        pointee.failure = 0
        pointee.mappedPieces = 0
        let resource = work.pointee.resource
        if resource.pointee.writtenIn == VMAResource.mapped { resource.pointee.writtenIn = 0 }
        endFirst(work, error: error, at: time)
    }

    private func endFirst(_ work: BindWorkPointer, error: Int32, at time: UInt64) {
        pointee.binds = work.pointee.next
        if pointee.singles > 0 { pointee.singles = pointee.singles &- 1 }
        work.end(error: error, at: time)
    }
}

/// The kernel has taken the binds that were gathered, which jobs may now leave it to await. One of which pieces are
/// left ends with another call.
func bindsTaken(_ space: UnsafeMutableRawPointer?, _ timeline: UnsafeMutableRawPointer?, _ point: UInt64) {
    let space = space!.assumingMemoryBound(to: BackendSpace.self)
    let timeline = timeline!.assumingMemoryBound(to: KernelTimeline.self)
    var next = space.pointee.binds
    while let work = next, work != space.pointee.mapEnd {
        work.fence.kernelPoint!.publish(timeline, point)
        next = work.pointee.next
    }
}
