// VMA: one buffer object at one place in one address space (i915_vma, drivers/gpu/drm/i915/i915_vma.c).
//
// The long-lived record; each time it is bound it gets a range and a VMAResource, which leaves it again when it is
// unbound.
//
// - Locking: everything but `count` and `address` is guarded by the VM's lock.

import Synchronization

typealias VMAPointer = UnsafeMutablePointer<VMA>

struct VMAOptions {
    /// Bind here or not at all.
    var fixedAddress: UInt64?
    /// Of an automatic address. 0, until the VMA is made: the largest page size that fits.
    var alignment: UInt64 = 0
    var isHigh = false
    var avoidsPending = false
    var isReadOnly = false
    var color: UInt32 = 0
    /// Bytes kept unmapped on both sides; the VM may ask for more.
    var guardSize: UInt64 = 0

    /// With what the VM decides and asks for: once, so that no bind has to.
    fileprivate func completed(in vm: VMPointer, size: UInt64) -> VMAOptions {
        var options = self
        options.guardSize = max(guardSize, vm.pointee.options.guardSize)
        if fixedAddress != nil { return options }
        options.alignment = max(alignment, vm.pointee.alignment)
        if alignment != 0 { return options }
        var sizes = vm.pointee.options.pageSizes
        while sizes != 0 {
            let next = sizes & (~sizes &+ 1)
            if next <= size { options.alignment = max(options.alignment, next) }
            sizes &= sizes &- 1
        }
        return options
    }
}

struct VMA: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = VMA.magic
    /// Its range; allocated while it is bound or being bound. At `nodeOffset`.
    var node = RangeNode()
    /// Among its buffer's VMAs that were made with a handle, under its lock: see VMA+Lookup. At `linksOffset`.
    var links = TreeLinks()
    let count = SharedCount()
    let vm: VMPointer
    let bo: BufferObjectPointer
    let options: VMAOptions
    /// Which part of the buffer, in which order; nil: all of it as it is.
    let view: UnsafeMutablePointer<ViewLayout>?
    /// The present address; what the C getter reads without a lock.
    let address: Atomic<UInt64>

    /// What the C getter reads without a lock: a VMAState, where `binding` means that the lock is needed to tell.
    let stateHint = Atomic<Int32>(VMAState.unbound.rawValue)

    /// The present binding, with a reference that its unbind passes to the caller.
    var resource: ResourcePointer?
    /// What the unbind has to wait for, not yet hung up: GPU work, and an asynchronous bind.
    var users: AwaitPointer?
    /// Of an asynchronous bind, with a reference; nil when the bind was done at once.
    var bindFence: FencePointer?
    /// Pins: while there are any, nobody takes the binding away but the end of the VMA or of its VM.
    var pinCount: UInt32 = 0
    /// So many users may come until all are looked through for those that have ended.
    fileprivate var usersUntilCleanup: UInt32 = 0
    /// Its place among the VM's bound VMAs, least recently used first; see AddressSpace+Recency.
    var lessRecent: VMAPointer?
    var moreRecent: VMAPointer?
    /// In the list of an eviction that is being planned.
    var nextVictim: VMAPointer?

    /// The buffer's list, under its lock.
    var nextInBO: VMAPointer?
    var previousInBO: VMAPointer?

    static var magic: UInt32 { 0x7576_6d61 }
    static var nodeOffset: Int { roundUp(MemoryLayout<UInt32>.size, to: MemoryLayout<RangeNode>.alignment) }
    static var linksOffset: Int {
        roundUp(nodeOffset + MemoryLayout<RangeNode>.size, to: MemoryLayout<TreeLinks>.alignment)
    }
    static var noAddress: UInt64 { .max }
    /// The most pins at a time.
    static var pinLimit: UInt32 { 65535 }
    /// How many of the latest users a new one is compared with.
    fileprivate static var supersedeLimit: UInt32 { 16 }
}

enum VMAState: Int32 { case unbound = 0, binding = 1, bound = 2 }

extension UnsafeMutablePointer where Pointee == VMA {
    static func make(
        vm: VMPointer, bo: BufferObjectPointer, options: VMAOptions, layout: ViewLayout
    ) throws(Status) -> VMAPointer {
        if vm.isClosed { throw Status.closed }
        let device = vm.pointee.device
        guard let memory = device.cache(.vma).take() else { throw Status.noMemory }
        var view: UnsafeMutablePointer<ViewLayout>?
        if layout.kind != .normal {
            guard let viewMemory = device.cache(.viewLayout).take() else {
                device.cache(.vma).give(memory)
                throw Status.noMemory
            }
            let made = viewMemory.bindMemory(to: ViewLayout.self, capacity: 1)
            made.initialize(to: layout)
            view = made
        }
        let vma = memory.bindMemory(to: VMA.self, capacity: 1)
        vma.initialize(
            to: VMA(
                vm: vm, bo: bo, options: options.completed(in: vm, size: view?.pointee.size ?? bo.size), view: view,
                address: Atomic(options.fixedAddress ?? VMA.noAddress)))
        vm.retain()
        bo.retain()
        bo.add(vma)
        device.handleCreated(.vma)
        return vma
    }

    @inline(__always)
    init(containing node: UnsafeMutablePointer<RangeNode>) {
        self = (UnsafeMutableRawPointer(node) - VMA.nodeOffset).assumingMemoryBound(to: VMA.self)
    }

    @inline(__always)
    var node: UnsafeMutablePointer<RangeNode> {
        memberPointer(of: self, at: VMA.nodeOffset, as: RangeNode.self)
    }

    var size: UInt64 { pointee.view?.pointee.size ?? pointee.bo.size }

    func retain() { pointee.count.retain() }

    /// - Locking: nothing may be held if this can be the last reference.
    func drop() {
        guard pointee.count.drop() else { return }
        let (vm, bo) = (pointee.vm, pointee.bo)
        bo.remove(self)
        free(to: vm.pointee.device)
        bo.drop()
        vm.drop()
    }

    /// Gives the memory back. Nobody has a reference, and its buffer's list does not have it.
    @inline(__always)
    fileprivate func free(to device: DevicePointer) {
        invariant(!node.pointee.isAllocated, "a VMA was freed while it was bound")
        if let view = pointee.view { device.cache(.viewLayout).give(UnsafeMutableRawPointer(view)) }
        pointee.magic = 0
        deinitialize(count: 1)
        device.cache(.vma).give(UnsafeMutableRawPointer(self))
    }

    /// The caller lets go of a handle; the last one unbinds.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        pointee.vm.pointee.device.handleDropped(.vma)
        _ = unbindWithoutWaiting()?.drop()
        drop()
    }

    @inline(__always)
    var state: VMAState {
        let hint = pointee.stateHint.load(ordering: .acquiring)
        if hint == VMAState.unbound.rawValue { return .unbound }
        if hint == VMAState.bound.rawValue { return .bound }
        return computeState()
    }

    @inline(never)
    private func computeState() -> VMAState {
        pointee.vm.pointee.lock.acquire()
        defer { pointee.vm.pointee.lock.release() }
        return lockedState
    }

    var lockedState: VMAState {
        if !node.pointee.isAllocated { return .unbound }
        if let fence = pointee.bindFence, !fence.isSignalled, pointee.resource?.pointee.isUpgraded != true {
            return .binding
        }
        return .bound
    }

    // MARK: Users

    /// Attaches GPU work that somebody else submits to the present binding.
    /// - Failure: invalid if nothing is bound; closed; noMemory.
    func attach(_ fence: FencePointer) throws(Status) {
        let vm = pointee.vm
        let reservation = pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        defer { reservation.pointee.lock.release() }
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        if vm.isClosed { throw Status.closed }
        if !node.pointee.isAllocated { throw Status.invalid }
        try reservation.reserve(1)
        guard let edge = vm.pointee.device.cache(.await).takeAwait(on: fence, function: unbindAwaitFired) else {
            reservation.unreserve(1)
            throw Status.noMemory
        }
        addUser(edge)
        reservation.add(fence, usage: .write)
    }

    /// Adds an edge to what the present binding's unbind waits for. The edges of work that has ended, and of earlier
    /// work on the same timeline, go: of the latest few each time, and of all when as many have come as were left the
    /// last time. So a user costs the same however many there are. Takes over the Await and its reference to the fence.
    func addUser(_ edge: AwaitPointer) {
        let cache = pointee.vm.pointee.device.cache(.await)
        let looksAtAll = pointee.usersUntilCleanup == 0
        var seen: UInt32 = 0
        var left: UInt32 = 0
        var last: AwaitPointer?
        var next = pointee.users
        while looksAtAll || seen < VMA.supersedeLimit, let user = next {
            next = user.pointee.next
            seen &+= 1
            let fence = user.pointee.fence
            if fence.isSignalled || edge.pointee.fence.supersedes(fence) {
                if let last { last.pointee.next = next } else { pointee.users = next }
                cache.give(user)
            } else {
                last = user
                left &+= 1
            }
        }
        pointee.usersUntilCleanup = looksAtAll ? max(left, VMA.supersedeLimit) : pointee.usersUntilCleanup &- 1
        edge.pointee.next = pointee.users
        pointee.users = edge
        pointee.vm.noteUse(of: self)
    }
}

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// Drops a reference to each of many VMAs of this buffer in one VM. Their order in the list is lost.
    /// - Locking: nothing may be held.
    func drop(_ vmas: UnsafeMutablePointer<VMAPointer>, count: Int) {
        let vm = vmas[0].pointee.vm
        let device = vm.pointee.device
        var freed: UInt32 = 0
        var left = 0
        pointee.listLock.acquire()
        for index in 0..<count {
            let vma = vmas[index]
            // Whoever takes another one finds the VMA in this list: it has no range, by which it could be found, too.
            if vma.pointee.count.isOnlyReference {
                removeLocked(vma)
                vma.free(to: device)
                freed &+= 1
            } else {
                vmas[left] = vma
                left &+= 1
            }
        }
        pointee.listLock.release()
        for index in 0..<left { vmas[index].drop() }
        if freed == 0 { return }
        drop(freed)
        vm.drop(freed)
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    func makeAwait(on fence: FencePointer, function: @escaping FenceCallback.Function) throws(Status) -> AwaitPointer {
        guard let edge = cache(.await).takeAwait(on: fence, function: function) else { throw Status.noMemory }
        return edge
    }

    /// One that was not armed.
    func free(_ edge: AwaitPointer) { cache(.await).give(edge) }

    /// One that was on the fence.
    @inline(__always)
    func free(_ edge: AwaitPointer, on fence: FencePointer) { cache(.await).give(edge, on: fence) }
}
