// BatchState: what an address space has for its batches.
//
// - Locking: `lock` lets one batch at a time look at the mappings and change them, and the close of the VM not in
//   between; so that what a batch has found when it looked is still there when it changes it. It is the outermost lock,
//   and nobody waits, signals or calls back with it held.

import Synchronization

struct BatchState: ~Copyable {
    private var magic: UInt32 = 0
    let lock = FutexLock(.batches)
    /// Behind all null mappings, made with the first; a reference. Under the lock.
    var nullBuffer: BufferObjectPointer?
    /// An empty one for the next BatchOverlay: making one costs more than a small batch.
    fileprivate let spareRanges = Atomic<UnsafeMutablePointer<RangeAllocator>?>(nil)

    let batches = Atomic<UInt64>(0)
    let failed = Atomic<UInt64>(0)
    let operations = Atomic<UInt64>(0)
    let maps = Atomic<UInt64>(0)
    let unmaps = Atomic<UInt64>(0)
    let kept = Atomic<UInt64>(0)
    let splits = Atomic<UInt64>(0)
    let merges = Atomic<UInt64>(0)
    /// There now.
    let mappings = Atomic<Int>(0)
    let evictions = Atomic<UInt64>(0)
    let waits = Atomic<UInt64>(0)
    let cuts = Atomic<UInt64>(0)

    init() {}
}

extension UnsafeMutablePointer where Pointee == BatchState {
    /// The buffer of null mappings.
    /// - Locking: the lock is held.
    /// - Failure: noMemory.
    func nullBuffer(of device: DevicePointer) throws(Status) -> BufferObjectPointer {
        if let bo = pointee.nullBuffer { return bo }
        let bo = try BufferObjectPointer.make(device: device) { () throws(Status) in
            try PageListPointer.makeNull(device: device)
        }
        // No handle; the reference stays.
        bo.retain()
        bo.dropHandle()
        pointee.nullBuffer = bo
        return bo
    }

    /// Empty ranges of the VM's size, for the time of a batch.
    /// - Failure: noMemory.
    func takeRanges(for vm: VMPointer) throws(Status) -> UnsafeMutablePointer<RangeAllocator> {
        if let ranges = pointee.spareRanges.exchange(nil, ordering: .acquiring) { return ranges }
        let device = vm.pointee.device
        guard let ranges = device.pointee.memory.allocateApart(of: RangeAllocator.self) else {
            throw Status.noMemory
        }
        ranges.initialize(
            to: RangeAllocator(
                start: 0, size: vm.pointee.options.size, unit: pageSize, coloring: false,
                cache: device.cache(.rangeIndex)))
        return ranges
    }

    /// Gives them back, empty again.
    func give(_ ranges: UnsafeMutablePointer<RangeAllocator>, memory: UnsafeMutablePointer<Memory>) {
        if let other = pointee.spareRanges.exchange(ranges, ordering: .acquiringAndReleasing) {
            free(other, memory: memory)
        }
    }

    private func free(_ ranges: UnsafeMutablePointer<RangeAllocator>, memory: UnsafeMutablePointer<Memory>) {
        ranges.dispose()
        ranges.deinitialize(count: 1)
        memory.deallocateApart(ranges)
    }

    /// At the end of the VM.
    func end(memory: UnsafeMutablePointer<Memory>) {
        pointee.nullBuffer?.drop()
        pointee.nullBuffer = nil
        if let ranges = pointee.spareRanges.exchange(nil, ordering: .acquiring) { free(ranges, memory: memory) }
    }
}
