// Moving a buffer between system and local memory (i915_gem_object_migrate).
//
// Normally a MigrationAttempt, which waits for nothing. Without the memory for that the move is made here and now:
// the GPU work that uses the buffer and the unbinds are waited for, and the CPU copies.

import Synchronization

enum MemoryRegion: UInt32 { case system = 0, local = 1 }

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// - Locking: the reservation's lock must not be held.
    var region: MemoryRegion { withPages { $0.pointee.isLocal ? .local : .system } }

    /// Why it cannot move at all; nil: it can.
    private var obstacle: StaticString? {
        if let backend = pointee.device.pointee.backend {
            if !backend.pointee.canCopy { return "its device has no function that copies" }
            if !backend.has(Capability.localMemory) { return "its device has no local memory" }
        }
        return withPages { pages in
            if pages.pointee.source == .wrapped || pages.pointee.source == .backendWrapped {
                return "its memory is the caller's"
            }
            return pages.isShared ? "its memory is shared as a dma-buf" : nil
        }
    }

    /// - Failure: unsupported, which the log is told.
    private func checkMovable() throws(Status) {
        guard let obstacle else { return }
        let id = pointee.id
        pointee.device.log(.error) { writer in
            writer.text("buffer ")
            writer.decimal(id)
            writer.text(" cannot move: ")
            writer.text(obstacle)
        }
        throw Status.unsupported
    }

    private func makeTarget(in region: MemoryRegion) throws(Status) -> PageListPointer {
        let device = pointee.device
        let isLocal = region == .local
        if device.pointee.backend != nil { return try .makeBackend(device: device, size: size, isLocal: isLocal) }
        return isLocal ? try .makeLocal(device: device, size: size) : try .makeSystem(device: device, size: size)
    }

    /// The fence for the copy and the unbinds, with a reference; of the last move if the buffer is in the region
    /// already, and then it is fetched there; nil if there was none.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: unsupported (the caller's memory, shared memory, no backend's that copies), lost, closed, noMemory,
    ///   again (pinned), what the backend says of new memory; interrupted and deadlock from waiting when there was no
    ///   memory for the move.
    func migrate(to region: MemoryRegion, _ options: MigrationOptions) throws(Status) -> FencePointer? {
        let device = pointee.device
        try checkMovable()
        if !device.tryBeginWork() { throw Status.closed }
        defer { device.workEnded() }
        if pointee.isLost.load(ordering: .relaxed) { throw Status.lost }
        if self.region == region {
            try fetch()
            return lastMove()
        }
        let target = try makeTarget(in: region)
        var attempt = MigrationAttempt(of: self, to: target, options)
        do throws(Status) {
            if let fence = try attempt.run() { return fence }
            // Somebody else was faster.
            target.drop()
            return lastMove()
        } catch {
            if error != .noMemory || !options.mayCopyByCPU || device.pointee.executor.isRunningOnThisThread {
                target.drop()
                throw error
            }
        }
        do throws(Status) {
            if try !moveByCPU(to: target, interruptible: options.interruptible) { target.drop() }
        } catch {
            target.drop()
            throw error
        }
        return lastMove()
    }

    private func lastMove() -> FencePointer? {
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        pointee.lastMove?.retain()
        return pointee.lastMove
    }

    /// - Locking: the reservation's is held.
    private var isBound: Bool {
        var isBound = false
        forEachBinding { _, _ in
            isBound = true
            return false
        }
        return isBound
    }

    /// False if the buffer was in the region already.
    private func moveByCPU(to target: PageListPointer, interruptible: Bool) throws(Status) -> Bool {
        let device = pointee.device
        let reservation = pointee.reservation
        while true {
            // Its mappings are pinned, which is not what the caller is to hear.
            if pointee.mappingCount.load(ordering: .relaxed) != 0 { throw Status.busy }
            try unbindAll(
                ObjectUnbindOptions(
                    waitsForActive: true, waitsForClosing: true, isAsynchronous: true, interruptible: interruptible))
            reservation.pointee.lock.acquire()
            if pages.pointee.isLocal == target.pointee.isLocal {
                reservation.pointee.lock.release()
                return false
            }
            if pages.isShared {
                reservation.pointee.lock.release()
                throw Status.unsupported
            }
            if pointee.mappingCount.load(ordering: .relaxed) != 0 {
                reservation.pointee.lock.release()
                throw Status.busy
            }
            // The unbinds too: the fence of the move before, or none, stands for this one.
            let blocker = reservation.anyUnsignalled(usage: .bookkeep)
            if blocker != nil || isBound {
                reservation.pointee.lock.release()
                guard let blocker else { continue }
                defer { blocker.drop() }
                try device.wait(for: blocker, interruptible: interruptible)
                continue
            }
            if pointee.isLost.load(ordering: .relaxed) {
                reservation.pointee.lock.release()
                throw Status.lost
            }
            target.copy(from: pages)
            let old = exchangePages(target)
            reservation.pointee.lock.release()
            old.drop()
            device.pointee.executor.charge(device.pointee.gpu.pointee.costs.bytes(size))
            return true
        }
    }
}
