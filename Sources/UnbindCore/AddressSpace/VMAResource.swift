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
    /// First: a pointer to it is a pointer to the VMAResource. Its home is the VM's.
    var fence: Fence
    /// Its place in the interval index; at `nodeOffset`.
    var node = IntervalNode()
    /// Next among those ready to be cleared, then among those to be reaped. Before it is scheduled, under the timeline
    /// policy: memory for the edge to the unbind before.
    fileprivate(set) var link: UnsafeMutableRawPointer?
    /// Whatever becomes of what it awaits, the unbind happens.
    let gate = JoinCount()
    /// The binding's own, dropped when the entries are cleared, and one for each hold. Changes under the history's lock.
    let holds = Atomic<Int32>(1)
    /// See VMAResource+Entries.
    var writtenIn: UInt64 = 0
    /// Its place in the order in which the VM's unbinds were scheduled.
    var order: UInt64 = 0
    /// The buffer's, which the VMA keeps while it is bound; a reference from when the unbind is pending until it has
    /// completed.
    let pages: PageListPointer
    let boID: UInt64
    /// What is bound.
    let start: UInt64
    let size: UInt64
    /// Flags, and above them the number under which the binding decided the modes of tables; see `set`. Changes under
    /// the VM's lock until it is scheduled.
    fileprivate let word: Atomic<UInt64>

    static var nodeOffset: Int { roundUp(MemoryLayout<Fence>.size, to: MemoryLayout<IntervalNode>.alignment) }

    // `writtenIn` where a backend has the page tables: 0, one of these, or see `isHandedOver`.
    /// The backend maps it.
    static var mapped: UInt64 { 1 }
    /// It is bound, and a resume will have the backend map it.
    static var suspended: UInt64 { .max &- 1 }
    /// The device was lost before it was unmapped.
    static var lost: UInt64 { .max }

    /// Who gives the power reference of a completed unbind back.
    enum PowerEnd { case toCaller, later }

    /// One bit each.
    enum Flag: UInt64 {
        /// In the index, and so in the reaper's hands when completed.
        case isPublished = 1
        case isScheduled = 2
        /// Scheduled with a reference that keeps the device awake until completed.
        case holdsPower = 4
        /// It was bound when it became writable, and so it stays while that is under way.
        case isUpgraded = 8
        /// A reference to the pages is its own from the start: a view's list is nobody else's.
        case keepsPages = 16
        case isReadOnly = 32
        /// Of a null mapping.
        case isNull = 64
        /// Unbound for the sake of others, or of a move.
        case makesWay = 128

        static var count: UInt64 { 8 }
    }

    @inline(__always)
    private func has(_ flag: Flag) -> Bool { word.load(ordering: .relaxed) & flag.rawValue != 0 }

    @inline(__always) var isPublished: Bool { has(.isPublished) }
    @inline(__always) var isScheduled: Bool { has(.isScheduled) }
    @inline(__always) var holdsPower: Bool { has(.holdsPower) }
    @inline(__always) var isUpgraded: Bool { has(.isUpgraded) }
    @inline(__always) var keepsPages: Bool { has(.keepsPages) }
    var isNull: Bool { has(.isNull) }
    var makesWay: Bool { has(.makesWay) }
    /// While it is installed a read-only binding may become writable.
    @inline(__always) var isReadOnly: Bool { has(.isReadOnly) }

    /// Weak, until freed.
    @inline(__always)
    var vm: VMPointer { VMPointer(ofUnbindHome: fence.home) }

    @inline(__always)
    var next: ResourcePointer? { link?.assumingMemoryBound(to: VMAResource.self) }

    @inline(__always)
    func covers(_ address: UInt64) -> Bool { address >= start && address &- start < size }

    /// What the page tables must know of it. Only as long as the pages are kept: by the VMA, the pending unbind or a
    /// hold.
    @inline(__always)
    var binding: Binding {
        let word = word.load(ordering: .relaxed)
        let isNull = word & Flag.isNull.rawValue != 0
        return Binding(
            start: start, size: size, physical: isNull ? start : pages.pointee.physical,
            isLocal: pages.pointee.isLocal, isReadOnly: word & Flag.isReadOnly.rawValue != 0, isNull: isNull,
            decision: word &>> Flag.count)
    }
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// `pages` are those of the binding.
    @inline(__always)
    static func initialize(
        _ memory: UnsafeMutableRawPointer, vm: VMPointer, pages: PageListPointer, binding: Binding, boID: UInt64,
        timelineAwait: UnsafeMutableRawPointer?
    ) -> ResourcePointer {
        invariant(binding.decision <= .max &>> VMAResource.Flag.count, "modes of tables were decided too often")
        let resource = memory.bindMemory(to: VMAResource.self, capacity: 1)
        let flags =
            (binding.isReadOnly ? VMAResource.Flag.isReadOnly.rawValue : 0)
            | (binding.isNull ? VMAResource.Flag.isNull.rawValue : 0)
        resource.initialize(
            to: VMAResource(
                fence: Fence(home: vm.unbindHome), link: timelineAwait, pages: pages, boID: boID, start: binding.start,
                size: binding.size, word: Atomic(binding.decision &<< VMAResource.Flag.count | flags)))
        vm.resourceMade()
        return resource
    }

    /// - Locking: the VM's lock is held, and it is not published yet.
    @inline(__always)
    func set(_ flag: VMAResource.Flag, _ value: Bool = true) {
        let word = pointee.word.load(ordering: .relaxed) & ~flag.rawValue
        pointee.word.store(value ? word | flag.rawValue : word, ordering: .relaxed)
    }

    /// Next among others of its state.
    @inline(__always)
    func setNext(_ next: ResourcePointer?) { pointee.link = UnsafeMutableRawPointer(next) }

    /// Under the timeline policy, once: memory for the edge to the unbind before.
    func takeTimelineAwait() -> UnsafeMutableRawPointer {
        let memory = pointee.link.unsafelyUnwrapped
        pointee.link = nil
        return memory
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

    /// What a published unbind takes of the address space: the binding with guards and padding.
    /// - Locking: the VM's lock is held.
    var blockedRange: ClosedRange<UInt64> { node.range }
}

extension UnsafeMutablePointer where Pointee == VMAResource {
    /// Drops a reference of who holds the VM's lock, or is the last to use the VM: then its weak reference needs no
    /// atomic operation to go.
    @inline(__always)
    func dropLocked() {
        if !fence.endsWithOnlyReference() { return fence.drop() }
        let vm = pointee.vm
        deinitialize(count: 1)
        vm.pointee.device.cache(.resource).give(UnsafeMutableRawPointer(self))
        vm.resourceFreed()
    }
}

func releaseResource(_ memory: UnsafeMutableRawPointer) {
    let resource = memory.assumingMemoryBound(to: VMAResource.self)
    let vm = resource.pointee.vm
    resource.deinitialize(count: 1)
    vm.pointee.device.cache(.resource).give(memory)
    vm.dropWeakly()
}
