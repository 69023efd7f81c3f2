// I915Space: an address space of the kernel's, what is bound in it, and the context that binds and unbinds.
//
// The kernel has no name for a place in an address space but the objects in it, so what is bound is kept here, too
// (I915Mappings). Slot 0 of the library's part has the empty batch, the others the buffers of queues.
//
// - Locking: `lock` (LockRank.pageTables) guards the mappings, the slots, and which dummies are in use. It is not held
//   over a call to the kernel.

import CLibDRM
import CSystem
import Synchronization

struct I915Space: ~Copyable {
    let backend: I915BackendPointer
    let id: UInt32
    /// Used by one update at a time.
    let binder: I915ContextPointer
    /// Of unbinds under way: at the place of the first of each one's dummies.
    let flights: UnsafeMutablePointer<I915Flight>
    let lock = FutexLock(.pageTables)

    /// Under the lock, as all that follows.
    let mappings: UnsafeMutablePointer<I915Mappings>
    /// A bit for each dummy whose unbind is under way.
    var busyDummies: UInt64 = 0
    /// A bit for each slot in use.
    var slots = InlineArray<8, UInt64>(repeating: 0)
    /// Of the batch that was listed last.
    var listSerial: UInt64 = 0

    /// Binds and unbinds that are awaited at the same time, for which no memory is needed.
    static var room: Int { 256 }
}

/// An unbind that the kernel has taken.
struct I915Flight {
    let space: I915SpacePointer
    let dummies: UInt64
    let completion: PointCompletion
}

typealias I915SpacePointer = UnsafeMutablePointer<I915Space>

extension UnsafeMutablePointer where Pointee == I915Backend {
    /// - Parameter size: as the library wants it, at most `addressLimit`.
    func makeSpace() throws(Status) -> I915SpacePointer {
        let (node, memory) = (pointee.node, pointee.memory)
        guard let space = memory.allocateApart(of: I915Space.self) else { throw Status.noMemory }
        guard let mappings = memory.allocateApart(of: I915Mappings.self) else {
            memory.deallocateApart(space)
            throw Status.noMemory
        }
        guard let flights = memory.allocateArray(of: I915Flight.self, count: I915Backend.dummyCount) else {
            memory.deallocateApart(mappings)
            memory.deallocateApart(space)
            throw Status.noMemory
        }
        mappings.initialize(to: I915Mappings())
        do throws(Status) {
            var control = unbind_drm_i915_gem_vm_control()
            try node.call(UNBIND_DRM_IOCTL_I915_GEM_VM_CREATE, &control)
            // Some incomplete drivers take every request for a success.
            guard control.vm_id != 0 else { throw Status(raw: -EIO) }
            do throws(Status) {
                let binder = try I915ContextPointer.make(
                    self, space: control.vm_id, engine: pointee.configuration.bindEngine,
                    capacity: I915Backend.dummyCount + 1, points: I915Space.room)
                space.initialize(
                    to: I915Space(
                        backend: self, id: control.vm_id, binder: binder, flights: flights, mappings: mappings))
                space.pointee.slots[0] = 1
            } catch {
                destroyI915Space(control.vm_id, node)
                throw error
            }
        } catch {
            memory.deallocateArray(flights, count: I915Backend.dummyCount)
            memory.deallocateApart(mappings)
            memory.deallocateApart(space)
            throw error
        }
        return space
    }
}

extension UnsafeMutablePointer where Pointee == I915Space {
    /// What is still bound goes with it. No update is under way.
    func free() {
        let backend = pointee.backend
        let memory = backend.pointee.memory
        pointee.binder.free()
        destroyI915Space(pointee.id, backend.pointee.node)
        while let mapping = pointee.mappings.pointee.first(endingAfter: 0) { remove(mapping) }
        memory.deallocateApart(pointee.mappings)
        memory.deallocateArray(pointee.flights, count: I915Backend.dummyCount)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    // MARK: Under the lock

    func insert(_ mapping: I915MappingPointer) { pointee.mappings.insert(mapping.links) }

    /// Frees it, too.
    func remove(_ mapping: I915MappingPointer) {
        pointee.mappings.remove(mapping.links)
        pointee.backend.pointee.memory.deallocateApart(mapping)
    }

    // MARK: Slots

    func takeSlot() throws(Status) -> Int {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        for index in 0..<pointee.slots.count {
            let used = pointee.slots[index]
            if used == .max { continue }
            let bit = (~used).trailingZeroBitCount
            pointee.slots[index] = used | 1 &<< UInt64(bit)
            return index &* 64 &+ bit
        }
        throw Status.again
    }

    func giveSlot(_ slot: Int) {
        pointee.lock.acquire()
        pointee.slots[slot / 64] = pointee.slots[slot / 64] & ~(1 &<< UInt64(slot % 64))
        pointee.lock.release()
    }

    func address(ofSlot slot: Int) -> UInt64 {
        pointee.backend.pointee.addressLimit &+ UInt64(slot) &* I915Backend.slotBytes
    }
}

private func destroyI915Space(_ id: UInt32, _ node: DRMNode) {
    var control = unbind_drm_i915_gem_vm_control()
    control.vm_id = id
    node.end(UNBIND_DRM_IOCTL_I915_GEM_VM_DESTROY, &control)
}
