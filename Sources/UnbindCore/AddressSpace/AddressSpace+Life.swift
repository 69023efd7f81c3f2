// Making, closing and freeing an address space.

import Synchronization

extension UnsafeMutablePointer where Pointee == AddressSpace {
    static func make(device: DevicePointer, options: AddressSpaceOptions) throws(Status) -> VMPointer {
        try device.checkOpen()
        let memory = device.pointee.memory
        let id = device.nextID(.vm)
        guard let vm = memory.allocateApart(of: AddressSpace.self) else { throw Status.noMemory }
        var parts = AddressSpaceParts(memory: memory, device: device)
        do throws(Status) {
            try parts.make(vm, id: id, options: options)
        } catch {
            parts.free()
            memory.deallocateApart(vm)
            throw error
        }
        vm.initialize(
            to: AddressSpace(
                unbindHome: FenceHome(
                    owner: UnsafeMutableRawPointer(device), isOwnWork: true, release: releaseResource),
                device: device, id: id, options: options, ranges: parts.ranges!, pending: parts.pending!,
                softwareSpace: parts.space, backendSpace: parts.backendSpace, history: parts.history!,
                stats: parts.stats!, batches: parts.batches!, drain: parts.drain!, stream: parts.stream,
                isPlain: parts.backendSpace == nil && parts.stream == nil && !options.hasTableModes))
        parts.drain!.initialize(to: UnbindDrain(vm: vm))
        parts.backendSpace?.pointee.vm = vm
        guard device.add(vm) else {
            vm.deinitialize(count: 1)
            parts.drain!.deinitialize(count: 1)
            parts.free()
            memory.deallocateApart(vm)
            throw Status.closed
        }
        device.handleCreated(.vm)
        return vm
    }

    /// Unbinds every VMA asynchronously and refuses new binds and jobs.
    /// - Failure: closed, if it is already.
    func close() throws(Status) {
        pointee.batches.pointee.lock.acquire()
        pointee.lock.acquire()
        let wasClosed = pointee.closedFlag.exchange(true, ordering: .acquiringAndReleasing)
        pointee.lock.release()
        pointee.batches.pointee.lock.release()
        if wasClosed { throw Status.closed }
        unbindAll()
    }

    /// Of a closed VM. Several threads may do it at once; each returns when nothing is bound.
    func unbindAll() {
        while let vma = firstBoundVMA() {
            if let fence = vma.unbindWithoutWaiting() {
                fence.drop()
                if vma.isMapping { vma.drop() }
            }
            vma.drop()
        }
    }

    /// With a reference. A VMA whose range is allocated has not been freed: it unbinds before it lets go of its memory.
    private func firstBoundVMA() -> VMAPointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard let node = pointee.ranges.firstNode(endingAfter: 0) else { return nil }
        let vma = VMAPointer(containing: node)
        vma.retain()
        return vma
    }

    /// The last strong reference is gone: no VMA, no queue, nothing under way.
    func tearDown() {
        let pending = pointee.pendingCount.load(ordering: .acquiring)
        invariant(pending == 0, "an address space was freed with unbinds pending")
        pointee.device.remove(self)
        pointee.pending.reapAll()
        pointee.batches.end(memory: pointee.device.pointee.memory)
        pointee.backendSpace?.close()
        pointee.magic = 0
        dropBias()
    }

    /// The last weak reference is gone too.
    func free() {
        let device = pointee.device
        let memory = device.pointee.memory
        var parts = AddressSpaceParts(memory: memory, device: device)
        parts.adopt(self)
        parts.drain!.deinitialize(count: 1)
        deinitialize(count: 1)
        parts.free()
        memory.deallocateApart(self)
        device.drop()
    }
}

/// The separately allocated parts of an address space, so that a failure can undo those made so far.
private struct AddressSpaceParts {
    let memory: UnsafeMutablePointer<Memory>
    let device: DevicePointer
    var ranges: UnsafeMutablePointer<RangeAllocator>?
    var pending: UnsafeMutablePointer<PendingUnbinds>?
    /// One of the two.
    var space: UnsafeMutablePointer<SoftwareSpace>?
    var backendSpace: BackendSpacePointer?
    var history: UnsafeMutablePointer<History>?
    var stats: UnsafeMutablePointer<AddressSpaceStats>?
    var batches: UnsafeMutablePointer<BatchState>?
    /// Memory only: initialised and deinitialised by the caller.
    var drain: UnsafeMutablePointer<UnbindDrain>?
    var stream: BindingStreamPointer?

    init(memory: UnsafeMutablePointer<Memory>, device: DevicePointer) {
        self.memory = memory
        self.device = device
    }

    mutating func make(_ vm: VMPointer, id: UInt64, options: AddressSpaceOptions) throws(Status) {
        guard let ranges = memory.allocateApart(of: RangeAllocator.self) else { throw Status.noMemory }
        ranges.initialize(
            to: RangeAllocator(
                start: 0, size: options.size, unit: pageSize, coloring: options.coloring,
                cache: device.cache(.rangeIndex)))
        self.ranges = ranges
        let history = try UnsafeMutablePointer<History>.make(capacity: options.historyCapacity, memory: memory)
        self.history = history
        guard let pending = memory.allocateApart(of: PendingUnbinds.self) else { throw Status.noMemory }
        pending.initialize(to: PendingUnbinds(memory: memory, history: history))
        self.pending = pending
        guard let stats = memory.allocateApart(of: AddressSpaceStats.self) else { throw Status.noMemory }
        stats.initialize(to: AddressSpaceStats())
        self.stats = stats
        guard let batches = memory.allocateApart(of: BatchState.self) else { throw Status.noMemory }
        batches.initialize(to: BatchState())
        self.batches = batches
        guard let drain = memory.allocateApart(of: UnbindDrain.self) else { throw Status.noMemory }
        self.drain = drain
        if device.pointee.host.binding != nil { stream = try .make(vm: vm, id: id, memory: memory) }
        if let backend = device.pointee.backend {
            backendSpace = try backend.makeSpace(id: id, options: options)
            return
        }
        space = try device.pointee.gpu.makeSpace(
            id: id, pageSizes: options.pageSizes, hasTableModes: options.hasTableModes, keepsLeaf: true)
    }

    mutating func adopt(_ vm: VMPointer) {
        ranges = vm.pointee.ranges
        pending = vm.pointee.pending
        space = vm.pointee.softwareSpace
        backendSpace = vm.pointee.backendSpace
        history = vm.pointee.history
        stats = vm.pointee.stats
        batches = vm.pointee.batches
        drain = vm.pointee.drain
        stream = vm.pointee.stream
    }

    func free() {
        if let space { device.pointee.gpu.freeSpace(space) }
        backendSpace?.free()
        if let history { history.free() }
        if let stream { stream.free(memory: memory) }
        if let drain { memory.deallocateApart(drain) }
        if let batches {
            batches.deinitialize(count: 1)
            memory.deallocateApart(batches)
        }
        if let stats {
            stats.deinitialize(count: 1)
            memory.deallocateApart(stats)
        }
        if let pending {
            pending.dispose()
            pending.deinitialize(count: 1)
            memory.deallocateApart(pending)
        }
        if let ranges {
            ranges.dispose()
            ranges.deinitialize(count: 1)
            memory.deallocateApart(ranges)
        }
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// False, and nothing changes, if the device is closing: a close either sees this VM or is seen here.
    fileprivate func add(_ vm: VMPointer) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if pointee.stateWord.load(ordering: .relaxed) != Device.State.open.rawValue { return false }
        vm.pointee.nextInDevice = pointee.firstVM
        pointee.firstVM?.pointee.previousInDevice = vm
        pointee.firstVM = vm
        retain()
        return true
    }

    fileprivate func remove(_ vm: VMPointer) {
        pointee.lock.acquire()
        if let next = vm.pointee.nextInDevice { next.pointee.previousInDevice = vm.pointee.previousInDevice }
        if let previous = vm.pointee.previousInDevice {
            previous.pointee.nextInDevice = vm.pointee.nextInDevice
        } else {
            pointee.firstVM = vm.pointee.nextInDevice
        }
        pointee.lock.release()
    }
}
