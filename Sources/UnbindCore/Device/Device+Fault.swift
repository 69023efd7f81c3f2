// GPU page faults on their way to the host program, with what was last mapped at the address.

import CUnbind

/// How the C header declares it.
typealias FaultCallback =
    @convention(c) (_ userData: UnsafeMutableRawPointer?, _ fault: UnsafePointer<unbind_fault>?) -> Void

/// Called by an engine for each fault, or for a backend that tells of one, with no lock held.
func deviceFaultSink(_ context: UnsafeMutableRawPointer?, _ record: UnsafeRawPointer) {
    let device = context!.assumingMemoryBound(to: Device.self)
    guard let callback = device.pointee.host.fault else { return }
    let record = record.assumingMemoryBound(to: FaultRecord.self).pointee
    var fault = unbind_fault()
    fault.struct_size = UInt32(MemoryLayout<unbind_fault>.size)
    fault.kind = record.kind.rawValue
    fault.access = record.access.rawValue
    fault.command_index = record.commandIndex
    fault.time_ns = record.time
    fault.queue_id = record.engineID
    fault.vm_id = record.spaceID
    fault.job_seqno = record.jobSeqno
    fault.address = record.address
    if let vm = device.vm(withID: record.spaceID) {
        if let last = vm.pointee.history.lastMapping(covering: record.address) {
            fault.last_bo_id = last.boID
            fault.last_start = last.start
            fault.last_size = last.size
            fault.last_bound_ns = last.boundAt
            fault.last_unbound_ns = last.unboundAt
            fault.last_offset = record.address &- last.start
        }
        report(&fault, of: vm, to: callback, device.pointee.host.faultData)
        vm.drop()
    } else {
        callback(device.pointee.host.faultData, &fault)
    }
}

/// With what is there now.
private func report(
    _ fault: inout unbind_fault, of vm: VMPointer, to callback: FaultCallback, _ userData: UnsafeMutableRawPointer?
) {
    let look = vm.look(at: fault.address)
    fault.bound_bo_id = look.mapping.boID
    fault.bound_start = look.mapping.start
    fault.bound_size = look.mapping.size
    fault.bound_offset = look.mapping.cOffset
    fault.bound_state = UInt32(bitPattern: look.mapping.state.rawValue)
    fault.bound_flags = look.mapping.cFlags
    fault.pending_unbinds = UInt32(clamping: look.unbindCount)
    var operations = InlineArray<16, unbind_operation>(repeating: unbind_operation())
    let capacity = UInt32(operations.count)
    withUnsafeMutablePointer(to: &operations) { operations in
        let first = UnsafeMutableRawPointer(operations).assumingMemoryBound(to: unbind_operation.self)
        fault.operation_count = min(capacity, vm.copyOperations(at: fault.address, to: first, capacity))
        fault.operations = UnsafePointer(first)
        callback(userData, &fault)
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// With a reference.
    func vm(withID id: UInt64) -> VMPointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var next = pointee.firstVM
        while let vm = next {
            if vm.pointee.id == id, vm.tryRetain() { return vm }
            next = vm.pointee.nextInDevice
        }
        return nil
    }
}
