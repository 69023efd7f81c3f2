// XeSpace: an address space of xe's, with bind queues: one for what is mapped and one for what is unmapped. The
// kernel carries out the work of one queue in order; between the two the library has seen to the order where it
// matters, so that an unmap that has to wait (a huge page that is cut waits for all GPU work) delays no map. And a few
// for unmaps that the kernel is to do after something else (XeSpace+Lanes).
//
// One update at a time. What it needs (the array of operations, room to await a point) is there before.

import CLibDRM
import CSystem
import Synchronization

struct XeSpace: ~Copyable {
    let backend: XeBackendPointer
    let id: UInt32
    let maps: XeBindQueue
    let unmaps: XeBindQueue
    let lanes: UnsafeMutablePointer<XeLane>
    /// Of the update that is being handed over.
    let operations: UnsafeMutablePointer<unbind_drm_xe_vm_bind_op>

    /// A bit for each place of a queue's buffer that is taken.
    let slots: UnsafeMutablePointer<Atomic<UInt64>>

    static var slotWords: Int { Int(XeBackend.queueSlots) / 64 }
    /// Ranges of one update.
    static var mostRanges: Int { 256 }
}

/// Carries out binds in order, each of which is a point of the timeline.
struct XeBindQueue: BitwiseCopyable {
    let id: UInt32
    let timeline: KernelTimelinePointer

    /// Points that are awaited at the same time, for which no memory is needed.
    static var room: Int { 256 }
}

typealias XeSpacePointer = UnsafeMutablePointer<XeSpace>

extension UnsafeMutablePointer where Pointee == XeBackend {
    func makeSpace() throws(Status) -> XeSpacePointer {
        let (node, memory) = (pointee.node, pointee.memory)
        guard let space = memory.allocateArray(of: XeSpace.self, count: 1) else { throw Status.noMemory }
        guard let operations = memory.allocateArray(of: unbind_drm_xe_vm_bind_op.self, count: XeSpace.mostRanges)
        else {
            memory.deallocateArray(space, count: 1)
            throw Status.noMemory
        }
        guard let slots = memory.allocateArray(of: Atomic<UInt64>.self, count: XeSpace.slotWords) else {
            memory.deallocateArray(operations, count: XeSpace.mostRanges)
            memory.deallocateArray(space, count: 1)
            throw Status.noMemory
        }
        guard let lanes = memory.allocateArray(of: XeLane.self, count: XeLane.count) else {
            memory.deallocateArray(slots, count: XeSpace.slotWords)
            memory.deallocateArray(operations, count: XeSpace.mostRanges)
            memory.deallocateArray(space, count: 1)
            throw Status.noMemory
        }
        for index in 0..<XeSpace.slotWords { (slots + index).initialize(to: Atomic(0)) }
        do throws(Status) {
            let id = try makeXeSpace(
                node, flags: pointee.options.usesScratch ? UNBIND_DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE : 0)
            do throws(Status) {
                let maps = try makeBindQueue(space: id)
                do throws(Status) {
                    let unmaps = try makeBindQueue(space: id)
                    do throws(Status) {
                        try makeLanes(lanes, space: id)
                    } catch {
                        destroy(unmaps)
                        throw error
                    }
                    space.initialize(
                        to: XeSpace(
                            backend: self, id: id, maps: maps, unmaps: unmaps, lanes: lanes, operations: operations,
                            slots: slots))
                } catch {
                    destroy(maps)
                    throw error
                }
            } catch {
                destroyXeSpace(id, node)
                throw error
            }
        } catch {
            memory.deallocateArray(lanes, count: XeLane.count)
            memory.deallocateArray(slots, count: XeSpace.slotWords)
            memory.deallocateArray(operations, count: XeSpace.mostRanges)
            memory.deallocateArray(space, count: 1)
            throw error
        }
        return space
    }

    func makeBindQueue(space: UInt32, room: Int = XeBindQueue.room) throws(Status) -> XeBindQueue {
        let id = try makeXeQueue(pointee.node, space: space, engines: .binds)
        do throws(Status) {
            let timeline = try KernelTimelinePointer.make(waiter: pointee.waiter, capacity: room)
            return XeBindQueue(id: id, timeline: timeline)
        } catch {
            destroyXeQueue(id, pointee.node)
            throw error
        }
    }

    func destroy(_ queue: XeBindQueue) {
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
        backend.destroy(pointee.unmaps)
        for index in 0..<XeLane.count { backend.destroy(pointee.lanes[index].queue) }
        destroyXeSpace(pointee.id, backend.pointee.node)
        memory.deallocateArray(pointee.lanes, count: XeLane.count)
        memory.deallocateArray(pointee.slots, count: XeSpace.slotWords)
        memory.deallocateArray(pointee.operations, count: XeSpace.mostRanges)
        deinitialize(count: 1)
        memory.deallocateArray(self, count: 1)
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
    return id
}

func destroyXeQueue(_ id: UInt32, _ node: DRMNode) {
    var destroy = unbind_drm_xe_exec_queue_destroy()
    destroy.exec_queue_id = id
    node.end(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &destroy)
}
