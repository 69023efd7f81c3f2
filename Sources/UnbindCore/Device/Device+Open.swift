// Opening a device: all its parts, or none.

import CSystem
import Synchronization

/// The checked form of struct unbind_device_options.
struct DeviceOptions {
    var executor = ExecutorKind.pool
    var workerCount = 2
    var seed: UInt64 = 0
    var systemMemoryBytes: UInt64 = 4 << 30
    var localMemoryBytes: UInt64 = 256 << 20
    var pageSizes: UInt64 = 0x21_1000
    var costs = CostModel.zero
    var host = HostCallbacks()
    var usesSlabs = true
}

extension UnsafeMutablePointer where Pointee == Device {
    /// `backend`: what stands behind the device; nil for a software GPU. The device owns it from its opening on: after
    /// a failure nothing of it has been called.
    static func open(
        _ options: DeviceOptions, memory prototype: consuming Memory, backend: BackendDescription? = nil
    ) throws(Status) -> DevicePointer {
        var opening = OpeningDevice()
        do throws(Status) {
            return try opening.open(options, memory: prototype, backend: backend)
        } catch {
            opening.undo()
            throw error
        }
    }
}

/// What has been made so far, so that a failure can undo it.
struct OpeningDevice {
    var memory: UnsafeMutablePointer<Memory>?
    var caches: UnsafeMutablePointer<SlabCache>?
    var fenceHomes: FenceHomePointer?
    var nextIDs: UnsafeMutablePointer<Atomic<UInt64>>?
    var liveHandles: UnsafeMutablePointer<Atomic<UInt32>>?
    var device: DevicePointer?
    var local: UnsafeMutablePointer<LocalMemory>?
    var stub: FencePointer?
    var executor: ExecutorPointer?
    var gpu: UnsafeMutablePointer<SoftwareGPU>?
    var power: UnsafeMutablePointer<PowerReferences>?
    var backend: BackendPointer?

    mutating func open(
        _ options: DeviceOptions, memory prototype: consuming Memory, backend description: BackendDescription?
    ) throws(Status) -> DevicePointer {
        guard let memory = Self.makeMemory(prototype) else { throw Status.noMemory }
        self.memory = memory
        guard let device = memory.allocateApart(of: Device.self) else { throw Status.noMemory }
        self.device = device
        guard let caches = memory.allocateApart(of: SlabCache.self, count: CacheKind.count) else {
            throw Status.noMemory
        }
        Self.initialize(caches, memory: memory, uncached: !options.usesSlabs)
        self.caches = caches
        guard let fenceHomes = memory.allocateApart(of: FenceHome.self, count: FenceSort.count) else {
            throw Status.noMemory
        }
        Self.initialize(fenceHomes, of: UnsafeMutableRawPointer(device))
        self.fenceHomes = fenceHomes
        guard let nextIDs = memory.allocateApart(of: Atomic<UInt64>.self, count: ObjectKind.count) else {
            throw Status.noMemory
        }
        self.nextIDs = nextIDs
        guard let liveHandles = memory.allocateApart(of: Atomic<UInt32>.self, count: LiveHandles.count) else {
            throw Status.noMemory
        }
        self.liveHandles = liveHandles
        for index in 0..<ObjectKind.count {
            (nextIDs + index).initialize(to: Atomic(0))
        }
        for index in 0..<LiveHandles.count { (liveHandles + index).initialize(to: Atomic(0)) }
        let local = try UnsafeMutablePointer<LocalMemory>.make(
            size: description == nil ? options.localMemoryBytes : pageSize, memory: memory, cache: caches + CacheKind.rangeIndex.rawValue)
        self.local = local
        guard let stub = memory.allocateApart(of: Fence.self) else { throw Status.noMemory }
        // The device frees the stub itself, when nothing can hold a reference any more.
        stub.initialize(to: Fence(home: fenceHomes + FenceSort.stub.rawValue))
        stub.signal(at: 0)
        self.stub = stub
        if let description {
            backend = try .make(description, localLimit: options.localMemoryBytes, device: device, memory: memory)
        }
        if let callbacks = options.host.power {
            power = try .make(device: device, callbacks: callbacks, memory: memory)
        }
        let executor = try ExecutorPointer.make(
            kind: options.executor, workerCount: options.workerCount, seed: options.seed, memory: memory,
            device: UnsafeMutableRawPointer(device))
        self.executor = executor
        let gpu = try SoftwareGPU.make(
            SoftwareGPU.Configuration(
                memory: memory, executor: executor, owner: UnsafeMutableRawPointer(device),
                jobHome: fenceHomes + FenceSort.job.rawValue, jobs: caches + CacheKind.job.rawValue,
                awaits: caches + CacheKind.await.rawValue, costs: description == nil ? options.costs : .backend,
                localBase: UInt64(UInt(bitPattern: local.pointee.base)), localSize: local.pointee.size,
                uncached: !options.usesSlabs, faultSink: deviceFaultSink, faultContext: UnsafeMutableRawPointer(device),
                jobReleased: deviceJobReleased))
        self.gpu = gpu
        device.initialize(
            to: Device(
                memory: memory, caches: caches, fenceHomes: fenceHomes, executor: executor, gpu: gpu,
                backend: backend, localMemory: local, stubFence: stub, host: options.host, power: power,
                pageSizes: description?.pageSizes ?? options.pageSizes,
                systemMemoryLimit: options.systemMemoryBytes,
                nextIDs: nextIDs, liveHandles: liveHandles))
        return device
    }

    func undo() {
        guard let memory else { return }
        if let executor {
            executor.stop()
            executor.free()
        }
        if let power { power.free(memory: memory) }
        if let backend { backend.free(memory: memory) }
        if let local { local.free() }
        if let stub { memory.deallocateApart(stub) }
        if let liveHandles { memory.deallocateApart(liveHandles, count: LiveHandles.count) }
        if let nextIDs { memory.deallocateApart(nextIDs, count: ObjectKind.count) }
        if let fenceHomes { memory.deallocateApart(fenceHomes, count: FenceSort.count) }
        if let caches { Self.dispose(caches, memory: memory) }
        if let device { memory.deallocateApart(device) }
        Self.free(memory)
    }

    // MARK: Parts

    static func makeMemory(_ prototype: consuming Memory) -> UnsafeMutablePointer<Memory>? {
        let bytes = MemoryLayout<Memory>.stride
        guard let block = prototype.allocateFunction(prototype.userData, bytes, 16) else { return nil }
        let memory = block.bindMemory(to: Memory.self, capacity: 1)
        memory.initialize(to: prototype)
        // It counts itself.
        _ = memory.pointee.allocations.wrappingAdd(1, ordering: .relaxed)
        _ = memory.pointee.bytes.wrappingAdd(bytes, ordering: .relaxed)
        return memory
    }

    static func free(_ memory: UnsafeMutablePointer<Memory>) {
        let bytes = MemoryLayout<Memory>.stride
        let held = memory.pointee.bytes.load(ordering: .relaxed)
        invariant(held == bytes, "a device was freed before all its memory was")
        let (deallocate, userData) = (memory.pointee.deallocateFunction, memory.pointee.userData)
        memory.deinitialize(count: 1)
        deallocate(userData, UnsafeMutableRawPointer(memory), bytes)
    }

    static func initialize(_ homes: FenceHomePointer, of device: UnsafeMutableRawPointer) {
        func make(_ sort: FenceSort, _ home: FenceHome) { (homes + sort.rawValue).initialize(to: home) }
        make(.stub, FenceHome(owner: device) { _ in panic("the stub fence was over-dropped") })
        make(.caller, FenceHome(owner: device, isSignalledByCaller: true, release: releaseCallerFence))
        make(.timed, FenceHome(owner: device, kind: .timed, release: releaseTimedFence))
        make(
            .imported,
            FenceHome(
                owner: device, kind: .imported, kernelPointOffset: ImportedFence.kernelPointOffset,
                release: releaseImportedFence))
        make(.array, FenceHome(owner: device, kind: .array, isOrdered: true, release: releaseFenceArray))
        make(
            .timelinePoint,
            FenceHome(owner: device, kind: .timelinePoint, isOrdered: true, release: releaseTimelinePoint))
        make(.join, FenceHome(owner: device, release: releaseJoinFence))
        make(.migration, FenceHome(owner: device, release: releaseMigration))
        make(
            .bindWork,
            FenceHome(
                owner: device, isOwnWork: true, kernelPointOffset: BindWork.kernelPointOffset,
                release: releaseBindWork))
        make(.job, Job.makeHome(owner: device))
    }

    static func initialize(
        _ caches: UnsafeMutablePointer<SlabCache>, memory: UnsafeMutablePointer<Memory>, uncached: Bool
    ) {
        func make<T: ~Copyable>(_ kind: CacheKind, _ type: T.Type) {
            (caches + kind.rawValue).initialize(to: SlabCache(for: type, memory: memory, uncached: uncached))
        }
        make(.callerFence, CallerFence.self)
        make(.pageList, PageList.self)
        make(.rangeNode, RangeNode.self)
        make(.rangeIndex, RangeBranch.self)
        make(.bufferObject, BufferObject.self)
        make(.reservation, Reservation.self)
        make(.vma, VMA.self)
        make(.resource, VMAResource.self)
        make(.bindWork, BindWork.self)
        make(.await, Await.self)
        make(.queue, Queue.self)
        make(.job, Job.self)
        make(.eventfd, EventfdCallback.self)
        make(.timeline, Timeline.self)
        make(.timelinePoint, TimelinePoint.self)
        make(.hold, Hold.self)
        make(.migration, Migration.self)
        make(.timedFence, TimedFence.self)
        make(.join, JoinFence.self)
        make(.bindQueue, BindQueue.self)
        make(.trackedFence, TrackedFence.self)
        make(.ownedRange, OwnedRange.self)
        make(.bindingEvent, BindingEvent.self)
        make(.viewLayout, ViewLayout.self)
    }

    static func dispose(_ caches: UnsafeMutablePointer<SlabCache>, memory: UnsafeMutablePointer<Memory>) {
        for index in 0..<CacheKind.count {
            (caches + index).dispose()
            (caches + index).deinitialize(count: 1)
        }
        memory.deallocateApart(caches, count: CacheKind.count)
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// The last reference is gone: nothing of the device is alive.
    func destroy() {
        let state = pointee.stateWord.load(ordering: .acquiring)
        invariant(state == Device.State.closed.rawValue, "a device was freed open")
        let memory = pointee.memory
        let (caches, nextIDs, liveHandles) = (pointee.caches, pointee.nextIDs, pointee.liveHandles)
        let (stub, power, fenceHomes) = (pointee.stubFence, pointee.power, pointee.fenceHomes)
        let backend = pointee.backend
        pointee.copyQueue?.free()
        pointee.gpu.free()
        pointee.executor.free()
        pointee.localMemory.free()
        pointee.magic = 0
        deinitialize(count: 1)
        memory.deallocateApart(self)
        power?.free(memory: memory)
        backend?.destroy(memory: memory)
        memory.deallocateApart(stub)
        memory.deallocateApart(liveHandles, count: LiveHandles.count)
        memory.deallocateApart(nextIDs, count: ObjectKind.count)
        memory.deallocateApart(fenceHomes, count: FenceSort.count)
        OpeningDevice.dispose(caches, memory: memory)
        OpeningDevice.free(memory)
    }
}
