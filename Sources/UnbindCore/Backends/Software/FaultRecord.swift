// FaultRecord: one GPU page fault, as an engine met it. What was mapped there before is for the owner to look up.

/// The values are those of UNBIND_FAULT_*.
enum FaultKind: UInt32 {
    case unmapped = 0
    case readOnly = 1
    case stale = 2
}

/// The values are those of UNBIND_ACCESS_*.
enum FaultAccess: UInt32 {
    case read = 0
    case write = 1
}

struct FaultRecord {
    var kind: FaultKind
    var access: FaultAccess
    var engineID: UInt64
    var spaceID: UInt64
    var jobSeqno: UInt64
    var commandIndex: UInt32
    /// The first byte that could not be reached.
    var address: UInt64
    var time: UInt64

    /// Told of every fault, with no lock held; the record (a FaultRecord) is valid during the call.
    typealias Sink = @convention(c) (_ context: UnsafeMutableRawPointer?, _ record: UnsafeRawPointer) -> Void
}
