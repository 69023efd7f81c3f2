// Queue: what a caller submits jobs to; the engine behind it runs them in order.
//
// The engine lives as long as the queue has a reference; each job under way holds one, so that jobs of a queue whose
// handle was dropped still run.

import Synchronization

typealias QueuePointer = UnsafeMutablePointer<Queue>

struct Queue: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = Queue.magic
    let count = SharedCount()
    let vm: VMPointer
    let id: UInt64
    /// Set once, before anybody else sees the queue.
    var engine: EnginePointer?

    static var magic: UInt32 { 0x7571_7565 }
}

extension UnsafeMutablePointer where Pointee == Queue {
    /// - Parameter flags: UNBIND_QUEUE_*.
    static func make(vm: VMPointer, flags: UInt32) throws(Status) -> QueuePointer {
        if vm.isClosed { throw Status.closed }
        let device = vm.pointee.device
        guard let memory = device.cache(.queue).take() else { throw Status.noMemory }
        let queue = memory.bindMemory(to: Queue.self, capacity: 1)
        queue.initialize(to: Queue(vm: vm, id: device.nextID(.queue), engine: nil))
        do throws(Status) {
            let (gpu, id, timeline) = (device.pointee.gpu, queue.pointee.id, device.nextContext())
            if let backend = vm.pointee.backendSpace {
                queue.pointee.engine = try gpu.makeEngine(
                    backend: backend.pointee.backend, space: backend, flags: flags, id: id, timeline: timeline,
                    jobEnding: queueJobEnding, jobEnded: queueJobEnded, context: memory)
            } else {
                queue.pointee.engine = try gpu.makeEngine(
                    space: vm.pointee.space, id: id, timeline: timeline, jobEnding: queueJobEnding,
                    jobEnded: queueJobEnded, context: memory)
            }
        } catch {
            queue.deinitialize(count: 1)
            device.cache(.queue).give(memory)
            throw error
        }
        vm.retain()
        device.handleCreated(.queue)
        return queue
    }

    func retain() { pointee.count.retain() }

    func drop() {
        guard pointee.count.drop() else { return }
        let vm = pointee.vm
        pointee.magic = 0
        pointee.engine!.free()
        deinitialize(count: 1)
        vm.pointee.device.cache(.queue).give(UnsafeMutableRawPointer(self))
        vm.drop()
    }

    /// The caller lets go of a handle.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        pointee.vm.pointee.device.handleDropped(.queue)
        drop()
    }
}

/// The commands of a job have ended: it walks the page tables no more. Whoever sees its fence sees that, too.
private func queueJobEnding(_ context: UnsafeMutableRawPointer?, _ jobContext: UnsafeMutableRawPointer?) {
    let queue = context!.assumingMemoryBound(to: Queue.self)
    _ = queue.pointee.vm.pointee.jobsInFlight.wrappingSubtract(1, ordering: .releasing)
}

/// A job has ended and its fence has signalled.
private func queueJobEnded(_ context: UnsafeMutableRawPointer?, _ jobContext: UnsafeMutableRawPointer?) {
    let queue = context!.assumingMemoryBound(to: Queue.self)
    let vm = queue.pointee.vm
    let device = vm.pointee.device
    queue.drop()
    device.workEnded()
}

/// The memory of a job has gone: its reference to the device goes too.
func deviceJobReleased(_ device: UnsafeMutableRawPointer) { device.assumingMemoryBound(to: Device.self).drop() }
