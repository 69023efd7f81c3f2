// MappingSplit: a mapping's binding becomes several, each with a VMAResource of its own.
//
// In the page tables that is one step (SoftwareSpace+Split), done at once when the binding is there. While its own bind
// is still to come, the step belongs to a BindWork that awaits that bind: what is left of the mapping is bound, and
// what goes can be unbound, when that is done. So work that was promised the old mapping sees it whole.
//
// - Signalling: `run` may run in a signalling section.

import Synchronization

typealias MappingSplitPointer = UnsafeMutablePointer<MappingSplit>

struct MappingSplit {
    struct Piece {
        /// A reference.
        let resource: ResourcePointer
        let isLeft: Bool
    }

    /// The VMA's reference to its binding.
    let whole: ResourcePointer
    let count: Int

    static var piecesOffset: Int { roundUp(MemoryLayout<MappingSplit>.size, to: MemoryLayout<Piece>.alignment) }

    static func bytes(_ count: Int) -> Int { piecesOffset + count * MemoryLayout<Piece>.stride }
}

extension UnsafeMutablePointer where Pointee == MappingSplit {
    /// Memory for it; nil if there is none.
    static func makeMemory(_ memory: UnsafeMutablePointer<Memory>, count: Int) -> UnsafeMutableRawPointer? {
        memory.allocate(bytes: MappingSplit.bytes(count), alignment: 16)
    }

    var pieces: UnsafeMutablePointer<MappingSplit.Piece> {
        (UnsafeMutableRawPointer(self) + MappingSplit.piecesOffset).assumingMemoryBound(to: MappingSplit.Piece.self)
    }

    /// Takes the step, and ends this. What awaited it is bound then.
    func run() {
        pointee.whole.splitEntries(into: pieces, count: pointee.count)
        let vm = pointee.whole.pointee.vm
        if let stream = vm.pointee.stream {
            for index in 0..<pointee.count {
                stream.recordBindDone(pieces[index].resource, error: 0, at: vm.pointee.device.now)
            }
        }
        end()
    }

    /// The step has been taken: ends the binding that was, and frees this.
    /// - Locking: nothing may be held.
    func end() {
        let whole = pointee.whole
        let vm = whole.pointee.vm
        whole.endUnscheduled()
        whole.fence.drop()
        for index in 0..<pointee.count { pieces[index].resource.fence.drop() }
        vm.pointee.device.pointee.memory.deallocate(
            UnsafeMutableRawPointer(self), bytes: MappingSplit.bytes(pointee.count))
    }
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// Makes the entries those of the pieces. If they are lost, what is left is written anew.
    func splitEntries(into pieces: UnsafeMutablePointer<MappingSplit.Piece>, count: Int) {
        if pointee.vm.pointee.backendSpace != nil {
            // Nothing changes for the backend until a piece is unmapped.
            for index in 0..<count { pieces[index].resource.pointee.writtenIn = pointee.writtenIn }
            return
        }
        let space = pointee.vm.pointee.space
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        let isThere = pointee.writtenIn == space.pointee.generation && !space.pointee.isAbandoned
        for index in 0..<count { pieces[index].resource.pointee.writtenIn = pointee.writtenIn }
        if isThere {
            _ = space.splitLocked(pointee.binding, into: count) { pieces[$0].resource.pointee.binding }
            return
        }
        space.cancelLocked(pointee.binding)
        if pointee.writtenIn == 0 || space.pointee.isSuspended || space.pointee.isAbandoned { return }
        // A resume did not find them.
        for index in 0..<count where pieces[index].isLeft {
            let resource = pieces[index].resource
            resource.pointee.writtenIn = space.pointee.generation
            _ = space.writeLocked(resource.pointee.binding)
        }
    }

    /// The end of a binding without an unbind of its own: others have its entries now.
    /// - Locking: nothing may be held.
    func endUnscheduled() {
        let pages = pointee.pages
        freeTimelineAwait()
        pointee.holds.store(0, ordering: .relaxed)
        fence.signal(at: pointee.vm.pointee.device.now)
        pages.drop()
    }

    /// Of what is not going to be scheduled.
    func freeTimelineAwait() {
        let vm = pointee.vm
        if vm.pointee.options.policy == .timeline { vm.pointee.device.cache(.await).give(takeTimelineAwait()) }
    }
}
