// Migration: one move of a buffer's memory to other pages (i915_ttm_move and the work behind it).
//
// Begins with the fence that new binds of the buffer await: the copy's end. The copy queue's job does the copying; if
// it fails, this copies with the CPU, and if that is not allowed, the buffer is lost. Both piles of pages stay until
// then; the old ones beyond that, as long as an unbind that has not completed still refers to them.
//
// - Signalling: the work. It allocates nothing.

import CSystem
import Synchronization

typealias MigrationPointer = UnsafeMutablePointer<Migration>

struct Migration: ~Copyable {
    /// First: a pointer to it is a pointer to the Migration.
    var fence: Fence
    /// At `itemOffset`.
    var item: WorkItem
    /// A reference, until the move has ended; so with the pages.
    let bo: BufferObjectPointer
    let device: DevicePointer
    fileprivate let source: PageListPointer
    fileprivate let target: PageListPointer
    fileprivate let mayCopyByCPU: Bool
    /// Of the copy queue's job.
    fileprivate var copyError: Int32 = 0
    /// The CPU has copied; what is left is the time that it takes.
    fileprivate var isCopied = false

    static var itemOffset: Int { roundUp(MemoryLayout<Fence>.size, to: MemoryLayout<WorkItem>.alignment) }
}

extension UnsafeMutablePointer where Pointee == Migration {
    /// - Failure: noMemory.
    static func make(
        of bo: BufferObjectPointer, to target: PageListPointer, mayCopyByCPU: Bool
    ) throws(Status) -> MigrationPointer {
        let device = bo.pointee.device
        guard let memory = device.cache(.migration).take() else { throw Status.noMemory }
        let migration = memory.bindMemory(to: Migration.self, capacity: 1)
        migration.initialize(
            to: Migration(
                fence: Fence(home: device.fenceHome(.migration)),
                item: WorkItem(label: bo.pointee.id << 8 | WorkLabel.move, context: memory, function: runMigration),
                bo: bo, device: device, source: bo.pages, target: target, mayCopyByCPU: mayCopyByCPU))
        device.retain()
        return migration
    }

    @inline(__always)
    var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    private var item: WorkItemPointer { memberPointer(of: self, at: Migration.itemOffset, as: WorkItem.self) }

    /// The copy is about to be submitted: from now on the move ends by itself.
    func begin() {
        pointee.bo.retain()
        pointee.source.retain()
        pointee.target.retain()
        // The work's own.
        fence.retain()
        pointee.device.workBegan()
    }

    fileprivate func copyEnded(error: Int32) {
        pointee.copyError = error
        pointee.device.pointee.executor.submit(item)
    }

    fileprivate func run(at time: UInt64) {
        let (bo, device) = (pointee.bo, pointee.device)
        SignallingSection.begin()
        if pointee.copyError != 0, !pointee.isCopied {
            if pointee.mayCopyByCPU {
                let cost = copyByCPU()
                if cost > 0 {
                    SignallingSection.end()
                    device.pointee.executor.submit(item, at: time.addingSaturating(cost))
                    return
                }
            } else {
                bo.pointee.isLost.store(true, ordering: .relaxed)
                SignallingSection.suspended { tellOfLoss() }
            }
        }
        // Also if an earlier move of the chain lost it: this one has copied garbage.
        let isLost = bo.pointee.isLost.load(ordering: .relaxed)
        // Before the signal: who waits for the move may want the memory.
        pointee.source.drop()
        pointee.target.drop()
        fence.signal(error: isLost ? Status.lost.raw : 0, at: time)
        SignallingSection.end()
        end()
    }

    private func tellOfLoss() {
        let id = pointee.bo.pointee.id
        pointee.device.log(.error) { writer in
            writer.text("the memory of buffer ")
            writer.decimal(id)
            writer.text(" was lost: its copy failed, and copying by the CPU was not allowed")
        }
    }

    private func copyByCPU() -> UInt64 {
        pointee.isCopied = true
        pointee.target.copy(from: pointee.source)
        return pointee.device.pointee.gpu.pointee.costs.bytes(pointee.source.pointee.size)
    }

    private func end() {
        let (bo, device) = (pointee.bo, pointee.device)
        fence.drop()
        bo.drop()
        device.workEnded()
    }
}

extension UnsafeMutablePointer where Pointee == PageList {
    func copy(from source: PageListPointer) {
        memcpy(pointee.memory, source.pointee.memory, Int(source.pointee.size))
    }
}

/// The copy queue's job has ended.
func migrationCopyEnded(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let migration = edge.pointee.waiter.assumingMemoryBound(to: Migration.self)
    let fence = fence.assumingMemoryBound(to: Fence.self)
    let error = fence.error
    migration.pointee.device.free(edge, on: fence)
    migration.copyEnded(error: error)
}

private func runMigration(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: Migration.self).run(at: time)
}

func releaseMigration(_ memory: UnsafeMutableRawPointer) {
    let migration = memory.assumingMemoryBound(to: Migration.self)
    let device = migration.pointee.device
    migration.deinitialize(count: 1)
    device.cache(.migration).give(memory)
    device.drop()
}
