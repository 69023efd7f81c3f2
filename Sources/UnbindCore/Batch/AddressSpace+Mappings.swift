// Giving a mapping its VMAResource and its range: for batches, and for merging.
//
// - Locking: the VM's lock is held.

import Synchronization

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// With the pages that it shows of `pages`, which are the buffer's.
    /// - Failure: noMemory.
    func makeMappingResource(
        _ content: MappingContent, _ pages: PageListPointer, start: UInt64, end: UInt64
    ) throws(Status) -> ResourcePointer {
        let device = pointee.device
        var timelineAwait: UnsafeMutableRawPointer?
        if pointee.options.policy == .timeline {
            timelineAwait = device.cache(.await).take()
            if timelineAwait == nil { throw Status.noMemory }
        }
        guard let memory = device.cache(.resource).take() else {
            if let timelineAwait { device.cache(.await).give(timelineAwait) }
            throw Status.noMemory
        }
        let own: PageListPointer
        do throws(Status) {
            own = try content.makePages(of: pages, size: end &- start)
        } catch {
            if let timelineAwait { device.cache(.await).give(timelineAwait) }
            device.cache(.resource).give(memory)
            throw error
        }
        let resource = ResourcePointer.initialize(
            memory, vm: self, pages: own, binding: content.binding(at: start, size: end &- start, of: own),
            boID: content.isNull ? 0 : content.bo.pointee.id, timelineAwait: timelineAwait)
        resource.set(.keepsPages)
        return resource
    }

    /// What its unbind, its entries and its events will need. What was taken is noted, also on failure.
    /// - Failure: noMemory, closed.
    func reserveRoom(
        of resource: ResourcePointer, _ hasTables: inout Bool, _ hasIndexSlot: inout Bool
    ) throws(Status) {
        if let stream = pointee.stream { try stream.reserve() }
        if !pointee.pending.reserve() {
            pointee.stream?.unreserve()
            throw Status.noMemory
        }
        hasIndexSlot = true
        try reserveEntries(of: resource.pointee.binding, resource.pointee.pages)
        hasTables = true
    }

    /// Gives that back.
    func unreserveRoom(of resource: ResourcePointer?, hasTables: Bool, hasIndexSlot: Bool) {
        if hasIndexSlot {
            pointee.pending.unreserve()
            pointee.stream?.unreserve()
        }
        if hasTables { pointee.softwareSpace?.cancel(resource!.pointee.binding) }
    }

    /// Takes its range from a mapping whose entries others have now: its binding is not to be unbound. What it waited
    /// for has ended, or is another's to wait for.
    func detach(_ vma: VMAPointer) {
        let resource = vma.pointee.resource!
        // Its slot among the pending unbinds.
        pointee.pending.unreserve()
        resource.set(.isScheduled)
        resource.set(.makesWay)
        if let stream = pointee.stream { stream.recordUnbind(resource, isPending: false) }
        var next = vma.pointee.users
        vma.pointee.users = nil
        vma.detachBinding()
        while let user = next {
            next = user.pointee.next
            pointee.device.free(user)
        }
    }

    /// Gives the mapping its range, for which there is room and memory, and a reference to its binding.
    func install(_ vma: VMAPointer, _ resource: ResourcePointer, isBound: Bool) {
        let binding = resource.pointee.binding
        do throws(Status) {
            try pointee.ranges.reserve(vma.node, start: binding.start, size: binding.size, color: 0)
        } catch {
            panic("a mapping found no room where there was to be some")
        }
        resource.fence.retain()
        vma.pointee.resource = resource
        enterByRecency(vma)
        vma.pointee.pinCount = 1
        let state = isBound ? VMAState.bound : VMAState.binding
        vma.pointee.stateHint.store(state.rawValue, ordering: .releasing)
        pointee.batches.mappingBegan()
    }
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// Frees one that was never bound.
    /// - Locking: nothing may be held.
    func discard() {
        freeTimelineAwait()
        let pages = pointee.pages
        fence.drop()
        pages.drop()
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// Gives slots of its buffer's reservation back.
    func releaseSlot(_ count: Int = 1) {
        let reservation = pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        reservation.unreserve(count)
        reservation.pointee.lock.release()
    }
}
