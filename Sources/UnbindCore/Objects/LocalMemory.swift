// LocalMemory: the memory of the GPU's own, as one arena that the CPU sees too.
//
// Pages are handed out by a RangeAllocator over the arena's offsets, which are also the physical addresses in
// page-table entries. The arena takes real memory on first touch only; what is freed is given back to the system, so
// that the next owner finds zeros.

import CSystem
import Synchronization

struct LocalMemory: ~Copyable {
    private var magic: UInt32 = 0
    let base: UnsafeMutableRawPointer
    let size: UInt64
    fileprivate let memory: UnsafeMutablePointer<Memory>
    fileprivate let lock = FutexLock(.memoryRegion)
    fileprivate let ranges: UnsafeMutablePointer<RangeAllocator>
    fileprivate let bytesInUse = Atomic<UInt64>(0)

    fileprivate init(
        base: UnsafeMutableRawPointer, size: UInt64, memory: UnsafeMutablePointer<Memory>,
        ranges: UnsafeMutablePointer<RangeAllocator>
    ) {
        self.base = base
        self.size = size
        self.memory = memory
        self.ranges = ranges
    }
}

extension UnsafeMutablePointer where Pointee == LocalMemory {
    /// `cache` is for the RangeAllocator, and outlives the region.
    static func make(
        size: UInt64, memory: UnsafeMutablePointer<Memory>, cache: UnsafeMutablePointer<SlabCache>
    ) throws(Status) -> Self {
        guard let ranges = memory.allocateApart(of: RangeAllocator.self) else { throw Status.noMemory }
        guard let region = memory.allocateApart(of: LocalMemory.self) else {
            memory.deallocateApart(ranges)
            throw Status.noMemory
        }
        guard let bytes = Int(exactly: size), let base = csys_pages_map(bytes) else {
            memory.deallocateApart(region)
            memory.deallocateApart(ranges)
            throw Status.noMemory
        }
        ranges.initialize(to: RangeAllocator(start: 0, size: size, unit: pageSize, coloring: false, cache: cache))
        region.initialize(to: LocalMemory(base: base, size: size, memory: memory, ranges: ranges))
        return region
    }

    func free() {
        let (memory, ranges) = (pointee.memory, pointee.ranges)
        munmap(pointee.base, Int(pointee.size))
        ranges.deinitialize(count: 1)
        memory.deallocateApart(ranges)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    /// - Failure: noMemory when no free piece is large enough.
    func allocate(_ node: UnsafeMutablePointer<RangeNode>, size: UInt64, alignment: UInt64) throws(Status) {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        do throws(Status) {
            try pointee.ranges.insert(
                node, size: size, alignment: alignment, color: 0, placement: .best, from: 0, to: pointee.size)
        } catch {
            throw Status.noMemory
        }
        _ = pointee.bytesInUse.wrappingAdd(size, ordering: .relaxed)
    }

    func free(_ node: UnsafeMutablePointer<RangeNode>) {
        let size = node.pointee.size
        // Zeroes it for the next owner, while it is still nobody else's.
        madvise(pointee.base + Int(node.pointee.start), Int(size), MADV_DONTNEED)
        pointee.lock.acquire()
        pointee.ranges.remove(node)
        pointee.lock.release()
        _ = pointee.bytesInUse.wrappingSubtract(size, ordering: .relaxed)
    }

    var bytesInUse: UInt64 { pointee.bytesInUse.load(ordering: .relaxed) }
}
