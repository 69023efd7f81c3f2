// Looking at an address, and being told of binds and unbinds (<unbind/lookup.h>).

import CUnbind

extension AddressSpace {
    /// One step in the life of a mapping, as the address space's history remembers it.
    public struct PastOperation: Sendable {
        /// The steps.
        public enum Kind: UInt32, Sendable {
            case bindScheduled, bound, unbindScheduled, unbindStarted, unbindCompleted
        }

        public let kind: Kind
        /// When, on the device's clock; may be some milliseconds back.
        public let time: UInt64
        /// Of the mapping.
        public let range: Range<UInt64>
        /// The buffer's `id`.
        public let bufferID: UInt64

        init(_ raw: unbind_operation) {
            kind = Kind(rawValue: raw.type) ?? .bound
            time = raw.time_ns
            range = raw.start..<(raw.start &+ raw.size)
            bufferID = raw.bo_id
        }
    }

    /// What is bound at an address.
    public struct Mapping: Sendable {
        /// Its addresses, without guards.
        public let range: Range<UInt64>
        /// The buffer's `id`.
        public let bufferID: UInt64
        /// Byte of the buffer at the address; nil in the padding of a view.
        public let bufferOffset: UInt64?
        /// Its entries are still to be written.
        public let isBinding: Bool
        public let isReadOnly: Bool
        /// In local memory.
        public let isLocal: Bool
        /// Not the whole buffer as it is.
        public let isView: Bool

        /// Nil if nothing is bound.
        init?(state: UInt32, flags: UInt32, bufferID: UInt64, start: UInt64, size: UInt64, offset: UInt64) {
            if state == UNBIND_VMA_UNBOUND { return nil }
            range = start..<(start &+ size)
            self.bufferID = bufferID
            // UNBIND_OFFSET_NONE
            bufferOffset = offset == .max ? nil : offset
            isBinding = state == UNBIND_VMA_BINDING
            isReadOnly = flags & UNBIND_LOOKUP_READ_ONLY != 0
            isLocal = flags & UNBIND_LOOKUP_LOCAL != 0
            isView = flags & UNBIND_LOOKUP_VIEW != 0
        }
    }

    /// An unbind that has not finished: a bind that overlaps it waits.
    public struct PendingUnbind: Sendable {
        /// What it still awaits.
        public enum Obstacle: Sendable {
            /// So many fences.
            case work(UInt32)
            /// Its entries are being cleared.
            case clearing
            /// So many holds.
            case holds(UInt32)
        }

        public let obstacle: Obstacle
        /// Those scheduled later have a higher one.
        public let order: UInt64
        /// Of the mapping.
        public let range: Range<UInt64>
        /// The buffer's `id`.
        public let bufferID: UInt64

        init(_ raw: unbind_pending_unbind) {
            obstacle =
                switch raw.awaits {
                case UNBIND_AWAITS_WORK: .work(raw.count)
                case UNBIND_AWAITS_HOLDS: .holds(raw.count)
                default: .clearing
                }
            order = raw.order
            range = raw.start..<(raw.start &+ raw.size)
            bufferID = raw.bo_id
        }
    }
}

/// A range that changed hands, or the end of a bind or unbind that was pending.
public struct BindingEvent: Sendable {
    public enum Kind: UInt32, Sendable { case bind, bindDone, unbind, unbindDone }

    public let kind: Kind
    /// The entries follow later, and a `Done` event with them.
    public let isPending: Bool
    /// Nobody asked for it of this VMA.
    public let isInternal: Bool
    /// `bindDone`: why the entries were not written.
    public let error: UnbindError?
    /// When, on the device's clock.
    public let time: UInt64
    public let addressSpaceID: UInt64
    /// Of the events of this address space, from 1.
    public let number: UInt64
    /// Of the mapping.
    public let range: Range<UInt64>
    /// The buffer's `id`.
    public let bufferID: UInt64

    init(_ raw: unbind_binding_event) {
        kind = Kind(rawValue: raw.type) ?? .bind
        isPending = raw.flags & UNBIND_EVENT_PENDING != 0
        isInternal = raw.flags & UNBIND_EVENT_INTERNAL != 0
        error = raw.error == 0 ? nil : UnbindError(status: raw.error)
        time = raw.time_ns
        addressSpaceID = raw.vm_id
        number = raw.number
        range = raw.address..<(raw.address &+ raw.size)
        bufferID = raw.bo_id
    }
}

extension AddressSpace {
    /// What an address space tells of an address.
    public struct Lookup: Sendable {
        /// What is bound there; nil if nothing is.
        public let mapping: Mapping?
        /// Pins and holds of the mapping.
        public let pinCount: Int
        public let holdCount: Int
        /// Nothing is bound, but a guard or padding of something is there.
        public let isGuard: Bool
        /// Unbinds that cover it and have not finished, in the order in which they were scheduled.
        public let pendingUnbinds: [PendingUnbind]
        /// The last operations that touched it, newest first.
        public let operations: [PastOperation]
        /// How many operations are remembered, also those not listed.
        public let operationCount: Int
        /// Binding events made so far; 0 if the device tells nobody.
        public let eventCount: UInt64
    }

    /// Tells about an address, with at most so many operations; 0 does not read the history.
    public func lookup(at address: UInt64, operations limit: Int = 16) throws(UnbindError) -> Lookup {
        var raw = unbind_lookup()
        raw.struct_size = structSize(of: unbind_lookup.self)
        var unbinds: [unbind_pending_unbind] = []
        var operations = [unbind_operation](repeating: unbind_operation(), count: max(0, limit))
        var status: Int32 = 0
        repeat {
            // More of them than the last time: once more.
            unbinds = [unbind_pending_unbind](repeating: unbind_pending_unbind(), count: Int(raw.unbind_count))
            unbinds.withUnsafeMutableBufferPointer { unbinds in
                operations.withUnsafeMutableBufferPointer { operations in
                    raw.unbinds = unbinds.baseAddress
                    raw.unbind_capacity = UInt32(unbinds.count)
                    raw.operations = operations.baseAddress
                    raw.operation_capacity = UInt32(operations.count)
                    status = unbind_vm_lookup(handle, address, &raw)
                }
            }
        } while status == 0 && raw.unbind_count > UInt32(unbinds.count)
        try UnbindError.check(status)
        return Lookup(
            mapping: Mapping(
                state: raw.state, flags: raw.flags, bufferID: raw.bo_id, start: raw.start, size: raw.size,
                offset: raw.bo_offset),
            pinCount: Int(raw.pins), holdCount: Int(raw.holds), isGuard: raw.flags & UNBIND_LOOKUP_GUARD != 0,
            pendingUnbinds: unbinds.prefix(Int(raw.unbind_count)).map(PendingUnbind.init).sorted {
                $0.order < $1.order
            },
            operations: operations.prefix(Int(raw.operation_count)).map(PastOperation.init),
            operationCount: Int(raw.operation_count), eventCount: raw.event_count)
    }
}
