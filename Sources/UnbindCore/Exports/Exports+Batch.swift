// Exports of <unbind/batch.h>.

import CUnbind
import Synchronization

@implementation @_cdecl("unbind_vm_submit")
public func unbind_vm_submit(
    _ handle: OpaquePointer!, _ operations: UnsafePointer<unbind_op>!, _ count: UInt32,
    _ batchPointer: UnsafePointer<unbind_batch>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        var batch = unbind_batch()
        if let batchPointer { batch = try read(batchPointer, zero: unbind_batch()) }
        batch.out_done?.pointee = 0
        let known = UNBIND_BATCH_SPLIT | UNBIND_BATCH_EVICT | UNBIND_BATCH_NO_WAIT | UNBIND_WAIT_INTERRUPTIBLE
        try check(batch.flags, allowed: known)
        guard let mode = BatchMode(rawValue: batch.mode), operations != nil || count == 0,
            mode != .sync || batch.flags & UNBIND_BATCH_NO_WAIT == 0,
            batch.wait_count <= listLimit, batch.signal_count <= listLimit,
            batch.waits != nil || batch.wait_count == 0, batch.signals != nil || batch.signal_count == 0
        else { throw Status.invalid }
        var limit = batch.limit == 0 ? UNBIND_BATCH_LIMIT : min(batch.limit, UNBIND_BATCH_LIMIT)
        if limit > count { limit = max(count, 1) }
        if count > limit, batch.flags & UNBIND_BATCH_SPLIT == 0 { throw Status.noBuffers }
        var lists = BatchLists(vm: vm)
        try lists.read(operations, count: Int(count))
        try lists.readWaits(batch.waits, count: Int(batch.wait_count))
        try lists.readSignals(batch.signals, count: Int(batch.signal_count))
        var request = BatchRequest(
            mode: mode, operations: lists.operations!, count: Int(count), waits: lists.waits,
            waitCount: lists.waitCount, signals: lists.signals, signalCount: lists.signalCount, limit: Int(limit))
        if let queue = batch.queue {
            let queue: BindQueuePointer = try object(queue)
            guard queue.pointee.vm == vm else { throw Status.invalid }
            request.queue = queue
        }
        request.mayCut = batch.flags & UNBIND_BATCH_SPLIT != 0
        request.mayEvict = batch.flags & UNBIND_BATCH_EVICT != 0
        request.mayWait = batch.flags & UNBIND_BATCH_NO_WAIT == 0
        request.interruptible = batch.flags & UNBIND_WAIT_INTERRUPTIBLE != 0
        let result = vm.submit(request)
        batch.out_done?.pointee = UInt32(result.done)
        if let fence = result.fence { handOut(fence, to: batch.out_fence) }
        if let status = result.status { throw status }
    }
}

/// The caller's lists, checked, with references to all that is in them.
private struct BatchLists: ~Copyable {
    let vm: VMPointer
    let memory: UnsafeMutablePointer<Memory>
    var operations: UnsafeMutablePointer<BatchOperation>?
    var operationCapacity = 0
    var operationCount = 0
    var waits: UnsafeMutablePointer<FencePointer>?
    var waitCapacity = 0
    var waitCount = 0
    var signals: UnsafeMutablePointer<BatchSignal>?
    var signalCapacity = 0
    var signalCount = 0

    init(vm: VMPointer) {
        self.vm = vm
        memory = vm.pointee.device.pointee.memory
    }

    deinit {
        if let operations {
            for index in 0..<operationCount { operations[index].bo?.drop() }
            memory.deallocateArray(operations, count: operationCapacity)
        }
        if let waits {
            for index in 0..<waitCount { waits[index].drop() }
            memory.deallocateArray(waits, count: waitCapacity)
        }
        if let signals {
            for index in 0..<signalCount {
                signals[index].fence?.drop()
                signals[index].timeline?.drop()
            }
            memory.deallocateArray(signals, count: signalCapacity)
        }
    }

    mutating func read(_ list: UnsafePointer<unbind_op>?, count: Int) throws(Status) {
        operations = memory.allocateArray(of: BatchOperation.self, count: count)
        guard let operations else { throw Status.noMemory }
        operationCapacity = count
        for index in 0..<count {
            let op = list.unsafelyUnwrapped + index
            let isUnmap = op.pointee.op == UNBIND_OP_UNMAP
            (operations + index).initialize(to: isUnmap ? try unmap(op) : try checked(op.pointee))
            operationCount = index &+ 1
        }
    }

    mutating func readWaits(_ list: UnsafePointer<unbind_sync>?, count: Int) throws(Status) {
        if count == 0 { return }
        waits = memory.allocateArray(of: FencePointer.self, count: count)
        guard let waits else { throw Status.noMemory }
        waitCapacity = count
        for index in 0..<count {
            let sync = list![index]
            let fence: FencePointer
            if sync.timeline != nil {
                fence = try timeline(of: sync).fence(at: sync.point)
            } else {
                fence = try self.fence(of: sync)
                fence.retain()
            }
            (waits + index).initialize(to: fence)
            waitCount += 1
        }
    }

    mutating func readSignals(_ list: UnsafePointer<unbind_sync>?, count: Int) throws(Status) {
        if count == 0 { return }
        signals = memory.allocateArray(of: BatchSignal.self, count: count)
        guard let signals else { throw Status.noMemory }
        signalCapacity = count
        for index in 0..<count {
            let sync = list![index]
            var signal = BatchSignal()
            if sync.timeline != nil {
                let timeline = try timeline(of: sync)
                timeline.retain()
                signal.timeline = timeline
                signal.point = sync.point
            } else {
                let fence = try fence(of: sync)
                if !fence.pointee.home.pointee.isSignalledByCaller || fence.isSignalled { throw Status.invalid }
                fence.retain()
                signal.fence = fence
            }
            (signals + index).initialize(to: signal)
            signalCount += 1
        }
    }

    private func fence(of sync: unbind_sync) throws(Status) -> FencePointer {
        let fence: FencePointer = try object(sync.fence)
        guard fence.device == vm.pointee.device, sync.point == 0 else { throw Status.invalid }
        return fence
    }

    private func timeline(of sync: unbind_sync) throws(Status) -> TimelinePointer {
        let timeline: TimelinePointer = try object(sync.timeline)
        guard timeline.pointee.device == vm.pointee.device, sync.fence == nil else { throw Status.invalid }
        return timeline
    }

    // MARK: Operations

    /// Members that the operation does not use must be 0.
    private func checked(_ op: unbind_op) throws(Status) -> BatchOperation {
        guard let kind = BatchOperationKind(rawValue: op.op) else { throw Status.invalid }
        let isMap = kind == .map || kind == .mapNull || kind == .mapUser
        let hasRange = isMap
        let hasBuffer = kind == .map || kind == .unmapAll || kind == .prefetch
        var flags: UInt32 = isMap ? UNBIND_OP_NO_REPLACE : 0
        if kind == .map || kind == .mapUser { flags |= UNBIND_OP_READ_ONLY | UNBIND_OP_CAPTURE }
        try check(op.flags, allowed: flags)
        guard hasRange || (op.address == 0 && op.size == 0), (op.bo != nil) == hasBuffer,
            (op.memory != nil) == (kind == .mapUser), kind == .map || op.offset == 0,
            kind == .map || kind == .mapUser || op.cache_level == 0, op.cache_level <= UNBIND_CACHE_WRITE_BACK,
            kind == .prefetch || op.region == 0
        else { throw Status.invalid }
        var operation = BatchOperation(kind: kind)
        operation.replaces = op.flags & UNBIND_OP_NO_REPLACE == 0
        operation.flags = op.flags & (UNBIND_OP_READ_ONLY | UNBIND_OP_CAPTURE)
        operation.cacheLevel = op.cache_level
        if hasRange { try checkRange(op, &operation) }
        if kind == .prefetch {
            guard let region = MemoryRegion(rawValue: op.region) else { throw Status.invalid }
            operation.region = region
        }
        if hasBuffer {
            let bo: BufferObjectPointer = try object(op.bo)
            guard bo.pointee.device == vm.pointee.device else { throw Status.invalid }
            if kind == .map {
                guard isAligned(op.offset, to: vm.pointee.alignment), op.offset <= bo.size,
                    op.size <= bo.size - op.offset
                else { throw Status.invalid }
                operation.offset = op.offset
            }
            bo.retain()
            operation.bo = bo
        } else if kind == .mapUser {
            operation.bo = try makeUserBuffer(op.memory, size: op.size)
        }
        return operation
    }

    /// What most lists are made of.
    @inline(__always)
    private func unmap(_ op: UnsafePointer<unbind_op>) throws(Status) -> BatchOperation {
        guard op.pointee.flags == 0, op.pointee.bo == nil, op.pointee.memory == nil, op.pointee.offset == 0,
            op.pointee.cache_level == 0, op.pointee.region == 0
        else { throw Status.invalid }
        var operation = BatchOperation(kind: .unmap)
        try checkRange(op.pointee, &operation)
        return operation
    }

    @inline(__always)
    private func checkRange(_ op: unbind_op, _ operation: inout BatchOperation) throws(Status) {
        let (end, overflow) = op.address.addingReportingOverflow(op.size)
        guard op.size != 0, !overflow, isAligned(op.address | op.size, to: vm.pointee.alignment) else {
            throw Status.invalid
        }
        if end > vm.pointee.options.size { throw Status.noDevice }
        operation.start = op.address
        operation.size = op.size
    }

    /// Without a handle, with a reference.
    private func makeUserBuffer(_ memory: UnsafeMutableRawPointer, size: UInt64) throws(Status) -> BufferObjectPointer {
        let device = vm.pointee.device
        let address = UInt64(UInt(bitPattern: memory))
        guard isAligned(address, to: vm.pointee.alignment), isAligned(address, to: pageSize),
            address.addingSaturating(size) <= PageTableEntry.addressMask
        else { throw Status.invalid }
        try device.checkOpen()
        let bo = try BufferObjectPointer.make(device: device) { () throws(Status) in
            if device.pointee.backend != nil {
                return try PageListPointer.makeBackendWrapped(
                    device: device, memory: memory, size: size, release: nil, userData: nil)
            }
            return try PageListPointer.makeWrapped(
                device: device, memory: memory, size: size, release: nil, userData: nil)
        }
        bo.retain()
        bo.dropHandle()
        return bo
    }
}

@implementation @_cdecl("unbind_bind_queue_create")
public func unbind_bind_queue_create(
    _ vmHandle: OpaquePointer!, _ flags: UInt32, _ outQueue: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(vmHandle)
        let out = try required(outQueue)
        try check(flags, allowed: 0)
        out.pointee = OpaquePointer(try BindQueuePointer.make(vm: vm))
    }
}

@implementation @_cdecl("unbind_bind_queue_ref")
public func unbind_bind_queue_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let queue: BindQueuePointer = try? object(handle) else { return nil }
    queue.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_bind_queue_unref")
public func unbind_bind_queue_unref(_ handle: OpaquePointer!) {
    guard let queue: BindQueuePointer = try? object(handle) else { return }
    queue.dropHandle()
}

@implementation @_cdecl("unbind_vm_get_batch_stats")
public func unbind_vm_get_batch_stats(
    _ handle: OpaquePointer!, _ stats: UnsafeMutablePointer<unbind_batch_stats>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        try write(vm.cBatchStats, to: try required(stats))
    }
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    fileprivate var cBatchStats: unbind_batch_stats {
        let state = pointee.batches
        var result = unbind_batch_stats()
        result.batches = state.pointee.batches.load(ordering: .relaxed)
        result.failed = state.pointee.failed.load(ordering: .relaxed)
        result.operations = state.pointee.operations.load(ordering: .relaxed)
        result.maps = state.pointee.maps.load(ordering: .relaxed)
        result.unmaps = state.pointee.unmaps.load(ordering: .relaxed)
        result.kept = state.pointee.kept.load(ordering: .relaxed)
        result.splits = state.pointee.splits.load(ordering: .relaxed)
        result.merges = state.pointee.merges.load(ordering: .relaxed)
        result.mappings = UInt64(max(0, state.pointee.mappings.load(ordering: .relaxed)))
        result.evictions = state.pointee.evictions.load(ordering: .relaxed)
        result.waits = state.pointee.waits.load(ordering: .relaxed)
        result.cuts = state.pointee.cuts.load(ordering: .relaxed)
        guard let counters = pointee.softwareSpace else { return result }
        result.entries_written = counters.pointee.counters.written.load(ordering: .relaxed)
        result.entries_cleared = counters.pointee.counters.cleared.load(ordering: .relaxed)
        result.invalidations = counters.pointee.counters.invalidations.load(ordering: .relaxed)
        return result
    }
}
