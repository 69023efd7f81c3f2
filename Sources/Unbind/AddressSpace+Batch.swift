// Lists of map and unmap operations that take effect together or not at all (<unbind/batch.h>).

import CUnbind

extension AddressSpace {
    /// How the GPU sees a mapping.
    public enum CacheLevel: UInt32, Sendable {
        /// Whatever is coherent with the CPU.
        case `default`
        case none, writeCombine, writeBack
    }

    /// What a mapping is like.
    public struct MapFlags: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// GPU writes fault.
        public static let readOnly = MapFlags(rawValue: UNBIND_OP_READ_ONLY)
        /// Part of what a hang's report shows.
        public static let capture = MapFlags(rawValue: UNBIND_OP_CAPTURE)
        /// Fails with `.alreadyMapped` instead of replacing what is mapped.
        public static let noReplace = MapFlags(rawValue: UNBIND_OP_NO_REPLACE)
    }

    /// One operation of a batch. Addresses, offsets and sizes are multiples of the page size.
    public struct BatchOperation: Sendable {
        let raw: RawOperation
        /// Keeps it alive until the batch has been submitted.
        let buffer: BufferObject?

        private init(_ kind: UInt32, _ buffer: BufferObject? = nil, _ fill: (inout unbind_op) -> Void = { _ in }) {
            var op = unbind_op()
            op.op = kind
            op.bo = buffer?.handle
            fill(&op)
            raw = RawOperation(op: op)
            self.buffer = buffer
        }

        /// Shows a part of a buffer at an address.
        public static func map(
            _ buffer: BufferObject, offset: UInt64 = 0, at address: UInt64, size: UInt64, _ flags: MapFlags = [],
            cache: CacheLevel = .default
        ) -> BatchOperation {
            BatchOperation(UNBIND_OP_MAP, buffer) {
                $0.address = address
                $0.size = size
                $0.offset = offset
                $0.flags = flags.rawValue
                $0.cache_level = cache.rawValue
            }
        }

        /// Shows the caller's memory, which must stay valid until the fence of the batch that takes the last of it away.
        public static func map(
            _ memory: UnsafeMutableRawBufferPointer, at address: UInt64, _ flags: MapFlags = [],
            cache: CacheLevel = .default
        ) -> BatchOperation {
            BatchOperation(UNBIND_OP_MAP_USER) {
                $0.address = address
                $0.size = UInt64(memory.count)
                $0.memory = memory.baseAddress
                $0.flags = flags.rawValue
                $0.cache_level = cache.rawValue
            }
        }

        /// Reads give zero and writes vanish there. Of the flags only `noReplace` means something.
        public static func mapNull(at address: UInt64, size: UInt64, _ flags: MapFlags = []) -> BatchOperation {
            BatchOperation(UNBIND_OP_MAP_NULL) {
                $0.address = address
                $0.size = size
                $0.flags = flags.rawValue
            }
        }

        /// Takes away whatever is mapped there.
        public static func unmap(at address: UInt64, size: UInt64) -> BatchOperation {
            BatchOperation(UNBIND_OP_UNMAP) {
                $0.address = address
                $0.size = size
            }
        }

        /// Takes away all mappings of a buffer that batches made.
        public static func unmapAll(of buffer: BufferObject) -> BatchOperation { BatchOperation(UNBIND_OP_UNMAP_ALL, buffer) }

        /// Moves a buffer before anything of the batch is mapped.
        public static func prefetch(_ buffer: BufferObject, to region: BufferObject.Region) -> BatchOperation {
            BatchOperation(UNBIND_OP_PREFETCH, buffer) { $0.region = region.rawValue }
        }
    }

    /// The C struct; its pointers are only passed on.
    struct RawOperation: @unchecked Sendable {
        let op: unbind_op
    }

    /// Who waits; the mappings are the same after all of them.
    public enum BatchMode: UInt32, Sendable, CaseIterable {
        /// The caller: for what the batch waits for, and for its end.
        case sync
        /// The GPU.
        case async
        /// The GPU, also for all jobs that have been submitted so far.
        case deferToIdle
    }

    /// How a batch may be carried out.
    public struct BatchFlags: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// A list that is too large may be cut into pieces; those before one that fails stay.
        public static let split = BatchFlags(rawValue: UNBIND_BATCH_SPLIT)
        /// When memory is short, idle VMAs may be unbound.
        public static let evict = BatchFlags(rawValue: UNBIND_BATCH_EVICT)
        /// When memory is short, fails instead of waiting.
        public static let noWait = BatchFlags(rawValue: UNBIND_BATCH_NO_WAIT)
    }

    /// Batches on it take effect for the GPU in the order of their calls.
    public final class BindQueue: @unchecked Sendable {
        /// The C handle, for calls that this module does not wrap.
        public let handle: OpaquePointer
        /// Where its batches go.
        public let addressSpace: AddressSpace

        /// Makes a bind queue.
        public init(in addressSpace: AddressSpace) throws(UnbindError) {
            self.addressSpace = addressSpace
            handle = try UnbindError.make { unbind_bind_queue_create(addressSpace.handle, 0, $0) }
        }

        deinit { unbind_bind_queue_unref(handle) }
    }

    /// Applies a list of operations, all or nothing, and gives the fence of its end.
    ///
    /// - Parameters:
    ///   - queue: nil orders the batch with nothing but what overlaps.
    ///   - fences: the batch waits for all of them.
    ///   - signals: fences of the caller's, signalled when the batch has ended.
    @discardableResult
    public func submit(
        _ operations: [BatchOperation], mode: BatchMode = .sync, _ flags: BatchFlags = [], on queue: BindQueue? = nil,
        after fences: [Fence] = [], signalling signals: [Fence] = []
    ) throws(UnbindError) -> Fence {
        let rawOperations = operations.map(\.raw.op)
        let waits = fences.map { unbind_sync(fence: $0.handle, timeline: nil, point: 0) }
        let signalled = signals.map { unbind_sync(fence: $0.handle, timeline: nil, point: 0) }
        var batch = unbind_batch()
        batch.struct_size = structSize(of: unbind_batch.self)
        batch.flags = flags.rawValue
        batch.mode = mode.rawValue
        batch.queue = queue?.handle
        batch.wait_count = UInt32(waits.count)
        batch.signal_count = UInt32(signalled.count)
        var fence: OpaquePointer?
        let status = waits.withUnsafeBufferPointer { waits in
            signalled.withUnsafeBufferPointer { signalled in
                withUnsafeMutablePointer(to: &fence) { out in
                    batch.waits = waits.baseAddress
                    batch.signals = signalled.baseAddress
                    batch.out_fence = out
                    return unbind_vm_submit(handle, rawOperations, UInt32(rawOperations.count), &batch)
                }
            }
        }
        withExtendedLifetime((operations, queue, fences, signals)) {}
        guard status >= 0, let fence else {
            unbind_fence_unref(fence)
            throw UnbindError(status: status)
        }
        return Fence(adopting: fence, of: device)
    }

    /// What batches have done in an address space.
    public struct BatchStatistics: Sendable {
        /// Batches that succeeded, batches that did not, operations of the former.
        public let batches, failed, operations: UInt64
        /// Mappings made, parts of mappings unbound, parts that a map found as it wanted them.
        public let maps, unmaps, kept: UInt64
        /// Mappings that lost a part, and such that were joined to a neighbour.
        public let splits, merges: UInt64
        /// There now.
        public let mappings: UInt64
        /// Page-table entries and TLB invalidations, by whomever.
        public let entriesWritten, entriesCleared, invalidations: UInt64
    }

    /// What batches have done.
    public func batchStatistics() throws(UnbindError) -> BatchStatistics {
        var raw = unbind_batch_stats()
        raw.struct_size = structSize(of: unbind_batch_stats.self)
        try UnbindError.check(unbind_vm_get_batch_stats(handle, &raw))
        return BatchStatistics(
            batches: raw.batches, failed: raw.failed, operations: raw.operations, maps: raw.maps, unmaps: raw.unmaps,
            kept: raw.kept, splits: raw.splits, merges: raw.merges, mappings: raw.mappings,
            entriesWritten: raw.entries_written, entriesCleared: raw.entries_cleared,
            invalidations: raw.invalidations)
    }
}
