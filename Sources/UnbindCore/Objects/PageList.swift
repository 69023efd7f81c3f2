// PageList: the pages behind a buffer object (i915_refct_sgt), counted.
//
// The buffer object holds one reference, each VMAResource one until its unbind has completed: pages outlive every
// mapping and hold that can still reach them, whoever drops the buffer first. One contiguous piece, so that a single
// pair of addresses describes it and large pages fit.
//
// - Signalling: drop() may run in a signalling section: it frees, it does not allocate.

import CSystem
import Synchronization

typealias ReleaseFunction =
    @convention(c) (_ userData: UnsafeMutableRawPointer?, _ memory: UnsafeMutableRawPointer?) -> Void

struct PageList: ~Copyable {
    enum Source: UInt8 {
        /// Mapped for us, `mappedBytes` from `mapping`.
        case system
        /// Taken from the device's local memory.
        case local
        /// The caller's.
        case wrapped
        /// None: what null mappings have instead.
        case null
        /// Pages of another list, in an order of their own: see PageList+View.
        case view
        /// A backend's, or the caller's that a backend was told of: see PageList+Backend.
        case backend, backendWrapped
    }

    let source: Source
    fileprivate let references = Atomic<UInt32>(1)
    let device: DevicePointer
    let size: UInt64
    /// Where the CPU sees the first byte.
    let memory: UnsafeMutableRawPointer
    /// What page-table entries hold: a host address, or an offset in local memory. 0 in a backend's, so that bindings
    /// hold offsets in the buffer.
    let physical: UInt64
    /// system: see there. A backend's: what it calls the buffer.
    let mapping: UnsafeMutableRawPointer?
    fileprivate let mappedBytes: Int
    // local
    fileprivate let node: UnsafeMutablePointer<RangeNode>?
    // wrapped
    let releaseFunction: ReleaseFunction?
    let releaseData: UnsafeMutableRawPointer?
    // view
    /// With a reference: whose pages they are.
    let parent: PageListPointer?
    /// In order of their places in the view; nil: one piece.
    let segments: UnsafeMutablePointer<ViewSegment>?
    let segmentCount: Int
    private let isOfLocalMemory: Bool
    fileprivate let sharedFlag = Atomic<Bool>(false)

    init(
        source: Source, device: DevicePointer, size: UInt64, memory: UnsafeMutableRawPointer, physical: UInt64,
        mapping: UnsafeMutableRawPointer? = nil, mappedBytes: Int = 0, node: UnsafeMutablePointer<RangeNode>? = nil,
        releaseFunction: ReleaseFunction? = nil, releaseData: UnsafeMutableRawPointer? = nil,
        parent: PageListPointer? = nil, segments: UnsafeMutablePointer<ViewSegment>? = nil, segmentCount: Int = 0,
        isBackendLocal: Bool = false
    ) {
        self.source = source
        self.device = device
        self.size = size
        self.memory = memory
        self.physical = physical
        self.mapping = mapping
        self.mappedBytes = mappedBytes
        self.node = node
        self.releaseFunction = releaseFunction
        self.releaseData = releaseData
        self.parent = parent
        self.segments = segments
        self.segmentCount = segmentCount
        isOfLocalMemory = parent?.pointee.isLocal ?? isBackendLocal
    }

    var isLocal: Bool { source == .local || isOfLocalMemory }

    /// A reference keeps the pages there. Not those of a caller who is never told when they are free to go.
    var isCounted: Bool { (source != .wrapped && source != .backendWrapped) || releaseFunction != nil }

    /// The alignment that lets the largest page size fit that a buffer of this size can use.
    static func alignment(forSize size: UInt64) -> UInt64 {
        if size >= 0x20_0000 { return 0x20_0000 }
        return size >= 0x1_0000 ? 0x1_0000 : pageSize
    }
}

typealias PageListPointer = UnsafeMutablePointer<PageList>

extension UnsafeMutablePointer where Pointee == PageList {
    /// Zeroed system memory. The limit is the device's, checked before anything is taken.
    static func makeSystem(device: DevicePointer, size: UInt64) throws(Status) -> PageListPointer {
        guard let bytes = Int(exactly: size), device.chargeSystemMemory(size) else { throw Status.noMemory }
        let alignment = Int(PageList.alignment(forSize: size))
        // mmap aligns to 4 KiB; room to align further is mapped too and never touched.
        let (mappedBytes, overflow) = bytes.addingReportingOverflow(alignment > Int(pageSize) ? alignment : 0)
        guard !overflow, let object = device.cache(.pageList).take() else {
            device.unchargeSystemMemory(size)
            throw Status.noMemory
        }
        guard let mapping = csys_pages_map(mappedBytes) else {
            device.cache(.pageList).give(object)
            device.unchargeSystemMemory(size)
            throw Status.noMemory
        }
        let address = roundUp(Int(bitPattern: mapping), to: alignment)
        let list = object.bindMemory(to: PageList.self, capacity: 1)
        list.initialize(
            to: PageList(
                source: .system, device: device, size: size, memory: UnsafeMutableRawPointer(bitPattern: address)!,
                physical: UInt64(address), mapping: mapping, mappedBytes: mappedBytes))
        return list
    }

    /// Zeroed memory of the device's local region.
    static func makeLocal(device: DevicePointer, size: UInt64) throws(Status) -> PageListPointer {
        guard let object = device.cache(.pageList).take() else { throw Status.noMemory }
        guard let nodeMemory = device.cache(.rangeNode).take() else {
            device.cache(.pageList).give(object)
            throw Status.noMemory
        }
        let node = nodeMemory.bindMemory(to: RangeNode.self, capacity: 1)
        node.initialize(to: RangeNode())
        do throws(Status) {
            try device.pointee.localMemory.allocate(node, size: size, alignment: PageList.alignment(forSize: size))
        } catch {
            device.cache(.rangeNode).give(nodeMemory)
            device.cache(.pageList).give(object)
            throw error
        }
        let list = object.bindMemory(to: PageList.self, capacity: 1)
        list.initialize(
            to: PageList(
                source: .local, device: device, size: size,
                memory: device.pointee.localMemory.pointee.base + Int(node.pointee.start), physical: node.pointee.start,
                node: node))
        return list
    }

    /// The caller's memory; `release` is called when nothing can reach it any more.
    static func makeWrapped(
        device: DevicePointer, memory: UnsafeMutableRawPointer, size: UInt64, release: ReleaseFunction?,
        userData: UnsafeMutableRawPointer?
    ) throws(Status) -> PageListPointer {
        guard let object = device.cache(.pageList).take() else { throw Status.noMemory }
        let list = object.bindMemory(to: PageList.self, capacity: 1)
        list.initialize(
            to: PageList(
                source: .wrapped, device: device, size: size, memory: memory,
                physical: UInt64(UInt(bitPattern: memory)), releaseFunction: release, releaseData: userData))
        return list
    }

    /// Stands for pages where there are none: as many zeros as there are addresses.
    static func makeNull(device: DevicePointer) throws(Status) -> PageListPointer {
        guard let object = device.cache(.pageList).take() else { throw Status.noMemory }
        let list = object.bindMemory(to: PageList.self, capacity: 1)
        list.initialize(
            to: PageList(
                source: .null, device: device, size: PageTableLevel.addressLimit,
                memory: UnsafeMutableRawPointer(list), physical: 0))
        return list
    }

    /// Pages of this list in another order; takes over the segments. Nil if there is no memory.
    /// - Signalling: allocates: not in a signalling section.
    func makeView(
        size: UInt64, offset: UInt64, segments: UnsafeMutablePointer<ViewSegment>?, segmentCount: Int
    ) -> PageListPointer? {
        let device = pointee.device
        guard let object = device.cache(.pageList).take() else { return nil }
        retain()
        let list = object.bindMemory(to: PageList.self, capacity: 1)
        list.initialize(
            to: PageList(
                source: .view, device: device, size: size, memory: pointee.memory + Int(offset),
                physical: pointee.physical &+ offset, parent: self, segments: segments, segmentCount: segmentCount))
        return list
    }

    /// Others have the memory as a dma-buf, or it is theirs: a buffer that moved away would be another one.
    /// - Locking: the reservation's of the buffer.
    var isShared: Bool { pointee.sharedFlag.load(ordering: .relaxed) }

    func share() { pointee.sharedFlag.store(true, ordering: .relaxed) }

    @inline(__always)
    func retain() { _ = pointee.references.wrappingAdd(1, ordering: .relaxed) }

    /// - Locking: nothing may be held if this can be the last reference: the caller's release function runs then.
    func drop(_ count: UInt32 = 1) {
        if pointee.references.wrappingSubtract(count, ordering: .acquiringAndReleasing).oldValue == count { destroy() }
    }

    /// Drops a reference. False, and nothing changes, if it is the last one.
    /// - Locking: any may be held.
    @inline(__always)
    func dropUnlessLast() -> Bool {
        var count = pointee.references.load(ordering: .relaxed)
        while count > 1 {
            let result = pointee.references.weakCompareExchange(
                expected: count, desired: count - 1, successOrdering: .releasing, failureOrdering: .relaxed)
            if result.exchanged { return true }
            count = result.original
        }
        return false
    }

    /// Drops a reference to a view of one piece, whose parent others keep. True if it was the last: then the caller has
    /// the view's reference to the parent. Any lock may be held.
    func dropView() -> Bool {
        if pointee.references.load(ordering: .acquiring) != 1 {
            drop()
            return false
        }
        let device = pointee.device
        deinitialize(count: 1)
        device.cache(.pageList).give(UnsafeMutableRawPointer(self))
        return true
    }

    private func destroy() {
        let device = pointee.device
        switch pointee.source {
        case .system:
            munmap(pointee.mapping!, pointee.mappedBytes)
            device.unchargeSystemMemory(pointee.size)
        case .local:
            device.pointee.localMemory.free(pointee.node!)
            device.cache(.rangeNode).give(UnsafeMutableRawPointer(pointee.node!))
        case .wrapped: release()
        case .backend, .backendWrapped:
            dropBackendMemory()
            release()
        case .null: break
        case .view:
            if let segments = pointee.segments {
                device.pointee.memory.deallocateArray(segments, count: pointee.segmentCount)
            }
            pointee.parent!.drop()
        }
        deinitialize(count: 1)
        device.cache(.pageList).give(UnsafeMutableRawPointer(self))
    }
}

extension UnsafeMutablePointer where Pointee == PageList {
    /// Tells the caller whose memory it is.
    private func release() {
        guard let release = pointee.releaseFunction else { return }
        let (data, memory) = (pointee.releaseData, pointee.memory)
        pointee.device.callingBack { SignallingSection.suspended { release(data, memory) } }
    }

    /// Copies bytes of what the GPU sees, `offset` from the start of it; what a view leaves out is zero.
    func copyOut(from offset: UInt64, into buffer: UnsafeMutableRawPointer, size: UInt64) {
        if pointee.source == .null {
            memset(buffer, 0, Int(size))
            return
        }
        guard let segments = pointee.segments else {
            memmove(buffer, pointee.memory + Int(offset), Int(size))
            return
        }
        memset(buffer, 0, Int(size))
        for index in 0..<pointee.segmentCount {
            let segment = segments[index]
            let start = max(offset, segment.offset)
            let end = min(offset &+ size, segment.offset &+ segment.size)
            if start >= end { continue }
            let place = segment.bufferOffset &+ (start &- segment.offset)
            memmove(buffer + Int(start &- offset), pointee.memory + Int(place), Int(end &- start))
        }
    }
}
