// XeSpace: an address space of xe's, with bind queues: one for what is mapped and one for what is unmapped. The
// kernel carries out the work of one queue in order; between the two the library has seen to the order where it
// matters, so that an unmap that has to wait (a huge page that is cut waits for all GPU work) delays no map. And a few
// for unmaps that the kernel is to do after something else (XeSpace+Lanes).
//
// A long-running space has one bind queue for both, as nothing is left to the kernel to wait for, and each costs a
// thread. It can only be destroyed when its queues are gone, which the library sees to anyway.
//
// One update at a time. What it needs (the array of operations, room to await a point) is there before.

import CLibDRM
import CSystem
import Synchronization

struct XeSpace: ~Copyable {
    let backend: XeBackendPointer
    let id: UInt32
    let isLongRunning: Bool
    let maps: XeBindQueue
    /// The same if the space is long-running.
    let unmaps: XeBindQueue
    /// Nil if the space is long-running.
    let lanes: UnsafeMutablePointer<XeLane>?
    /// Of the update that is being handed over.
    let operations: UnsafeMutablePointer<unbind_drm_xe_vm_bind_op>

    /// A bit for each place of a queue's buffer that is taken.
    let slots: UnsafeMutablePointer<Atomic<UInt64>>
    /// The kernel has banned it, or closed it: nothing runs in it any more, nothing can be mapped, and nothing has to
    /// be unmapped. Its pages are the kernel's to keep until it is destroyed.
    let isDead = Atomic<Bool>(false)

    static var slotWords: Int { Int(XeBackend.queueSlots) / 64 }
    /// Ranges of one update.
    static var mostRanges: Int { 256 }
}

/// Carries out binds in order, each of which is a point of the timeline.
struct XeBindQueue: BitwiseCopyable {
    let id: UInt32
    let timeline: KernelTimelinePointer
    /// Of a long-running space.
    let fences: UserFenceWaiterPointer?

    /// Points that are awaited at the same time, for which no memory is needed.
    static var room: Int { 256 }
}

typealias XeSpacePointer = UnsafeMutablePointer<XeSpace>

extension UnsafeMutablePointer where Pointee == XeBackend {
    func makeSpace(isLongRunning: Bool) throws(Status) -> XeSpacePointer {
        let memory = pointee.memory
        guard let space = memory.allocateApart(of: XeSpace.self) else { throw Status.noMemory }
        guard let operations = memory.allocateArray(of: unbind_drm_xe_vm_bind_op.self, count: XeSpace.mostRanges)
        else {
            memory.deallocateApart(space)
            throw Status.noMemory
        }
        guard let slots = memory.allocateArray(of: Atomic<UInt64>.self, count: XeSpace.slotWords) else {
            memory.deallocateArray(operations, count: XeSpace.mostRanges)
            memory.deallocateApart(space)
            throw Status.noMemory
        }
        for index in 0..<XeSpace.slotWords { (slots + index).initialize(to: Atomic(0)) }
        do throws(Status) {
            var flags: UInt32 = pointee.options.usesScratch ? UNBIND_DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE : 0
            if isLongRunning { flags |= UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE }
            let id = try makeXeSpace(pointee.node, flags: flags)
            do throws(Status) {
                let queues = try makeBindQueues(space: id, isLongRunning: isLongRunning)
                space.initialize(
                    to: XeSpace(
                        backend: self, id: id, isLongRunning: isLongRunning, maps: queues.maps, unmaps: queues.unmaps,
                        lanes: queues.lanes, operations: operations, slots: slots))
            } catch {
                destroyXeSpace(id, pointee.node)
                throw error
            }
        } catch {
            memory.deallocateArray(slots, count: XeSpace.slotWords)
            memory.deallocateArray(operations, count: XeSpace.mostRanges)
            memory.deallocateApart(space)
            throw error
        }
        return space
    }

    private func makeBindQueues(
        space: UInt32, isLongRunning: Bool
    ) throws(Status) -> (maps: XeBindQueue, unmaps: XeBindQueue, lanes: UnsafeMutablePointer<XeLane>?) {
        let maps = try makeBindQueue(space: space, room: XeBindQueue.room, isLongRunning: isLongRunning)
        if isLongRunning { return (maps, maps, nil) }
        do throws(Status) {
            let unmaps = try makeBindQueue(space: space, room: XeBindQueue.room)
            do throws(Status) {
                return (maps, unmaps, try makeLanes(space: space))
            } catch {
                destroy(unmaps)
                throw error
            }
        } catch {
            destroy(maps)
            throw error
        }
    }

    func makeBindQueue(space: UInt32, room: Int, isLongRunning: Bool = false) throws(Status) -> XeBindQueue {
        let id = try makeXeQueue(pointee.node, space: space, engines: .binds)
        do throws(Status) {
            let timeline = try KernelTimelinePointer.make(waiter: pointee.waiter, capacity: room)
            do throws(Status) {
                let fences = isLongRunning ? try UserFenceWaiterPointer.make(timeline) : nil
                return XeBindQueue(id: id, timeline: timeline, fences: fences)
            } catch {
                timeline.free()
                throw error
            }
        } catch {
            destroyXeQueue(id, pointee.node)
            throw error
        }
    }

    func destroy(_ queue: XeBindQueue) {
        queue.fences?.stop()
        queue.timeline.free()
        destroyXeQueue(queue.id, pointee.node)
    }
}

extension UnsafeMutablePointer where Pointee == XeSpace {
    /// What is still mapped goes with it. No update is under way.
    func free() {
        let backend = pointee.backend
        let memory = backend.pointee.memory
        backend.destroy(pointee.maps)
        if !pointee.isLongRunning { backend.destroy(pointee.unmaps) }
        if let lanes = pointee.lanes { backend.freeLanes(lanes) }
        destroyXeSpace(pointee.id, backend.pointee.node)
        memory.deallocateArray(pointee.slots, count: XeSpace.slotWords)
        memory.deallocateArray(pointee.operations, count: XeSpace.mostRanges)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }
}

/// A new queue of the kernel's, whose jobs run on any one of the engines, or for binds: its id.
func makeXeQueue(_ node: DRMNode, space: UInt32, engines: XeEngines) throws(Status) -> UInt32 {
    var status = Status(raw: 0)
    let id = engines.list.span.withUnsafeBufferPointer { list in
        var create = unbind_drm_xe_exec_queue_create()
        create.width = 1
        create.num_placements = UInt16(engines.count)
        create.vm_id = space
        create.instances = UInt64(UInt(bitPattern: list.baseAddress!))
        do throws(Status) {
            try node.call(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &create)
        } catch {
            status = error
        }
        return create.exec_queue_id
    }
    if status.raw != 0 { throw status }
    // Some incomplete drivers take every request for a success.
    guard id != 0 else { throw Status(raw: -EIO) }
    return id
}

func destroyXeQueue(_ id: UInt32, _ node: DRMNode) {
    var destroy = unbind_drm_xe_exec_queue_destroy()
    destroy.exec_queue_id = id
    node.end(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &destroy)
}

/// The queue was banned, or is gone: it does nothing any more.
func isXeQueueDead(_ id: UInt32, _ node: DRMNode) -> Bool {
    var request = unbind_drm_xe_exec_queue_get_property()
    request.exec_queue_id = id
    request.property = UNBIND_DRM_XE_EXEC_QUEUE_GET_PROPERTY_BAN
    do throws(Status) {
        try node.call(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &request)
    } catch {
        return error == .closed
    }
    return request.value != 0
}
