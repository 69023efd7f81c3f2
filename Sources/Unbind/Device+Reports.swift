// What a device tells about itself.

import CUnbind

extension Device {
    /// What was still alive when a device was closed.
    public struct LeakReport: Sendable {
        /// Objects whose references were not dropped.
        public let addressSpaces, buffers, vmas, queues, fences, timelines, holds: Int
        /// Locks of buffers that lock contexts still had.
        public let locks: Int
        /// Allocators and trackers of ranges.
        public let ranges: Int
        /// Memory of those buffers.
        public let bufferBytes: UInt64
        /// Unbinds that were pending and that the close finished.
        public let unbindsCompleted: UInt64
        /// The caller's own and timed fences that the close cancelled.
        public let fencesCancelled: UInt64

        /// True when no object was left.
        public var isClean: Bool {
            addressSpaces + buffers + vmas + queues + fences + timelines + holds + locks + ranges == 0
        }

        init(_ raw: unbind_leak_report) {
            addressSpaces = Int(raw.vms)
            buffers = Int(raw.bos)
            vmas = Int(raw.vmas)
            queues = Int(raw.queues)
            fences = Int(raw.fences)
            timelines = Int(raw.timelines)
            holds = Int(raw.holds)
            locks = Int(raw.locks)
            ranges = Int(raw.ranges)
            bufferBytes = raw.bo_bytes
            unbindsCompleted = raw.unbinds_completed
            fencesCancelled = raw.fences_cancelled
        }
    }

    /// The device's counters.
    public struct Statistics: Sendable {
        /// Calls of the allocator, objects from the slab caches, bytes held from the allocator now.
        public let allocations, slabAllocations, bytesAllocated: UInt64
        /// Buffer memory in use.
        public let systemBytes, localBytes: UInt64
        /// Pieces of work the executor has run.
        public let workItems: UInt64
        /// Simulated executor: equal for equal schedules.
        public let scheduleDigest: UInt64
        /// What the queues have done.
        public let jobs, commands, faults: UInt64
        /// Page-table entries written and cleared.
        public let pagesWritten, pagesCleared: UInt64
        /// What the TLBs have done.
        public let tlbInvalidations, tlbHits, tlbMisses: UInt64

        init(_ raw: unbind_device_stats) {
            allocations = raw.allocations
            slabAllocations = raw.slab_allocations
            bytesAllocated = raw.bytes_allocated
            systemBytes = raw.system_bytes
            localBytes = raw.local_bytes
            workItems = raw.work_items
            scheduleDigest = raw.schedule_digest
            jobs = raw.jobs
            commands = raw.commands
            faults = raw.faults
            pagesWritten = raw.ptes_written
            pagesCleared = raw.ptes_cleared
            tlbInvalidations = raw.tlb_invalidations
            tlbHits = raw.tlb_hits
            tlbMisses = raw.tlb_misses
        }
    }
}
