// AddressSpace: one GPU virtual address space (i915_address_space, drivers/gpu/drm/i915/gt/intel_gtt.h).
//
// It knows three things about an address: which VMA has it now (ranges), which unfinished unbinds still cover it
// (pending), and what the page tables say (space). Its VMA handing a range back does not wait for the other two: a
// new owner of the range waits for the pending unbinds that overlap.
//
// Two counts keep it: strong references (the caller's handle, VMAs, queues, work under way) keep it working; weak
// ones (the memory of VMAResources and jobs, which may outlive all that in a caller's fence) only keep the struct.
//
// - Locking: `lock` guards everything that is not atomic. Completion of unbinds never takes it.

import Synchronization

typealias VMPointer = UnsafeMutablePointer<AddressSpace>

/// What a bind waits for.
enum DependencyPolicy: UInt32 { case ranges = 0, timeline = 1, sync = 2 }

struct AddressSpaceOptions {
    var size: UInt64 = 1 << 48
    var pageSizes: UInt64 = 0x21_1000
    var policy = DependencyPolicy.ranges
    var coloring = false
    /// What lies below is mappable; a pin may ask to be there.
    var mappableSize: UInt64 = 1 << 48
    /// Bytes kept unmapped on both sides of every binding.
    var guardSize: UInt64 = 0
    /// Seen by the whole device, as the GGTT is: its entries need the device awake.
    var isGlobal = false
    /// 64 KiB pages are a mode of whole page tables.
    var hasTableModes = false
    /// Operations remembered; 0: none.
    var historyCapacity = History.defaultCapacity
}

#if DEBUG
    /// What a test breaks in one VM, to see that it would be found.
    enum Flaw {
        case none
        /// A bind that changes the mode of a table looks for pending unbinds in its own range alone.
        case searchesOwnRangeOnly
        /// An unbind leaves the TLBs alone.
        case dropsInvalidation
        /// An unbind signals, and lets go of its pages, before the TLB invalidation.
        case signalsBeforeInvalidation
    }
#endif

struct AddressSpace: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = AddressSpace.magic
    /// Of the unbinds' fences, which find the VM by it; at `unbindHomeOffset`.
    let unbindHome: FenceHome
    let count = SharedCount()
    /// Weak references, and while it works so many more that they are not counted one by one when they are made under
    /// its lock: `resourcesMade` tells in the end how many there were.
    let weakCount = Atomic<Int>(AddressSpace.workingBias)
    let device: DevicePointer
    let id: UInt64
    let options: AddressSpaceOptions
    let lock = FutexLock(.addressSpace)

    let ranges: UnsafeMutablePointer<RangeAllocator>
    let pending: UnsafeMutablePointer<PendingUnbinds>
    /// The page tables. Nil where a backend has them: then there is `backendSpace`.
    let softwareSpace: UnsafeMutablePointer<SoftwareSpace>?
    let backendSpace: BackendSpacePointer?
    let history: UnsafeMutablePointer<History>
    let stats: UnsafeMutablePointer<AddressSpaceStats>
    let batches: UnsafeMutablePointer<BatchState>
    /// Clears what is ready to be cleared; see AddressSpace+Drain.
    let drain: UnsafeMutablePointer<UnbindDrain>
    /// Nil if the host does not want to be told of binds and unbinds.
    let stream: BindingStreamPointer?
    /// Page tables of our own, without modes, and nobody to tell: a bind that finds nothing in its way is one step.
    let isPlain: Bool

    /// Written under the lock.
    let closedFlag = Atomic<Bool>(false)
    /// Written under the lock; see AddressSpace+Suspend.
    let suspendedFlag = Atomic<Bool>(false)
    /// Unbinds scheduled and not completed; changes under the history's lock. The first holds a strong reference for all.
    let pendingCount = Atomic<Int>(0)
    /// Jobs submitted whose commands have not ended, on all queues: while there are any, page-table walks may happen.
    let jobsInFlight = Atomic<Int>(0)

    /// The bound VMAs in order of use, under the lock; see AddressSpace+Recency.
    var leastRecent: VMAPointer?
    var mostRecent: VMAPointer?

    /// The device's list, under its lock.
    var nextInDevice: VMPointer?
    var previousInDevice: VMPointer?

    /// VMAResources made so far, each with a weak reference, but for those freed under the lock; under the lock.
    var resourcesMade = 0
    #if DEBUG
        var flaw = Flaw.none
    #endif

    /// Of the software GPU.
    @inline(__always)
    var space: UnsafeMutablePointer<SoftwareSpace> { softwareSpace.unsafelyUnwrapped }

    static var magic: UInt32 { 0x7576_6d73 }
    static var workingBias: Int { 1 << 60 }
    static var unbindHomeOffset: Int { roundUp(MemoryLayout<UInt32>.size, to: MemoryLayout<FenceHome>.alignment) }

    /// What every address and size in here is a multiple of.
    var alignment: UInt64 { options.pageSizes & (~options.pageSizes &+ 1) }
}

/// Counters of one address space, under its lock but for the atomic ones.
struct AddressSpaceStats: ~Copyable {
    var binds: UInt64 = 0
    var bindsWaited: UInt64 = 0
    var unbindsImmediate: UInt64 = 0
    /// Of them, those that were never pending.
    var completedAtOnce: UInt64 = 0
    var unbindsDeferred: UInt64 = 0
    var awaited: UInt64 = 0
    var awaitedNotOverlapping: UInt64 = 0
    var pendingPeak: UInt64 = 0
    /// Changes under the history's lock.
    let completed = Atomic<UInt64>(0)
    let skipped = Atomic<UInt64>(0)
    let batches = Atomic<UInt64>(0)
    let bindWaitNanoseconds = Atomic<UInt64>(0)

    init() {}
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    @inline(__always)
    var unbindHome: FenceHomePointer {
        memberPointer(of: self, at: AddressSpace.unbindHomeOffset, as: FenceHome.self)
    }

    @inline(__always)
    init(ofUnbindHome home: FenceHomePointer) {
        self = (UnsafeMutableRawPointer(home) - AddressSpace.unbindHomeOffset).assumingMemoryBound(
            to: AddressSpace.self)
    }

    var isClosed: Bool { pointee.closedFlag.load(ordering: .acquiring) }

    // MARK: References

    func retain() { pointee.count.retain() }

    func tryRetain() -> Bool { pointee.count.tryRetain() }

    /// - Locking: nothing of this VM's may be held.
    func drop(_ count: UInt32 = 1) {
        if pointee.count.drop(count) { tearDown() }
    }

    /// A weak reference for a new resource.
    /// - Locking: the VM's lock is held.
    @inline(__always)
    func resourceMade() { pointee.resourcesMade = pointee.resourcesMade &+ 1 }

    /// The resource's weak reference has gone with it.
    /// - Locking: as resourceMade.
    @inline(__always)
    func resourceFreed() { pointee.resourcesMade = pointee.resourcesMade &- 1 }

    func retainWeakly() { _ = pointee.weakCount.wrappingAdd(1, ordering: .relaxed) }

    /// It works no more.
    func dropBias() {
        let amount = AddressSpace.workingBias &- pointee.resourcesMade
        if pointee.weakCount.wrappingSubtract(amount, ordering: .acquiringAndReleasing).newValue == 0 { free() }
    }

    func dropWeakly() {
        if pointee.weakCount.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue == 1 { free() }
    }

    /// The caller lets go of a handle.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        pointee.device.handleDropped(.vm)
        // Closed already is as good.
        _ = try? close()
        drop()
    }
}
