// Exports of <unbind/device.h>.

import CUnbind
import Synchronization

@implementation @_cdecl("unbind_device_open_software")
public func unbind_device_open_software(
    _ options: UnsafePointer<unbind_device_options>!, _ outDevice: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let out = try required(outDevice)
        var checked = DeviceOptions()
        var memory = Memory()
        if let options {
            let options = try read(options, zero: unbind_device_options())
            checked = try checkedDeviceOptions(options)
            memory = try checkedAllocator(options.allocator)
        }
        out.pointee = OpaquePointer(try DevicePointer.open(checked, memory: memory))
    }
}

func checkedDeviceOptions(_ options: unbind_device_options) throws(Status) -> DeviceOptions {
    var checked = DeviceOptions()
    try check(options.flags, allowed: UNBIND_DEVICE_NO_SLABS)
    checked.usesSlabs = options.flags & UNBIND_DEVICE_NO_SLABS == 0
    guard let executor = ExecutorKind(rawValue: options.executor) else { throw Status.invalid }
    checked.executor = executor
    if options.worker_count != 0 {
        guard executor == .pool, options.worker_count <= 64 else { throw Status.invalid }
        checked.workerCount = Int(options.worker_count)
    }
    checked.seed = options.seed
    if options.system_memory_bytes != 0 { checked.systemMemoryBytes = options.system_memory_bytes }
    if options.local_memory_bytes != 0 {
        guard isAligned(options.local_memory_bytes, to: pageSize), options.local_memory_bytes <= 1 << 47 else {
            throw Status.invalid
        }
        checked.localMemoryBytes = options.local_memory_bytes
    }
    if options.page_sizes != 0 {
        guard options.page_sizes & ~checked.pageSizes == 0 else { throw Status.invalid }
        checked.pageSizes = options.page_sizes
    }
    checked.costs = executor == .simulated ? .simulatedDefault : .zero
    if let costs = options.cost_model {
        let costs = try read(costs, zero: unbind_cost_model())
        guard costs.reserved == 0 else { throw Status.invalid }
        checked.costs = CostModel(
            ptePicoseconds: costs.pte_ps, tlbFlushNanoseconds: costs.tlb_flush_ns, bytePicoseconds: costs.byte_ps,
            commandNanoseconds: costs.command_ns)
    }
    checked.host = HostCallbacks(
        log: options.log, logData: options.log_data, fault: options.fault, faultData: options.fault_data,
        power: try checkedPower(options.power), binding: options.binding, bindingData: options.binding_data)
    return checked
}

private func checkedPower(_ pointer: UnsafePointer<unbind_power_callbacks>?) throws(Status) -> PowerCallbacks? {
    guard let pointer else { return nil }
    let power = try read(pointer, zero: unbind_power_callbacks())
    guard power.reserved == 0 else { throw Status.invalid }
    if power.get == nil, power.get_if_in_use == nil, power.put == nil { return nil }
    guard let get = power.get, let getIfInUse = power.get_if_in_use, let put = power.put else { throw Status.invalid }
    return PowerCallbacks(userData: power.user_data, get: get, getIfInUse: getIfInUse, put: put)
}

func checkedAllocator(_ pointer: UnsafePointer<unbind_allocator>?) throws(Status) -> Memory {
    guard let pointer else { return Memory() }
    let allocator = try read(pointer, zero: unbind_allocator())
    guard allocator.reserved == 0, let allocate = allocator.allocate, let deallocate = allocator.deallocate else {
        throw Status.invalid
    }
    return Memory(userData: allocator.user_data, allocate: allocate, deallocate: deallocate)
}

@implementation @_cdecl("unbind_device_close")
public func unbind_device_close(
    _ handle: OpaquePointer!, _ outReport: UnsafeMutablePointer<unbind_leak_report>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        // Checked before anything is closed: a failed call changes nothing.
        if let outReport { try write(read(outReport, zero: unbind_leak_report()), to: outReport) }
        let report = try device.close()
        guard let outReport else { return }
        var result = unbind_leak_report()
        result.vms = report.vms
        result.bos = report.bos
        result.vmas = report.vmas
        result.queues = report.queues
        result.fences = report.fences
        result.bo_bytes = report.boBytes
        result.unbinds_completed = report.unbindsCompleted
        result.fences_cancelled = report.fencesCancelled
        result.timelines = report.timelines
        result.holds = report.holds
        result.locks = report.locks
        result.ranges = report.ranges
        try write(result, to: outReport)
    }
}

@implementation @_cdecl("unbind_device_ref")
public func unbind_device_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let device: DevicePointer = try? object(handle) else { return nil }
    device.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_device_unref")
public func unbind_device_unref(_ handle: OpaquePointer!) {
    guard let device: DevicePointer = try? object(handle) else { return }
    device.dropHandle()
}

@implementation @_cdecl("unbind_device_now")
public func unbind_device_now(_ handle: OpaquePointer!) -> UInt64 {
    guard let device: DevicePointer = try? object(handle) else { return 0 }
    return device.now
}

@implementation @_cdecl("unbind_device_run")
public func unbind_device_run(
    _ handle: OpaquePointer!, _ maxItems: UInt32, _ outRan: UnsafeMutablePointer<UInt32>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        try device.checkOpen()
        let ran = try device.pointee.executor.run(maxItems: maxItems)
        if let outRan { outRan.pointee = ran }
    }
}

@implementation @_cdecl("unbind_device_run_until")
public func unbind_device_run_until(_ handle: OpaquePointer!, _ time: UInt64) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        try device.checkOpen()
        try device.pointee.executor.runUntil(time)
    }
}

@implementation @_cdecl("unbind_device_wait_idle")
public func unbind_device_wait_idle(_ handle: OpaquePointer!, _ timeout: UInt64, _ flags: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        let flags = try WaitFlags(flags)
        try device.checkOpen()
        try device.pointee.executor.waitIdle(
            timeout: timeout, absolute: flags.absolute, interruptible: flags.interruptible)
    }
}

@implementation @_cdecl("unbind_device_next_event")
public func unbind_device_next_event(_ handle: OpaquePointer!, _ outTime: UnsafeMutablePointer<UInt64>!) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        let out = try required(outTime)
        try device.checkOpen()
        if device.pointee.executor.kind == .pool { throw Status.unsupported }
        out.pointee = device.pointee.executor.nextEvent
    }
}

@implementation @_cdecl("unbind_device_get_eventfd")
public func unbind_device_get_eventfd(_ handle: OpaquePointer!, _ outFD: UnsafeMutablePointer<Int32>!) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        let out = try required(outFD)
        try device.checkOpen()
        if device.pointee.executor.kind != .manual { throw Status.unsupported }
        out.pointee = device.pointee.executor.eventfd
    }
}

@implementation @_cdecl("unbind_device_get_stats")
public func unbind_device_get_stats(
    _ handle: OpaquePointer!, _ stats: UnsafeMutablePointer<unbind_device_stats>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        try write(device.stats, to: try required(stats))
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    fileprivate var stats: unbind_device_stats {
        var stats = unbind_device_stats()
        stats.allocations = pointee.memory.pointee.allocations.load(ordering: .relaxed)
        for kind in 0..<CacheKind.count { stats.slab_allocations += (pointee.caches + kind).takenCount }
        stats.bytes_allocated = UInt64(max(0, pointee.memory.pointee.bytes.load(ordering: .relaxed)))
        stats.system_bytes = pointee.systemBytes.load(ordering: .relaxed)
        stats.local_bytes = localBytesInUse
        stats.work_items = pointee.executor.itemsRun
        stats.schedule_digest = pointee.executor.scheduleDigest
        stats.jobs = pointee.gpu.pointee.counters.jobs.load(ordering: .relaxed)
        stats.commands = pointee.gpu.pointee.counters.commands.load(ordering: .relaxed)
        stats.faults = pointee.gpu.pointee.counters.faults.load(ordering: .relaxed)
        let totals = pointee.gpu.totals
        stats.ptes_written = totals.written
        stats.ptes_cleared = totals.cleared
        stats.tlb_invalidations = totals.invalidations
        stats.tlb_hits = pointee.gpu.pointee.counters.tlbHits.load(ordering: .relaxed)
        stats.tlb_misses = pointee.gpu.pointee.counters.tlbMisses.load(ordering: .relaxed)
        return stats
    }
}

@implementation @_cdecl("unbind_device_dump")
public func unbind_device_dump(
    _ handle: OpaquePointer!, _ sink: unbind_write_fn!, _ userData: UnsafeMutableRawPointer!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        guard let sink else { throw Status.invalid }
        try device.dump(to: sink, userData: userData)
    }
}

@implementation @_cdecl("unbind_device_fail_next")
public func unbind_device_fail_next(_ handle: OpaquePointer!, _ what: UInt32, _ count: UInt32) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        guard what == UNBIND_FAIL_COPY else { throw Status.invalid }
        if device.capabilities & Capability.migration == 0 { throw Status.unsupported }
        device.pointee.gpu.pointee.movesToFail.store(count, ordering: .relaxed)
    }
}
