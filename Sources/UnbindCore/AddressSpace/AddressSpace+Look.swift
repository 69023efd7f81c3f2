// Looking at one address: what is bound there, and which pending unbinds cover it. For lookups and fault reports.

import Synchronization

/// What is bound at an address.
struct BoundMapping {
    var state = VMAState.unbound
    var start: UInt64 = 0
    var size: UInt64 = 0
    var boID: UInt64 = 0
    /// Byte of the buffer at the address; nil in the padding of a view.
    var boOffset: UInt64?
    var pins: UInt32 = 0
    var holds: UInt32 = 0
    var isReadOnly = false
    var isLocal = false
    var isView = false
    /// Made by a batch; of those, without memory.
    var isOfBatch = false
    var isNull = false
    /// Nothing is bound, but somebody's guard or padding is there.
    var isGuard = false
}

/// What a pending unbind still awaits. The values are those of UNBIND_AWAITS_*.
enum UnbindObstacle: UInt32 { case work = 0, clearing, holds }

/// An unbind that has not finished.
struct PendingUnbind {
    var start: UInt64
    var size: UInt64
    var boID: UInt64
    var order: UInt64
    var obstacle: UnbindObstacle
    /// Fences or holds.
    var count: UInt32
}

struct Look {
    var mapping = BoundMapping()
    var unbindCount = 0
    /// Binding events made so far.
    var eventCount: UInt64 = 0
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// All as of one moment. Calls `body` for each pending unbind that covers the address, with the VM's lock held.
    func look(at address: UInt64, _ body: (PendingUnbind) -> Void = { _ in }) -> Look {
        var look = Look()
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if let node = pointee.ranges.node(containing: address) {
            look.mapping = VMAPointer(containing: node).mapping(at: address)
        }
        pointee.pending.forEachUnfinished(overlapping: address...address) { resource, _ in
            // Its range has guards, too.
            if resource.pointee.covers(address) {
                look.unbindCount &+= 1
                body(resource.asPendingUnbind)
            }
            return true
        }
        if let stream = pointee.stream { look.eventCount = stream.count }
        return look
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// - Locking: the VM's lock is held.
    fileprivate func mapping(at address: UInt64) -> BoundMapping {
        var mapping = BoundMapping()
        guard let resource = pointee.resource else { return mapping }
        let binding = resource.pointee.binding
        guard binding.covers(address) else {
            mapping.isGuard = true
            return mapping
        }
        mapping.state = lockedState
        mapping.start = binding.start
        mapping.size = binding.size
        mapping.boID = resource.pointee.boID
        let pages = resource.pointee.pages
        mapping.boOffset = resource.pointee.isNull ? 0 : pages.bufferOffset(of: address &- binding.start)
        // Those of batches have a pin that nobody asked for.
        mapping.pins = isMapping ? 0 : pointee.pinCount
        mapping.holds = resource.installedHolds
        mapping.isReadOnly = binding.isReadOnly
        mapping.isLocal = binding.isLocal
        mapping.isView = !isMapping && pointee.view != nil
        mapping.isOfBatch = isMapping
        mapping.isNull = resource.pointee.isNull
        return mapping
    }
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// Of one that is installed: without the binding's own.
    /// - Locking: the VM's lock is held.
    var installedHolds: UInt32 { UInt32(max(0, pointee.holds.load(ordering: .acquiring) - 1)) }

    /// - Locking: the VM's lock is held.
    var asPendingUnbind: PendingUnbind {
        let awaited = pointee.gate.awaitedCount
        var obstacle = UnbindObstacle.work
        var count = UInt32(max(0, awaited))
        if awaited <= 0 {
            // The binding's own hold goes when its entries are cleared: what is left are those of callers.
            count = pointee.vm.pointee.device.holdCount(of: self)
            let isCleared = count > 0 && pointee.holds.load(ordering: .acquiring) <= Int32(count)
            obstacle = isCleared ? .holds : .clearing
            if !isCleared { count = 0 }
        }
        return PendingUnbind(
            start: pointee.start, size: pointee.size, boID: pointee.boID, order: pointee.order, obstacle: obstacle,
            count: count)
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// How many of the caller's holds are on it.
    fileprivate func holdCount(of resource: ResourcePointer) -> UInt32 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var count: UInt32 = 0
        var next = pointee.firstHold
        while let hold = next {
            if hold.pointee.resource == resource { count &+= 1 }
            next = hold.pointee.nextInDevice
        }
        return count
    }
}
