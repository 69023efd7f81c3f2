// What a move to where the buffer is already does on a kernel that moves memory by itself: local memory that was short
// may have been taken from the buffer, and comes back with the next job that uses it; the kernel is asked to bring it
// back now. So it is of the caller's own memory, whose pages it takes then.
//
// Asked for is what is bound, each binding as a range of one call for its address space. A bind under way is left out:
// it brings the memory along; so is system memory that is shared as a dma-buf, which may be another GPU's. Nobody waits
// for the end.

import CUnbind
import Synchronization

/// A piece of a binding, and its address space with a reference.
private struct BoundPiece {
    let vm: VMPointer
    let range: unbind_backend_range
    var isDone = false
}

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// - Parameter only: nil: in all address spaces.
    /// - Locking: nothing may be held.
    /// - Failure: noMemory; closed; what the kernel says.
    func fetch(in only: VMPointer? = nil) throws(Status) {
        let device = pointee.device
        guard let backend = device.pointee.backend, let function = backend.pointee.link?.fetch, !backend.isLost else {
            return
        }
        let region = withPages { pages -> MemoryRegion? in
            pages.isShared && !pages.pointee.isLocal ? nil : pages.pointee.isLocal ? .local : .system
        }
        guard let region else { return }
        if !device.tryBeginWork() { throw Status.closed }
        defer { device.workEnded() }
        var capacity = 0
        forEachBoundPiece(in: only) { _, _ in capacity += 1 }
        if capacity == 0 { return }
        let memory = device.pointee.memory
        guard let pieces = memory.allocateArray(of: BoundPiece.self, count: capacity) else { throw Status.noMemory }
        defer { memory.deallocateArray(pieces, count: capacity) }
        guard let ranges = memory.allocateArray(of: unbind_backend_range.self, count: capacity) else {
            throw Status.noMemory
        }
        defer { memory.deallocateArray(ranges, count: capacity) }
        var count = 0
        // What is bound meanwhile has its memory.
        forEachBoundPiece(in: only) { vm, range in
            if count == capacity { return }
            vm.retain()
            (pieces + count).initialize(to: BoundPiece(vm: vm, range: range))
            count += 1
        }
        defer { for index in 0..<count { pieces[index].vm.drop() } }
        for first in 0..<count where !pieces[first].isDone {
            let vm = pieces[first].vm
            var gathered = 0
            for index in first..<count where pieces[index].vm == vm {
                (ranges + gathered).initialize(to: pieces[index].range)
                gathered += 1
                pieces[index].isDone = true
            }
            LockOrder.assertNoneHeld("a backend was called with a lock held")
            let space = vm.pointee.backendSpace.unsafelyUnwrapped.pointee.handle
            let status = function(backend.pointee.context, space, ranges, UInt32(gathered), region.rawValue)
            if status != 0 { throw Status(raw: status) }
        }
    }

    /// Calls body for what is bound, its VM's lock held.
    private func forEachBoundPiece(in only: VMPointer?, _ body: (VMPointer, unbind_backend_range) -> Void) {
        forEachVMA { vma in
            let vm = vma.pointee.vm
            if only != nil, only != vm { return }
            vm.pointee.lock.acquire()
            defer { vm.pointee.lock.release() }
            guard let resource = vma.pointee.resource, vma.lockedState == .bound, !vma.hasFailed, !vm.isSuspended
            else { return }
            let pages = resource.pointee.pages
            for piece in 0..<pages.pieceCount { body(vm, .unmap(resource.pointee.binding.piece(piece, of: pages))) }
        }
    }
}
