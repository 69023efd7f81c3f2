// Exports of <unbind/vm.h>.

import CUnbind
import Synchronization

@implementation @_cdecl("unbind_vm_create")
public func unbind_vm_create(
    _ deviceHandle: OpaquePointer!, _ options: UnsafePointer<unbind_vm_options>!,
    _ outVM: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outVM)
        let checked = try checkedAddressSpaceOptions(options, device: device)
        out.pointee = OpaquePointer(try VMPointer.make(device: device, options: checked))
    }
}

private func checkedAddressSpaceOptions(
    _ pointer: UnsafePointer<unbind_vm_options>?, device: DevicePointer
) throws(Status) -> AddressSpaceOptions {
    var checked = AddressSpaceOptions(size: device.addressLimit, pageSizes: device.pointee.pageSizes)
    checked.mappableSize = checked.size
    guard let pointer else { return checked }
    let options = try read(pointer, zero: unbind_vm_options())
    try check(options.flags, allowed: UNBIND_VM_CACHE_COLORING | UNBIND_VM_GLOBAL | UNBIND_VM_IPS | UNBIND_VM_NO_HISTORY)
    guard options.reserved == 0, let policy = DependencyPolicy(rawValue: options.policy) else { throw Status.invalid }
    checked.policy = policy
    if device.pointee.backend != nil, options.flags & (UNBIND_VM_GLOBAL | UNBIND_VM_IPS) != 0 {
        throw Status.unsupported
    }
    checked.coloring = options.flags & UNBIND_VM_CACHE_COLORING != 0
    checked.isGlobal = options.flags & UNBIND_VM_GLOBAL != 0
    checked.hasTableModes = options.flags & UNBIND_VM_IPS != 0
    if options.size != 0 {
        guard isAligned(options.size, to: pageSize), options.size <= device.addressLimit else { throw Status.invalid }
        checked.size = options.size
    }
    if options.page_sizes != 0 {
        guard options.page_sizes & ~device.pointee.pageSizes == 0 else { throw Status.invalid }
        checked.pageSizes = options.page_sizes
    }
    if checked.hasTableModes, checked.pageSizes & PageSize.medium == 0 { throw Status.invalid }
    checked.mappableSize = checked.size
    if options.mappable_size != 0 {
        guard isAligned(options.mappable_size, to: pageSize), options.mappable_size <= checked.size else {
            throw Status.invalid
        }
        checked.mappableSize = options.mappable_size
    }
    let smallest = checked.pageSizes & (~checked.pageSizes &+ 1)
    guard isAligned(options.guard, to: smallest), options.guard <= checked.size else { throw Status.invalid }
    checked.guardSize = options.guard
    checked.historyCapacity = try checkedHistoryCapacity(options)
    return checked
}

private func checkedHistoryCapacity(_ options: unbind_vm_options) throws(Status) -> Int {
    guard options.reserved2 == 0, options.history_records <= 1 << 20 else { throw Status.invalid }
    if options.flags & UNBIND_VM_NO_HISTORY != 0 {
        if options.history_records != 0 { throw Status.invalid }
        return 0
    }
    return options.history_records == 0 ? History.defaultCapacity : Int(options.history_records)
}

@implementation @_cdecl("unbind_vm_close")
public func unbind_vm_close(_ handle: OpaquePointer!) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        try vm.close()
    }
}

@implementation @_cdecl("unbind_vm_suspend")
public func unbind_vm_suspend(_ handle: OpaquePointer!) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        try vm.suspend()
    }
}

@implementation @_cdecl("unbind_vm_resume")
public func unbind_vm_resume(_ handle: OpaquePointer!) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        try vm.resume()
    }
}

@implementation @_cdecl("unbind_vm_ref")
public func unbind_vm_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let vm: VMPointer = try? object(handle) else { return nil }
    vm.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_vm_unref")
public func unbind_vm_unref(_ handle: OpaquePointer!) {
    guard let vm: VMPointer = try? object(handle) else { return }
    vm.dropHandle()
}

@implementation @_cdecl("unbind_vm_id")
public func unbind_vm_id(_ handle: OpaquePointer!) -> UInt64 {
    guard let vm: VMPointer = try? object(handle) else { return 0 }
    return vm.pointee.id
}

@implementation @_cdecl("unbind_vm_size")
public func unbind_vm_size(_ handle: OpaquePointer!) -> UInt64 {
    guard let vm: VMPointer = try? object(handle) else { return 0 }
    return vm.pointee.options.size
}

@implementation @_cdecl("unbind_vm_get_stats")
public func unbind_vm_get_stats(_ handle: OpaquePointer!, _ stats: UnsafeMutablePointer<unbind_vm_stats>!) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        try write(vm.cStats, to: try required(stats))
    }
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    fileprivate var cStats: unbind_vm_stats {
        let stats = pointee.stats
        var result = unbind_vm_stats()
        pointee.lock.acquire()
        result.binds = stats.pointee.binds
        result.binds_waited = stats.pointee.bindsWaited
        result.unbinds_immediate = stats.pointee.unbindsImmediate
        result.unbinds_deferred = stats.pointee.unbindsDeferred
        result.awaited = stats.pointee.awaited
        result.awaited_not_overlapping = stats.pointee.awaitedNotOverlapping
        result.pending_peak = stats.pointee.pendingPeak
        result.bound = UInt64(pointee.ranges.count)
        result.bound_bytes = pointee.ranges.allocatedBytes
        // With the lock, without which none is scheduled: those that complete later have not begun for these figures.
        let completed = stats.pointee.completedAtOnce &+ stats.pointee.completed.load(ordering: .relaxed)
        pointee.lock.release()
        result.unbinds = result.unbinds_immediate + result.unbinds_deferred
        result.unbinds_completed = completed
        // Counted before their fences signal: whoever has seen a fence signal does not find its unbind pending.
        result.pending = result.unbinds.subtractingSaturating(result.unbinds_completed)
        result.unbinds_skipped_ptes = stats.pointee.skipped.load(ordering: .relaxed)
        result.bind_wait_ns = stats.pointee.bindWaitNanoseconds.load(ordering: .relaxed)
        result.unbind_batches = stats.pointee.batches.load(ordering: .relaxed)
        if let backend = pointee.backendSpace {
            result.backend_calls = backend.pointee.updates.load(ordering: .relaxed)
            result.backend_ranges = backend.pointee.updatedRanges.load(ordering: .relaxed)
            result.backend_invalidations = backend.pointee.invalidations.load(ordering: .relaxed)
        } else {
            // A bind is one, and so is an unbind within the call; the others go in batches.
            result.backend_calls = result.binds &+ result.unbinds_immediate &+ result.unbind_batches
            result.backend_ranges = result.binds &+ result.unbinds_completed
            result.backend_invalidations = pointee.space.pointee.counters.invalidations.load(ordering: .relaxed)
        }
        return result
    }
}

@implementation @_cdecl("unbind_vm_find_page")
public func unbind_vm_find_page(
    _ handle: OpaquePointer!, _ address: UInt64, _ outPage: UnsafeMutablePointer<unbind_page>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        let out = try required(outPage)
        let page = try vm.findPage(endingAfter: address)
        var result = unbind_page()
        result.flags =
            (page.isWritable ? UNBIND_PAGE_WRITABLE : 0) | (page.isLocal ? UNBIND_PAGE_LOCAL : 0)
            | (page.isNull ? UNBIND_PAGE_NULL : 0)
        result.address = page.address
        result.size = page.size
        result.bo_id = page.boID
        result.bo_offset = page.boOffset
        try write(result, to: out)
    }
}

@implementation @_cdecl("unbind_vm_dump")
public func unbind_vm_dump(
    _ handle: OpaquePointer!, _ sink: unbind_write_fn!, _ userData: UnsafeMutableRawPointer!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        guard let sink else { throw Status.invalid }
        try vm.dump(to: sink, userData: userData)
    }
}
