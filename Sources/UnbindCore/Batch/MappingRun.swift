// MappingRun: neighbouring mappings of one buffer that one unmap of a batch takes away as a whole.
//
// There may be thousands of them, and they all become ready at the same moment; so they go together. What each costs is
// its place in the index of ranges, its page-table entries and its memory. All else is done once for the run: if
// nothing is to be waited for, the entries are cleared within the call, and no fence has anything to say; otherwise one
// VMAResource is unbound in their place, with one fence, one place among the pending unbinds and one history record,
// and a segment in its list of pages for each of them.
//
// Only idle mappings are in a run: bound, not held, nothing to wait for but what the batch waits for. And only where
// nobody is told of each of them: no backend, no stream of binding events, not under the timeline policy.
//
// - Locking: found and taken away under the VM's lock, one hold of the batches' lock lasting from the one to the other.

import Synchronization

struct MappingRun {
    enum Manner {
        /// Cleared within the call.
        case atOnce
        /// `resource` is unbound for them.
        case asOne
        /// A single one, by its own resource: it has come to be held, or its entries are lost.
        case alone
    }

    /// Its mappings, in the plan's list.
    let first: Int
    var count: Int
    let start: UInt64
    var end: UInt64
    let bo: BufferObjectPointer
    let isReadOnly: Bool
    var manner = Manner.atOnce
    /// Unless at once: what is unbound, with a reference.
    var resource: ResourcePointer?
    /// To what its unbind awaits.
    var edges: AwaitPointer?
    var schedule = UnbindSchedule.deferred
    /// At once: entries cleared.
    var entries: UInt64 = 0
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// Neighbours may go together.
    var hasMappingRuns: Bool {
        pointee.backendSpace == nil && pointee.stream == nil && pointee.options.policy != .timeline
    }

    /// Makes what is unbound in the place of mappings, which it leaves as they are.
    /// - Locking: the VM's lock is held.
    /// - Failure: noMemory.
    func makeResource(
        for run: MappingRun, _ mappings: UnsafeMutablePointer<VMAPointer>
    ) throws(Status) -> ResourcePointer {
        let device = pointee.device
        let memory = device.pointee.memory
        guard let segments = memory.allocateArray(of: ViewSegment.self, count: run.count) else { throw Status.noMemory }
        for index in 0..<run.count {
            let vma = mappings[index]
            let node = vma.node.pointee
            (segments + index).initialize(
                to: ViewSegment(
                    offset: node.start &- run.start, size: node.size,
                    bufferOffset: vma.pointee.view.unsafelyUnwrapped.pointee.offset))
        }
        let whole = run.bo.pages
        let size = run.end &- run.start
        guard let pages = whole.makeView(size: size, offset: 0, segments: segments, segmentCount: run.count) else {
            memory.deallocateArray(segments, count: run.count)
            throw Status.noMemory
        }
        guard let object = device.cache(.resource).take() else {
            pages.drop()
            throw Status.noMemory
        }
        let binding = Binding(
            start: run.start, size: size, physical: whole.pointee.physical, isLocal: whole.pointee.isLocal,
            isReadOnly: run.isReadOnly)
        let resource = ResourcePointer.initialize(
            object, vm: self, pages: pages, binding: binding, boID: run.bo.pointee.id, timelineAwait: nil)
        resource.set(.keepsPages)
        resource.pointee.writtenIn = mappings[0].pointee.resource.unsafelyUnwrapped.pointee.writtenIn
        return resource
    }

    /// None of them has come to be held, nor lost its entries, since they were found.
    /// - Locking: the VM's lock is held.
    func isStillIdle(_ run: MappingRun, _ mappings: UnsafeMutablePointer<VMAPointer>) -> Bool {
        let space = pointee.space
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        for index in 0..<run.count {
            let resource = mappings[index].pointee.resource.unsafelyUnwrapped
            if resource.isHeld || !resource.fence.hasOnlyReference { return false }
            if resource.pointee.writtenIn != space.pointee.generation { return false }
        }
        return true
    }

    /// Clears what a run has in the page tables. How many entries that were.
    /// - Locking: the VM's lock is held.
    func clearEntries(of run: MappingRun, _ mappings: UnsafeMutablePointer<VMAPointer>) -> UInt64 {
        let space = pointee.space
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        var entries: UInt64 = 0
        var leaf: PageTablePointer?
        for index in 0..<run.count {
            let resource = mappings[index].pointee.resource.unsafelyUnwrapped
            entries &+= space.clearLocked(resource.pointee.binding, near: &leaf)
        }
        return entries
    }

    /// Takes their ranges from the mappings of a run, and frees their resources, which nobody has ever seen. Of the
    /// places that they have among the pending unbinds `kept` stay reserved.
    /// - Locking: the VM's lock is held.
    func detach(_ run: MappingRun, _ mappings: UnsafeMutablePointer<VMAPointer>, kept: Int) {
        pointee.ranges.removeRun(from: mappings[0].node, count: run.count)
        var views: UInt32 = 0
        for index in 0..<run.count {
            let vma = mappings[index]
            let resource = vma.pointee.resource.unsafelyUnwrapped
            while let user = vma.pointee.users {
                vma.pointee.users = user.pointee.next
                pointee.device.free(user)
            }
            leaveByRecency(vma)
            vma.pointee.pinCount = 0
            vma.pointee.resource = nil
            vma.pointee.stateHint.store(VMAState.unbound.rawValue, ordering: .releasing)
            if let fence = vma.pointee.bindFence {
                vma.pointee.bindFence = nil
                fence.drop()
            }
            if resource.pointee.pages.dropView() { views &+= 1 }
            resource.dropLocked()
        }
        // The buffer has another one, and so has each VMA of the buffer.
        if views > 0 { run.bo.pages.drop(views) }
        for _ in kept..<run.count { pointee.pending.unreserve() }
        _ = run.bo.pointee.mappingCount.wrappingSubtract(run.count, ordering: .relaxed)
        _ = pointee.batches.pointee.mappings.wrappingSubtract(run.count, ordering: .relaxed)
    }

    /// The TLB invalidation of all that a batch has cleared within the call.
    /// - Locking: the VM's lock is held.
    func invalidateCleared(start: UInt64, end: UInt64) {
        let space = pointee.space
        space.pointee.lock.acquire()
        let isNeeded = space.needsInvalidation
        space.pointee.lock.release()
        if isNeeded { invalidate(start: start, size: end &- start) } else { space.skipInvalidation() }
    }
}
