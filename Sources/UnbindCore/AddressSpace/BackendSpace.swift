// BackendSpace: what stands for the page tables of an address space when a backend has them.
//
// The binds and unbinds of the VM that are ready come here, and one piece of work takes them to the backend: all
// unbinds that are ready, then all binds, over and over until none is left. So the backend sees one update of a VM at a
// time, and neighbours in time go in one call. What a call began (UNBIND_BACKEND_PENDING) submits the work again when
// it has been completed.
//
//     add, feed -> take -> unmap... -> invalidate -> completed -> map... -> take
//     suspend, resume -> take -> transfer... -> invalidate -> transferred -> take
//
// BackendSpace+Run has the steps, +Unmap, +Map and +Suspend what is in them, +HandOver what is left to a kernel.
//
// - Locking: `lock`, of the page tables' rank, for what is handed over; the rest belongs to the work while it runs. The
//   backend is called with nothing held.
// - Lifetime: the VM's. The work holds a reference to the VM from its first to its last step.
// - Signalling: the work.

import CSystem
import CUnbind
import Synchronization

typealias BackendSpacePointer = UnsafeMutablePointer<BackendSpace>

struct BackendSpace: ~Copyable {
    enum Step { case take, unmap, handedOver, invalidate, unmapped, map, transfer, transferred }

    let backend: BackendPointer
    /// At `itemOffset`.
    var item: WorkItem
    /// At `tokenOffset`.
    let token: BackendToken
    /// Set before anybody else sees the VM.
    var vm: VMPointer!
    /// What the backend calls the VM.
    let handle: UnsafeMutableRawPointer?
    let batch: RangeBatchPointer

    let lock = FutexLock(.pageTables)
    // Under the lock.
    fileprivate var readyUnbinds: ResourcePointer?
    fileprivate var readyBinds: BindWorkPointer?
    /// The VM's, in a list by `nextInSpace`.
    fileprivate var engines: EnginePointer?
    /// Somebody runs the work, or will.
    fileprivate var isActive = false
    /// Unbinds that the kernel can be told of before they are ready; nil: none can. The array is under the lock.
    let offers: UnbindOffers?
    let offerCount = Atomic<Int>(0)
    /// What a suspend or resume waits for.
    var requested: BackendTransferPointer?

    /// A suspend or resume is under way. Under the VM's lock.
    var isTransferring = false
    /// Mappings that are to be split when they have been mapped: for so long only they know that they are.
    let splits = Atomic<Int>(0)

    // The work's own.

    var step = Step.take
    /// The item has been submitted by the completion of what a call began.
    var isResumed = false
    /// In order of addresses; of `unbinds` until they are completed, of `binds` those that are not done.
    var unbinds: ResourcePointer?
    var binds: BindWorkPointer?
    /// Of what is being unmapped: the first that has not been, and where the present call ends.
    var nextUnmap = UnmapPlace()
    var unmapEnd = UnmapPlace()
    /// At most so many pieces of each resource.
    var pieceLimit = Int.max
    /// What has been unmapped since the last invalidation.
    var unmappedStart = UInt64.max
    var unmappedEnd: UInt64 = 0
    /// Of the first of `binds`, so many pieces are mapped.
    var mappedPieces = 0
    /// Of the present call: how many binds are in it, and where it ends: before this one, but for so many pieces of it.
    var gathered = 0
    var mapEnd: BindWorkPointer?
    var mapEndPieces = 0
    /// So many binds are to be tried one by one, because a call for all of them failed.
    var singles = 0
    /// Not 0: the first of `binds` has failed so after some of its pieces were mapped: these are being unmapped.
    var failure: Int32 = 0
    /// Times in a row that the backend asked to come again.
    var retries = 0
    /// The suspend or resume that it is at.
    var transfer: BackendTransferPointer?
    /// Nothing is mapped until a resume.
    var isSuspended = false

    /// Calls of `update` and `invalidate`, and the ranges in the former.
    let updates = Atomic<UInt64>(0)
    let updatedRanges = Atomic<UInt64>(0)
    let invalidations = Atomic<UInt64>(0)
    /// The backend has been told that the VM has gone.
    fileprivate var isClosed = false

    static var itemOffset: Int { MemoryLayout<BackendPointer>.size }
    static var tokenOffset: Int {
        roundUp(itemOffset + MemoryLayout<WorkItem>.size, to: MemoryLayout<BackendToken>.alignment)
    }
}

/// A piece of a resource.
struct UnmapPlace {
    var resource: ResourcePointer?
    var piece = 0
}

extension UnsafeMutablePointer where Pointee == Backend {
    /// The backend's side of a new VM, which is to be set.
    /// - Failure: lost, noMemory, and whatever the backend says.
    func makeSpace(id: UInt64, options: AddressSpaceOptions) throws(Status) -> BackendSpacePointer {
        try checkNotLost()
        let device = pointee.device
        let memory = device.pointee.memory
        let canMerge = has(Capability.partialUnbind)
        guard let batch = RangeBatchPointer.make(mergesMaps: canMerge, memory: memory) else { throw Status.noMemory }
        guard let space = memory.allocateApart(of: BackendSpace.self) else {
            batch.free(memory: memory)
            throw Status.noMemory
        }
        let handsOver = pointee.link?.unmap != nil
        let offers = handsOver ? UnbindOffers.make(memory) : nil
        var handle: UnsafeMutableRawPointer?
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        var status = Status.noMemory.raw
        if offers != nil || !handsOver {
            status = pointee.ops.vm_create(pointee.context, id, options.size, options.pageSizes, 0, &handle)
        }
        if status != 0 {
            offers?.free(memory)
            batch.free(memory: memory)
            memory.deallocateApart(space)
            throw status < 0 ? Status(raw: status) : Status.unsupported
        }
        let address = UnsafeMutableRawPointer(space)
        space.initialize(
            to: BackendSpace(
                backend: self,
                item: WorkItem(label: id << 8 | WorkLabel.update, context: address, function: runBackendSpace),
                token: BackendToken(
                    executor: device.pointee.executor,
                    item: (address + BackendSpace.itemOffset).assumingMemoryBound(to: WorkItem.self),
                    isAwaited: pointee.link != nil),
                vm: nil, handle: handle, batch: batch, offers: offers))
        return space
    }
}

extension UnsafeMutablePointer where Pointee == BackendSpace {
    var item: WorkItemPointer { memberPointer(of: self, at: BackendSpace.itemOffset, as: WorkItem.self) }

    var token: BackendTokenPointer { memberPointer(of: self, at: BackendSpace.tokenOffset, as: BackendToken.self) }

    /// Nothing maps or unmaps any more, and no queue is left.
    /// - Locking: nothing may be held.
    func close() {
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        pointee.isClosed = true
        pointee.backend.pointee.ops.vm_destroy(pointee.backend.pointee.context, pointee.handle)
    }

    func free() {
        if !pointee.isClosed { close() }
        let memory = pointee.backend.pointee.device.pointee.memory
        pointee.batch.free(memory: memory)
        pointee.offers?.free(memory)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    // MARK: What a bind asks first

    /// A buffer may be at several addresses.
    var canAlias: Bool { pointee.backend.has(Capability.aliasing) }

    /// What is mapped of local memory begins and ends at multiples of it.
    var localPageSize: UInt64 { pointee.backend.pointee.link?.localPageSize ?? pageSize }

    /// A part of what was bound can be unbound.
    var canSplit: Bool { pointee.backend.has(Capability.partialUnbind) }

    /// - Failure: lost; unsupported; invalid: a part of local memory that the kernel does not map.
    func checkBatch(_ request: BatchRequest) throws(Status) {
        try pointee.backend.checkNotLost()
        // Whatever a batch replaces is unmapped later, and the same buffer may be there and elsewhere.
        if !canAlias { throw Status.unsupported }
        for index in 0..<request.count {
            let operation = request.operations[index]
            if operation.kind == .mapNull, !pointee.backend.has(Capability.nullMappings) { throw Status.unsupported }
            if operation.flags & MappingFlags.readOnly != 0, !pointee.backend.has(Capability.readOnly) {
                throw Status.unsupported
            }
            if operation.kind == .map, let bo = operation.bo, localPageSize > pageSize {
                let bits = operation.start | operation.size | operation.offset
                if bo.withPages({ $0.pointee.isLocal }), !isAligned(bits, to: localPageSize) { throw Status.invalid }
            }
        }
    }

    // MARK: Queues

    func attach(_ engine: EnginePointer) {
        pointee.lock.acquire()
        pointee.engines = engine.entering(before: pointee.engines)
        pointee.lock.release()
    }

    func detach(_ engine: EnginePointer) {
        pointee.lock.acquire()
        pointee.engines = engine.leaving(pointee.engines)
        pointee.lock.release()
    }

    /// Calls body with the list of the VM's engines.
    func withEngines(_ body: (EnginePointer?) -> Void) {
        pointee.lock.acquire()
        body(pointee.engines)
        pointee.lock.release()
    }

    /// - Locking: the reservation's of the VMA's buffer, under which alone it gets more bindings.
    /// - Failure: lost; unsupported, also if the buffer is at another address of the VM and cannot be at two.
    @inline(never)
    func checkBind(of vma: VMAPointer, _ request: BindRequest) throws(Status) {
        try pointee.backend.checkNotLost()
        if request.isReadOnly, !pointee.backend.has(Capability.readOnly) { throw Status.unsupported }
        if canAlias { return }
        var isAlias = false
        vma.pointee.bo.forEachVMA { other in
            if other == vma || other.pointee.vm != vma.pointee.vm { return }
            if other.pointee.stateHint.load(ordering: .acquiring) != VMAState.unbound.rawValue { isAlias = true }
        }
        if isAlias { throw Status.unsupported }
    }

    // MARK: Handing over

    /// The bind awaits nothing any more. Any thread; locks of lower ranks may be held.
    func add(_ work: BindWorkPointer) {
        pointee.lock.acquire()
        work.pointee.next = pointee.readyBinds
        pointee.readyBinds = work
        let starts = start()
        pointee.lock.release()
        if starts { pointee.backend.pointee.device.pointee.executor.submit(item) }
    }

    /// Unbinds that await nothing any more; the list is not empty. True if the caller has to run the work.
    fileprivate func feed(_ list: ResourcePointer) -> Bool {
        var last = list
        while let next = last.pointee.next { last = next }
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        last.setNext(pointee.readyUnbinds)
        pointee.readyUnbinds = list
        return start()
    }

    /// What is being handed over keeps the VM up to here.
    /// - Locking: held.
    func start() -> Bool {
        if pointee.isActive { return false }
        pointee.isActive = true
        pointee.vm.retain()
        return true
    }

    /// Everything that is ready. False if there is nothing: then the work is at rest, and its reference to the VM is
    /// the caller's.
    func takeReady(_ offerCount: inout Int) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        offerCount = takeOffers()
        let (unbinds, binds) = (pointee.readyUnbinds, pointee.readyBinds)
        pointee.readyUnbinds = nil
        pointee.readyBinds = nil
        // A suspend or resume may have come since the work looked for one: to rest now would be to forget it.
        if unbinds == nil, binds == nil, offerCount == 0, pointee.requested == nil {
            pointee.isActive = false
            return false
        }
        pointee.unbinds = unbinds
        pointee.binds = binds
        return true
    }
}

private func runBackendSpace(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: BackendSpace.self).run(at: time)
}

extension UnsafeMutablePointer where Pointee == UnbindDrain {
    /// Waits for as long as others make one unbind ready after the other, and not for long: a call to the backend costs
    /// about as much, and takes them all at once. On the other executors what comes in a row is there already.
    fileprivate func letGather() {
        let quiet: UInt64 = 20_000
        let begin = csys_monotonic_ns()
        var (seen, since) = (newestReady, begin)
        while true {
            csys_pause()
            let now = csys_monotonic_ns()
            let newest = newestReady
            if newest != seen {
                seen = newest
                since = now
            }
            if now &- since >= quiet || now &- begin >= 50 * quiet { return }
        }
    }
}

/// The work of the UnbindDrain of such a VM: hands over what is ready.
func feedBackend(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    let drain = context.assumingMemoryBound(to: UnbindDrain.self)
    let space = drain.pointee.vm.pointee.backendSpace!
    let isPool = drain.pointee.vm.pointee.device.pointee.executor.kind == .pool
    if isPool { drain.letGather() }
    // Rests before it hands over: from then on nothing of this keeps the VM.
    if let batch = drain.takeReady(), space.feed(batch) { space.run(at: time) }
}
