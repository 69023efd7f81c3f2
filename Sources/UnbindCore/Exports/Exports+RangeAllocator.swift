// Exports of <unbind/range_allocator.h>.

import CUnbind

@implementation @_cdecl("unbind_range_allocator_create")
public func unbind_range_allocator_create(
    _ deviceHandle: OpaquePointer!, _ zones: UnsafePointer<unbind_range_zone>!, _ zoneCount: UInt32,
    _ outAllocator: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outAllocator)
        guard let zones, zoneCount != 0, zoneCount <= UNBIND_RANGE_ZONE_LIMIT else { throw Status.invalid }
        for index in 0..<Int(zoneCount) {
            guard zones[index].reserved == 0 else { throw Status.invalid }
            let zone = description(of: zones[index])
            guard isPowerOfTwo(zone.alignment), zone.alignment >= pageSize,
                isAligned(zone.start, to: zone.alignment), isAligned(zone.size, to: zone.alignment)
            else { throw Status.invalid }
            let last: UInt64
            do throws(Status) {
                last = try checkedLast(zone.start, zone.size)
            } catch {
                throw Status.invalid
            }
            for earlier in 0..<index {
                let other = description(of: zones[earlier])
                if zone.start < other.start + other.size, other.start <= last { throw Status.invalid }
            }
        }
        out.pointee = OpaquePointer(
            try ZoneAllocatorPointer.make(device: device, zoneCount: Int(zoneCount)) { description(of: zones[$0]) })
    }
}

private func description(of zone: unbind_range_zone) -> ZoneDescription {
    ZoneDescription(
        start: zone.start, size: zone.size, alignment: zone.alignment == 0 ? pageSize : zone.alignment)
}

@implementation @_cdecl("unbind_range_allocator_ref")
public func unbind_range_allocator_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let allocator: ZoneAllocatorPointer = try? object(handle) else { return nil }
    allocator.tracker.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_range_allocator_unref")
public func unbind_range_allocator_unref(_ handle: OpaquePointer!) {
    guard let allocator: ZoneAllocatorPointer = try? object(handle) else { return }
    allocator.tracker.dropHandle()
}

@implementation @_cdecl("unbind_range_allocator_reserve")
public func unbind_range_allocator_reserve(
    _ handle: OpaquePointer!, _ request: UnsafePointer<unbind_range_request>!,
    _ outAddress: UnsafeMutablePointer<UInt64>!, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let allocator: ZoneAllocatorPointer = try object(handle)
        let out = try required(outAddress)
        guard let request else { throw Status.invalid }
        var checked = try checkedRequest(try read(request, zero: unbind_range_request()))
        checked.takesFence = outFence != nil
        let reserved = try allocator.reserve(checked)
        out.pointee = reserved.address
        guard let outFence else { return }
        outFence.pointee = nil
        if let fence = reserved.fence { handOut(fence, to: outFence) }
    }
}

private func checkedRequest(_ request: unbind_range_request) throws(Status) -> ZoneRequest {
    try check(request.flags, allowed: UNBIND_RANGE_FIXED)
    guard request.alignment == 0 || isPowerOfTwo(request.alignment) else { throw Status.invalid }
    var checked = ZoneRequest(size: request.size)
    checked.alignment = request.alignment
    checked.zone = Int(request.zone)
    checked.tag = request.tag
    let placement: Placement
    switch request.placement {
    case UNBIND_RANGE_BEST: placement = .best
    case UNBIND_RANGE_LOW: placement = .low
    case UNBIND_RANGE_HIGH: placement = .high
    default: throw Status.invalid
    }
    if request.flags & UNBIND_RANGE_FIXED != 0 {
        checked.place = .fixed(request.address)
    } else {
        guard request.address == 0 else { throw Status.invalid }
        checked.place = .anywhere(placement)
    }
    return checked
}

@implementation @_cdecl("unbind_range_allocator_release")
public func unbind_range_allocator_release(_ handle: OpaquePointer!, _ address: UInt64) -> Int32 {
    cStatus { () throws(Status) in
        let allocator: ZoneAllocatorPointer = try object(handle)
        try allocator.release(address)
    }
}

@implementation @_cdecl("unbind_range_allocator_release_after")
public func unbind_range_allocator_release_after(
    _ handle: OpaquePointer!, _ address: UInt64, _ fenceHandle: OpaquePointer!, _ flags: UInt32
) -> Int32 {
    cStatus { () throws(Status) in
        let allocator: ZoneAllocatorPointer = try object(handle)
        let fence: FencePointer = try object(fenceHandle)
        try check(flags, allowed: UNBIND_RANGE_REUSE)
        guard fence.device == allocator.device else { throw Status.invalid }
        try allocator.release(address, after: fence, isReusable: flags & UNBIND_RANGE_REUSE != 0)
    }
}

@implementation @_cdecl("unbind_range_allocator_lookup")
public func unbind_range_allocator_lookup(
    _ handle: OpaquePointer!, _ address: UInt64, _ outInfo: UnsafeMutablePointer<unbind_range_info>!
) -> Int32 {
    cStatus { () throws(Status) in
        let allocator: ZoneAllocatorPointer = try object(handle)
        let out = try required(outInfo)
        let answer = try allocator.lookup(address)
        var info = unbind_range_info()
        switch answer.state {
        case .used: info.state = UNBIND_RANGE_USED
        case .waiting: info.state = UNBIND_RANGE_WAITING
        default: info.state = UNBIND_RANGE_FREE
        }
        info.start = answer.start
        info.size = answer.size
        info.tag = answer.tag
        info.zone = UInt32(answer.zone)
        info.fences = UInt32(truncatingIfNeeded: answer.fences)
        try write(info, to: out)
    }
}

@implementation @_cdecl("unbind_range_allocator_get_fence")
public func unbind_range_allocator_get_fence(
    _ handle: OpaquePointer!, _ start: UInt64, _ size: UInt64, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let allocator: ZoneAllocatorPointer = try object(handle)
        let out = try required(outFence)
        handOut(try allocator.tracker.mergedFence(from: start, through: try checkedLast(start, size)), to: out)
    }
}

@implementation @_cdecl("unbind_range_allocator_get_stats")
public func unbind_range_allocator_get_stats(
    _ handle: OpaquePointer!, _ zone: UInt32, _ outStats: UnsafeMutablePointer<unbind_range_stats>!
) -> Int32 {
    cStatus { () throws(Status) in
        let allocator: ZoneAllocatorPointer = try object(handle)
        let out = try required(outStats)
        let sums = try allocator.sums(zone: zone == UNBIND_RANGE_ALL_ZONES ? nil : Int(zone))
        var stats = unbind_range_stats()
        stats.size = sums.size
        stats.used_bytes = sums.usedBytes
        stats.waiting_bytes = sums.waitingBytes
        stats.free_bytes = sums.size - sums.usedBytes - sums.waitingBytes
        stats.used = UInt64(sums.used)
        stats.waiting = UInt64(sums.waiting)
        stats.reusable = UInt64(sums.reusable)
        try write(stats, to: out)
    }
}
