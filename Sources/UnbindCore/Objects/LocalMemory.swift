// LocalMemory: the memory of the GPU's own, as one arena that the CPU sees too.
//
// Pages are handed out by a RangeAllocator over the arena's offsets, which are also the physical addresses in
// page-table entries. The arena takes real memory on first touch only; what is freed is given back to the system, so
// that the next owner finds zeros.

import CSystem
import Synchronization

struct LocalMemory: ~Copyable {
    private var magic: UInt32 = 0
    /// Aligned to the largest page, so that what is aligned in the region is.
    let base: UnsafeMutableRawPointer
    let size: UInt64
    fileprivate let mapping: UnsafeMutableRawPointer
    fileprivate let memory: UnsafeMutablePointer<Memory>
    fileprivate let lock = FutexLock(.memoryRegion)
    fileprivate let ranges: UnsafeMutablePointer<RangeAllocator>
    fileprivate let bytesInUse = Atomic<UInt64>(0)

    fileprivate static var alignment: Int { Int(PageSize.large) }

    fileprivate init(
        mapping: UnsafeMutableRawPointer, size: UInt64, memory: UnsafeMutablePointer<Memory>,
        ranges: UnsafeMutablePointer<RangeAllocator>
    ) {
        self.mapping = mapping
        base = mapping + (roundUp(Int(bitPattern: mapping), to: LocalMemory.alignment) - Int(bitPattern: mapping))
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
        guard let ranges = memory.allocateArray(of: RangeAllocator.self, count: 1) else { throw Status.noMemory }
        guard let region = memory.allocateArray(of: LocalMemory.self, count: 1) else {
            memory.deallocateArray(ranges, count: 1)
            throw Status.noMemory
        }
        // Room to align it is mapped, too, and never touched.
        guard let bytes = Int(exactly: size), bytes <= Int.max - LocalMemory.alignment,
            let mapping = csys_pages_map(bytes + LocalMemory.alignment)
        else {
            memory.deallocateArray(region, count: 1)
            memory.deallocateArray(ranges, count: 1)
            throw Status.noMemory
        }
        ranges.initialize(to: RangeAllocator(start: 0, size: size, unit: pageSize, coloring: false, cache: cache))
        region.initialize(to: LocalMemory(mapping: mapping, size: size, memory: memory, ranges: ranges))
        return region
    }

    func free() {
        let (memory, ranges) = (pointee.memory, pointee.ranges)
        munmap(pointee.mapping, Int(pointee.size) + LocalMemory.alignment)
        ranges.deinitialize(count: 1)
        memory.deallocateArray(ranges, count: 1)
        deinitialize(count: 1)
        memory.deallocateArray(self, count: 1)
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
