// Fault: a GPU page fault, with the history of the address.

import CUnbind

/// A GPU page fault. The job's fence carries `UnbindError.pageFault`.
public struct Fault: Sendable {
    /// What went wrong.
    public enum Kind: UInt32, Sendable {
        /// Nothing is mapped at the address.
        case unmapped
        /// A write to a read-only mapping.
        case readOnly
        /// Used after its unbind, before the TLB invalidation.
        case stale
    }

    /// What went wrong.
    public let kind: Kind
    /// Whether the command wrote or read.
    public let isWrite: Bool
    /// Index in the job's commands.
    public let commandIndex: Int
    /// When, on the device's clock.
    public let time: UInt64
    /// Where the job ran.
    public let queueID: UInt64
    /// Whose page tables were walked.
    public let addressSpaceID: UInt64
    /// The queue's count of submits, from 1.
    public let jobNumber: UInt64
    /// The first byte that faulted.
    public let address: UInt64
    /// What was last mapped there; nil if nothing is remembered.
    public let lastMapping: Mapping?
    /// What is bound there now.
    public let mapping: AddressSpace.Mapping?
    /// Unbinds that cover the address and have not finished.
    public let pendingUnbindCount: Int
    /// The last operations that touched the address, newest first, at most 16.
    public let operations: [AddressSpace.PastOperation]

    /// A mapping that was once at the address.
    public struct Mapping: Sendable {
        /// The buffer's `id`.
        public let bufferID: UInt64
        /// Its addresses.
        public let range: Range<UInt64>
        /// Byte of the mapping; of the buffer too, unless it was bound through a view.
        public let offset: UInt64
        /// nil if no longer remembered.
        public let boundAt: UInt64?
        /// nil if still bound.
        public let unboundAt: UInt64?
    }

    init(_ raw: unbind_fault) {
        kind = Kind(rawValue: raw.kind) ?? .unmapped
        isWrite = raw.access == UNBIND_ACCESS_WRITE
        commandIndex = Int(raw.command_index)
        time = raw.time_ns
        queueID = raw.queue_id
        addressSpaceID = raw.vm_id
        jobNumber = raw.job_seqno
        address = raw.address
        mapping = AddressSpace.Mapping(
            state: raw.bound_state, flags: raw.bound_flags, bufferID: raw.bound_bo_id, start: raw.bound_start,
            size: raw.bound_size, offset: raw.bound_offset)
        pendingUnbindCount = Int(raw.pending_unbinds)
        operations = UnsafeBufferPointer(start: raw.operations, count: Int(raw.operation_count))
            .map(AddressSpace.PastOperation.init)
        guard raw.last_bo_id != 0 else {
            lastMapping = nil
            return
        }
        lastMapping = Mapping(
            bufferID: raw.last_bo_id, range: raw.last_start..<(raw.last_start &+ max(raw.last_size, 1)),
            offset: raw.last_offset,
            boundAt: raw.last_bound_ns == 0 ? nil : raw.last_bound_ns,
            unboundAt: raw.last_unbound_ns == 0 ? nil : raw.last_unbound_ns)
    }
}
