// VMAResource: a snapshot of one binding, and its unbind (i915_vma_resource, drivers/gpu/drm/i915/i915_vma_resource.c).
//
// Made when a VMA is bound, it has everything that clearing the binding will need: range, pages, the unbind fence
// that is also its reference count, the gate that opens when the GPU is done with the range, and its place among the
// pending unbinds. So the VMA is free to be bound anew, or to go, while the unbind is still to come.
//
// Life: installed on its VMA -> scheduled (published in PendingUnbinds, unless nothing is awaited) -> ready (the gate
// has opened) -> cleared -> held (somebody still looks at it) -> completed (the fence has signalled) -> reaped by the
// next lookup -> freed with the last reference to its fence.
//
// - Signalling: everything from ready on.

import Synchronization

typealias ResourcePointer = UnsafeMutablePointer<VMAResource>

struct VMAResource: ~Copyable {
    /// First: a pointer to it is a pointer to the VMAResource. Context 0: unbinds are ordered with nothing.
    var fence: Fence
    /// Its place in the interval index; at `nodeOffset`.
    var node = IntervalNode()
    /// Next among those ready to be cleared, then among those to be reaped.
    var next: ResourcePointer?
    let gate = SoftwareFence()
    /// The binding's own, dropped when the entries are cleared, and one for each hold.
    let holds = Atomic<Int32>(1)
    /// In the index, and so in the reaper's hands when completed.
    var isPublished = false
    var isScheduled = false
    /// Scheduled with a reference that keeps the device awake until completed.
    var holdsPower = false
    /// See VMAResource+Entries.
    var writtenIn: UInt64 = 0
    /// Its place in the order in which the VM's unbinds were scheduled.
    var order: UInt64 = 0
    /// Weak, until freed.
    let vm: VMPointer
    /// The buffer's, which the VMA keeps while it is bound; a reference from when the unbind is pending until it has
    /// completed.
    let pages: PageListPointer
    /// Changes only while it is installed, under the VM's lock: a read-only binding may become writable.
    var binding: Binding
    /// It was bound when it became writable, and so it stays while that is under way.
    var isUpgraded = false
    let boID: UInt64
    /// A reference to the pages is its own from the start: a view's list is nobody else's.
    var keepsPages = false
    /// What it takes of the address space: the binding with guards and padding.
    let range: ClosedRange<UInt64>
    /// Under the timeline policy: memory for the edge to the unbind before.
    var timelineAwait: UnsafeMutableRawPointer?

    static var nodeOffset: Int { roundUp(MemoryLayout<Fence>.size, to: MemoryLayout<IntervalNode>.alignment) }

    // `writtenIn` where a backend has the page tables: 0, or one of these.
    /// The backend maps it.
    static var mapped: UInt64 { 1 }
    /// The device was lost before it was unmapped.
    static var lost: UInt64 { .max }

    /// Who gives the power reference of a completed unbind back.
    enum PowerEnd { case toCaller, later }
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// `range`: what it takes of the address space, with guards and padding.
    static func initialize(
        _ memory: UnsafeMutableRawPointer, vm: VMPointer, pages: PageListPointer, binding: Binding,
        range: ClosedRange<UInt64>, boID: UInt64, timelineAwait: UnsafeMutableRawPointer?
    ) -> ResourcePointer {
        let resource = memory.bindMemory(to: VMAResource.self, capacity: 1)
        resource.initialize(
            to: VMAResource(
                fence: Fence(
                    owner: UnsafeMutableRawPointer(vm.pointee.device), isOwnWork: true, release: releaseResource),
                vm: vm, pages: pages, binding: binding, boID: boID, range: range, timelineAwait: timelineAwait))
        vm.resourceMade()
        return resource
    }

    @inline(__always)
    init(containing node: UnsafeMutablePointer<IntervalNode>) {
        self = (UnsafeMutableRawPointer(node) - VMAResource.nodeOffset).assumingMemoryBound(to: VMAResource.self)
    }

    @inline(__always)
    init(of fence: FencePointer) { self = UnsafeMutableRawPointer(fence).assumingMemoryBound(to: VMAResource.self) }

    @inline(__always)
    var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    @inline(__always)
    var node: UnsafeMutablePointer<IntervalNode> {
        memberPointer(of: self, at: VMAResource.nodeOffset, as: IntervalNode.self)
    }

    // MARK: Holds

    /// Keeps the binding's pages and delays its unbind fence until `unhold`, for whoever wants to read what is bound
    /// there. False if the unbind has completed: there is nothing to look at any more.
    /// - Locking: the VM's lock, under which the resource was found.
    func hold() -> Bool {
        var count = pointee.holds.load(ordering: .relaxed)
        while count != 0 {
            let result = pointee.holds.weakCompareExchange(expected: count, desired: count + 1, ordering: .acquiring)
            if result.exchanged { return true }
            count = result.original
        }
        return false
    }

    /// Whether somebody holds an installed binding.
    /// - Locking: the VM's lock.
    var isHeld: Bool { pointee.holds.load(ordering: .acquiring) != 1 }

    /// Ends a hold. The last one completes the unbind, on this thread.
    /// - Locking: nothing may be held.
    func unhold() { _ = dropHold(at: pointee.vm.pointee.device.now, power: .later) }

    /// Scheduled, and not completed.
    var isUnbinding: Bool {
        let vm = pointee.vm
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        return pointee.isScheduled && !fence.isSignalled
    }

    /// The entries are cleared and no translation is left, or a hold has ended.
    /// True if that left the caller with a power reference to give back, when no lock is held and no signalling
    /// section is open.
    func dropHold(at time: UInt64, power: VMAResource.PowerEnd) -> Bool {
        if pointee.holds.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue != 1 { return false }
        let isCallers = pointee.holdsPower && power == .toCaller
        // First: the end of the unbind lets a close go on.
        if pointee.holdsPower, !isCallers { pointee.vm.power?.putLater() }
        complete(at: time)
        return isCallers
    }

    /// The last hold is gone: tells everybody, lets go of the pages, and leaves the index to the next lookup. The
    /// chain's reference goes with the index entry, so that no lookup meets freed memory (P15, P22).
    private func complete(at time: UInt64) {
        let vm = pointee.vm
        finish(at: time)
        vm.pendingUnbindsEnded(1)
    }

    /// For the drain, of a device without power: as dropHold, but the unbind still counts as pending. True if it is
    /// completed. If somebody holds it, and with `recordsStart`, this is when it started.
    func dropHoldPending(at time: UInt64, recordsStart: Bool) -> Bool {
        if recordsStart, pointee.holds.load(ordering: .relaxed) != 1 { record(.unbindStarted, at: time) }
        if pointee.holds.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue != 1 { return false }
        finish(at: time)
        return true
    }

    private func finish(at time: UInt64) {
        let vm = pointee.vm
        let pages = pointee.pages
        record(.unbindCompleted, at: time)
        _ = vm.pointee.stats.pointee.completed.wrappingAdd(1, ordering: .relaxed)
        fence.signal(error: pointee.writtenIn == VMAResource.lost ? Status.lost.raw : 0, at: time)
        if pointee.isPublished {
            vm.pointee.pending.push(self)
        } else {
            fence.drop()
        }
        pages.drop()
    }

    /// The end of an unbind that was never pending: nobody holds it.
    /// - Locking: as dropHold; the caller keeps the VM.
    func completeAtOnce(at time: UInt64) {
        record(.unbindCompleted, at: time)
        let pages = pointee.keepsPages ? pointee.pages : nil
        fence.signal(at: time)
        pages?.drop()
    }

    private func record(_ operation: HistoryOperation, at time: UInt64) {
        let binding = pointee.binding
        pointee.vm.pointee.history.record(
            operation, start: binding.start, size: binding.size, boID: pointee.boID, time: time)
    }
}

private func releaseResource(_ memory: UnsafeMutableRawPointer) {
    let resource = memory.assumingMemoryBound(to: VMAResource.self)
    let vm = resource.pointee.vm
    resource.deinitialize(count: 1)
    vm.pointee.device.cache(.resource).give(memory)
    vm.dropWeakly()
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// The first pending unbind keeps the VM for all of them, and is work under way for all of them: what is the
    /// device's, all its threads share.
    func pendingUnbindBegan() {
        if pointee.pendingCount.wrappingAdd(1, ordering: .acquiringAndReleasing).oldValue != 0 { return }
        pointee.device.workBegan()
        retain()
    }

    /// The VM may be gone after this.
    func pendingUnbindsEnded(_ count: Int) {
        if pointee.pendingCount.wrappingSubtract(count, ordering: .acquiringAndReleasing).oldValue != count { return }
        let device = pointee.device
        device.retain()
        drop()
        device.workEnded()
        device.drop()
    }
}
