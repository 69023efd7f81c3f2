// BackendFault: a GPU page fault that a backend tells of, on its way to the host program (Device+Fault).
//
// By the token of the submit that faulted, which says whose queue and which job that is, or by the address space alone,
// where hardware tells no more.

import CUnbind
import Synchronization

struct BackendFault {
    let kind: FaultKind
    let access: FaultAccess
    /// Of the submit's.
    let commandIndex: UInt32
    /// 0: the token says it.
    let vmID: UInt64
    let address: UInt64
    let token: BackendTokenPointer?
}

extension UnsafeMutablePointer where Pointee == Device {
    /// Calls the host program's callback, on this thread.
    /// - Locking: nothing may be held.
    /// - Failure: unsupported; invalid: the token is of no submit under way, or of another VM; no such VM.
    func report(_ fault: BackendFault) throws(Status) {
        guard let backend = pointee.backend, backend.has(Capability.faultReports) else { throw Status.unsupported }
        var record = FaultRecord(
            kind: fault.kind, access: fault.access, engineID: 0, spaceID: fault.vmID, jobSeqno: 0, commandIndex: 0,
            address: fault.address, time: now)
        if let token = fault.token {
            guard let engine = token.pointee.engine else { throw Status.invalid }
            try engine.identify(&record, command: fault.commandIndex)
        } else {
            guard let vm = vm(withID: fault.vmID) else { throw Status.invalid }
            vm.drop()
        }
        _ = pointee.gpu.pointee.counters.faults.wrappingAdd(1, ordering: .relaxed)
        callingBack { withUnsafePointer(to: &record) { deviceFaultSink(UnsafeMutableRawPointer(self), $0) } }
    }
}

extension UnsafeMutablePointer where Pointee == Engine {
    /// Which queue and job it was. The submit under way begins at the command where the job is.
    /// - Failure: invalid.
    fileprivate func identify(_ record: inout FaultRecord, command: UInt32) throws(Status) {
        let vmID = pointee.backend!.pointee.space!.pointee.vm.pointee.id
        if record.spaceID != 0, record.spaceID != vmID { throw Status.invalid }
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard let job = pointee.firstJob else { throw Status.invalid }
        record.engineID = pointee.id
        record.spaceID = vmID
        record.jobSeqno = job.pointee.seqno
        record.commandIndex = UInt32(truncatingIfNeeded: pointee.progress.commandIndex) &+ command
    }
}
