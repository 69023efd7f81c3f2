// CopyQueue: the queue on which a device moves the memory of its buffers (intel_migrate.c).
//
// One for each device, made at the first move. It reaches memory directly, not through page tables, so that a move
// depends on no binding; its page tables are there because every engine has some, and stay empty. A backend copies
// itself: then the engine hands it one move after the other.
//
// - Locking: `admission` orders the jobs; it is of the rank of page tables: a reservation may be held.

import Synchronization

typealias CopyQueuePointer = UnsafeMutablePointer<CopyQueue>

struct CopyQueue: ~Copyable {
    let device: DevicePointer
    /// Nil with a backend.
    fileprivate let space: SoftwareSpacePointer?
    /// Set once, before anybody else sees the queue.
    fileprivate(set) var engine: EnginePointer?
    let admission = FutexLock(.pageTables)

    /// What it is called in schedules; no caller's address space or queue gets that far.
    fileprivate static var id: UInt64 { 0xFFFF_FFFF }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// Made if there is none yet.
    /// - Failure: noMemory.
    func copyQueue() throws(Status) -> CopyQueuePointer {
        pointee.lock.acquire()
        let present = pointee.copyQueue
        pointee.lock.release()
        if let present { return present }
        let made = try makeCopyQueue()
        pointee.lock.acquire()
        let other = pointee.copyQueue
        if other == nil { pointee.copyQueue = made }
        pointee.lock.release()
        guard let other else { return made }
        made.free()
        return other
    }

    private func makeCopyQueue() throws(Status) -> CopyQueuePointer {
        let gpu = pointee.gpu
        guard let queue = pointee.memory.allocateApart(of: CopyQueue.self) else { throw Status.noMemory }
        var space: SoftwareSpacePointer?
        if pointee.backend == nil {
            do throws(Status) {
                space = try gpu.makeSpace(id: CopyQueue.id, pageSizes: pointee.pageSizes)
            } catch {
                pointee.memory.deallocateApart(queue)
                throw error
            }
        }
        queue.initialize(to: CopyQueue(device: self, space: space, engine: nil))
        do throws(Status) {
            let (timeline, context) = (nextContext(), UnsafeMutableRawPointer(self))
            if let space {
                queue.pointee.engine = try gpu.makeEngine(
                    space: space, id: CopyQueue.id, timeline: timeline, jobEnded: moveJobEnded, context: context)
            } else {
                queue.pointee.engine = try gpu.makeEngine(
                    backend: pointee.backend!, space: nil, id: CopyQueue.id, timeline: timeline,
                    jobEnded: moveJobEnded, context: context)
            }
        } catch {
            queue.freeMemory()
            throw error
        }
        return queue
    }
}

extension UnsafeMutablePointer where Pointee == CopyQueue {
    /// It must be idle.
    func free() {
        pointee.engine!.free()
        freeMemory()
    }

    fileprivate func freeMemory() {
        let device = pointee.device
        if let space = pointee.space { device.pointee.gpu.freeSpace(space) }
        deinitialize(count: 1)
        device.pointee.memory.deallocateApart(self)
    }

    /// A job that copies the pages, which must stay until it has ended.
    /// - Failure: noMemory.
    func makeJob(moving source: PageListPointer, to target: PageListPointer) throws(Status) -> JobPointer {
        let device = pointee.device
        let job = try device.pointee.gpu.makeJob(for: pointee.engine!, commandCount: 1)
        device.retain()
        var command = Command(kind: .move)
        command.address = UInt64(UInt(bitPattern: target.whatMovesKnow))
        command.source = UInt64(UInt(bitPattern: source.whatMovesKnow))
        command.size = source.pointee.size
        // Only a WAIT can fail.
        do throws(Status) { try job.add(command) } catch { panic("a move could not be added to its job") }
        return job
    }

    /// Appends the job. Before it can end, `watch` is given its fence.
    /// - Locking: a reservation's may be held.
    func append(_ job: JobPointer, watch: (FencePointer) -> Void) {
        // The engine's part of the device, until it has told of the job's end.
        pointee.device.retain()
        pointee.admission.acquire()
        watch(pointee.engine!.admit(job))
        pointee.engine!.append(job)
        pointee.admission.release()
    }
}

extension UnsafeMutablePointer where Pointee == PageList {
    /// The memory itself, or what a backend calls it.
    fileprivate var whatMovesKnow: UnsafeMutableRawPointer? {
        pointee.source == .backend ? backendBuffer : pointee.memory
    }
}

/// The engine does not touch itself after this, if it has no other job.
private func moveJobEnded(_ context: UnsafeMutableRawPointer?, _ jobContext: UnsafeMutableRawPointer?) {
    context!.assumingMemoryBound(to: Device.self).drop()
}
