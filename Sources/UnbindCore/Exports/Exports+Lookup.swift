// Exports of <unbind/lookup.h>.

import CUnbind

@implementation @_cdecl("unbind_vm_lookup")
public func unbind_vm_lookup(
    _ handle: OpaquePointer!, _ address: UInt64, _ lookup: UnsafeMutablePointer<unbind_lookup>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(handle)
        let out = try required(lookup)
        var result = try read(out, zero: unbind_lookup())
        let (unbinds, operations) = (result.unbinds, result.operations)
        if unbinds == nil, result.unbind_capacity != 0 { throw Status.invalid }
        if operations == nil, result.operation_capacity != 0 { throw Status.invalid }
        let room = Int(result.unbind_capacity)
        var stored = 0
        let look = vm.look(at: address) { unbind in
            if stored == room { return }
            (unbinds! + stored).initialize(to: unbind.cValue)
            stored += 1
        }
        result.unbind_count = UInt32(clamping: look.unbindCount)
        result.event_count = look.eventCount
        look.mapping.fill(&result)
        result.operation_count = 0
        if result.operation_capacity != 0 {
            result.operation_count = vm.copyOperations(at: address, to: operations!, result.operation_capacity)
        }
        try write(result, to: out)
    }
}

extension BoundMapping {
    fileprivate func fill(_ lookup: inout unbind_lookup) {
        lookup.flags = cFlags
        lookup.state = UInt32(bitPattern: state.rawValue)
        lookup.pins = pins
        lookup.holds = holds
        lookup.reserved = 0
        lookup.start = start
        lookup.size = size
        lookup.bo_id = boID
        lookup.bo_offset = cOffset
    }

    var cFlags: UInt32 {
        var flags: UInt32 = 0
        if isReadOnly { flags |= UNBIND_LOOKUP_READ_ONLY }
        if isLocal { flags |= UNBIND_LOOKUP_LOCAL }
        if isView { flags |= UNBIND_LOOKUP_VIEW }
        if isOfBatch { flags |= UNBIND_LOOKUP_BATCH }
        if isNull { flags |= UNBIND_LOOKUP_NULL }
        if isGuard { flags |= UNBIND_LOOKUP_GUARD }
        return flags
    }

    /// UNBIND_OFFSET_NONE in padding.
    var cOffset: UInt64 { state == .unbound ? 0 : boOffset ?? .max }
}

extension PendingUnbind {
    fileprivate var cValue: unbind_pending_unbind {
        unbind_pending_unbind(
            awaits: obstacle.rawValue, count: count, order: order, start: start, size: size, bo_id: boID)
    }
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// The last operations that touched the address, newest first; returns how many are remembered.
    /// - Locking: nothing may be held.
    func copyOperations(
        at address: UInt64, to operations: UnsafeMutablePointer<unbind_operation>, _ capacity: UInt32
    ) -> UInt32 {
        var count: UInt32 = 0
        pointee.history.forEachRecent(covering: address) { record in
            if count < capacity {
                (operations + Int(count)).initialize(
                    to: unbind_operation(
                        type: UInt32(record.operation.rawValue), reserved: 0, time_ns: record.time, start: record.start,
                        size: record.size, bo_id: record.boID))
            }
            count &+= 1
        }
        return count
    }
}
