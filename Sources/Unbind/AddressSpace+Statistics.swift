// What an address space tells about itself.

import CUnbind

extension AddressSpace {
    /// The address space's counters.
    public struct Statistics: Sendable {
        /// Binds that succeeded.
        public let binds: UInt64
        /// Binds with at least one unbind awaited.
        public let bindsWaited: UInt64
        /// Unbinds scheduled; done within the call; done by the executor; finished.
        public let unbinds, unbindsImmediate, unbindsDeferred, unbindsCompleted: UInt64
        /// Finished without a page-table clear: the address space was closed.
        public let unbindsSkippedClear: UInt64
        /// Unbinds awaited by binds, summed over the binds.
        public let awaited: UInt64
        /// Of them, unbinds that did not overlap the bind.
        public let awaitedNotOverlapping: UInt64
        /// From a bind's call to its last dependency, summed over the binds.
        public let bindWaitNanoseconds: UInt64
        /// Unbinds under way: now, and at most at any time.
        public let pending, pendingPeak: UInt64
        /// Bound VMAs and their bytes, now.
        public let bound, boundBytes: UInt64
        /// Groups in which ready unbinds went to the GPU.
        public let unbindBatches: UInt64
        /// Updates of page tables that binds and unbinds came to, and the ranges in them.
        public let backendCalls, backendRanges: UInt64

        init(_ raw: unbind_vm_stats) {
            binds = raw.binds
            bindsWaited = raw.binds_waited
            unbinds = raw.unbinds
            unbindsImmediate = raw.unbinds_immediate
            unbindsDeferred = raw.unbinds_deferred
            unbindsCompleted = raw.unbinds_completed
            unbindsSkippedClear = raw.unbinds_skipped_ptes
            awaited = raw.awaited
            awaitedNotOverlapping = raw.awaited_not_overlapping
            bindWaitNanoseconds = raw.bind_wait_ns
            pending = raw.pending
            pendingPeak = raw.pending_peak
            bound = raw.bound
            boundBytes = raw.bound_bytes
            unbindBatches = raw.unbind_batches
            backendCalls = raw.backend_calls
            backendRanges = raw.backend_ranges
        }
    }

    /// One leaf entry of the page tables.
    public struct Page: Hashable, Sendable {
        /// GPU virtual address of its first byte, and bytes.
        public let address, size: UInt64
        /// Whether the GPU may write it, and whether it lies in the device's local memory.
        public let isWritable, isLocal: Bool
        /// 0 if the VMA was unbound and the entry waits to be cleared.
        public let bufferID: UInt64
        /// Byte of the buffer at `address`.
        public let bufferOffset: UInt64

        init(_ raw: unbind_page) {
            address = raw.address
            size = raw.size
            isWritable = raw.flags & UNBIND_PAGE_WRITABLE != 0
            isLocal = raw.flags & UNBIND_PAGE_LOCAL != 0
            bufferID = raw.bo_id
            bufferOffset = raw.bo_offset
        }
    }
}
