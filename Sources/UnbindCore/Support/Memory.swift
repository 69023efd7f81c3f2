// Memory: where every byte the core allocates comes from.
//
// A Swift allocation that fails ends the process, so nothing a caller can see is allocated by Swift:
// objects are structs behind UnsafeMutablePointer, made from this seam, which answers nil. A C program
// may put its own functions behind it; tests make the n-th call fail.

import CSystem
import Synchronization

typealias AllocateFunction =
    @convention(c) (_ userData: UnsafeMutableRawPointer?, _ size: Int, _ alignment: Int) -> UnsafeMutableRawPointer?
typealias DeallocateFunction =
    @convention(c) (_ userData: UnsafeMutableRawPointer?, _ memory: UnsafeMutableRawPointer?, _ size: Int) -> Void

struct Memory: ~Copyable {
    /// First, and plain: see the note on ThreadSanitizer in ARCHITECTURE.md.
    let userData: UnsafeMutableRawPointer?
    let allocateFunction: AllocateFunction
    let deallocateFunction: DeallocateFunction
    /// Not the host program's.
    let isDefault: Bool
    /// Calls of allocate, and bytes now held.
    let allocations = Atomic<UInt64>(0)
    let bytes = Atomic<Int>(0)

    static var hugePageBytes: Int { 2 << 20 }
    /// Two cache lines: some processors fetch the neighbour of a line with it.
    fileprivate static var apartBytes: Int { 128 }

    init() {
        userData = nil
        allocateFunction = mallocAllocate
        deallocateFunction = mallocDeallocate
        isDefault = true
    }

    init(
        userData: UnsafeMutableRawPointer? = nil, allocate: @escaping AllocateFunction,
        deallocate: @escaping DeallocateFunction = mallocDeallocate
    ) {
        self.userData = userData
        allocateFunction = allocate
        deallocateFunction = deallocate
        isDefault = false
    }
}

extension UnsafeMutablePointer where Pointee == Memory {
    /// Uninitialised memory, or nil.
    /// - Signalling: must not be called in a signalling section.
    func allocate(bytes: Int, alignment: Int) -> UnsafeMutableRawPointer? {
        SignallingSection.assertNotInside("memory was allocated inside a signalling section")
        _ = pointee.allocations.wrappingAdd(1, ordering: .relaxed)
        guard let memory = pointee.allocateFunction(pointee.userData, bytes, max(alignment, 16)) else { return nil }
        _ = pointee.bytes.wrappingAdd(bytes, ordering: .relaxed)
        return memory
    }

    /// Memory for many objects, in a huge page if it fills one and is our own, or nil.
    /// - Signalling: must not be called in a signalling section.
    func allocateSlab(bytes: Int, alignment: Int) -> UnsafeMutableRawPointer? {
        if !pointee.isDefault || bytes < Memory.hugePageBytes { return allocate(bytes: bytes, alignment: alignment) }
        guard let memory = allocate(bytes: bytes, alignment: Memory.hugePageBytes) else { return nil }
        csys_advise_huge_pages(memory, bytes)
        return memory
    }

    func deallocate(_ memory: UnsafeMutableRawPointer, bytes: Int) {
        _ = pointee.bytes.wrappingSubtract(bytes, ordering: .relaxed)
        pointee.deallocateFunction(pointee.userData, memory, bytes)
    }

    /// An array of uninitialised elements, or nil. `count` may be 0.
    func allocateArray<T: ~Copyable>(of type: T.Type, count: Int) -> UnsafeMutablePointer<T>? {
        let (bytes, overflow) = max(count, 1).multipliedReportingOverflow(by: MemoryLayout<T>.stride)
        if overflow { return nil }
        guard let memory = allocate(bytes: bytes, alignment: MemoryLayout<T>.alignment) else { return nil }
        return memory.bindMemory(to: T.self, capacity: max(count, 1))
    }

    func deallocateArray<T: ~Copyable>(_ array: UnsafeMutablePointer<T>, count: Int) {
        deallocate(UnsafeMutableRawPointer(array), bytes: max(count, 1) * MemoryLayout<T>.stride)
    }

    /// As allocateArray, for what lasts: in cache lines that nothing else is in. Threads that use different devices or
    /// address spaces would take the lines from each other all the time, depending on what happens to lie beside what.
    func allocateApart<T: ~Copyable>(of type: T.Type, count: Int = 1) -> UnsafeMutablePointer<T>? {
        let bytes = roundUp(count * MemoryLayout<T>.stride, to: Memory.apartBytes)
        return allocate(bytes: bytes, alignment: Memory.apartBytes)?.bindMemory(to: T.self, capacity: count)
    }

    func deallocateApart<T: ~Copyable>(_ objects: UnsafeMutablePointer<T>, count: Int = 1) {
        deallocate(
            UnsafeMutableRawPointer(objects), bytes: roundUp(count * MemoryLayout<T>.stride, to: Memory.apartBytes))
    }
}

/// Between a lock that threads look at while they wait for it and what its holder writes: in one cache line each look would
/// take the line from under the holder's hands.
struct CacheLineGap {
    private let bytes = InlineArray<8, UInt64>(repeating: 0)
}

func mallocAllocate(_ userData: UnsafeMutableRawPointer?, _ size: Int, _ alignment: Int) -> UnsafeMutableRawPointer? {
    // malloc serves what it is aligned for anyway: posix_memalign is several times slower.
    if alignment <= 16 { return malloc(size) }
    var memory: UnsafeMutableRawPointer?
    return posix_memalign(&memory, alignment, size) == 0 ? memory : nil
}

func mallocDeallocate(_ userData: UnsafeMutableRawPointer?, _ memory: UnsafeMutableRawPointer?, _ size: Int) {
    free(memory)
}
