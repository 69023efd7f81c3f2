// ViewLayout: which part of a buffer a VMA shows, and in what order (struct i915_gtt_view, intel_rotate_pages and
// intel_remap_pages of drivers/gpu/drm/i915/i915_vma*.c).
//
// A layout is numbers only. From it and the buffer's pages of the moment each bind makes a PageList of its own: one
// that keeps the buffer's pages alive, and is kept alive by the binding. Neighbours in the view that are neighbours in
// the buffer form one segment. What no segment covers is padding: it has no entries, and GPU access to it faults.

/// A piece of a view, in bytes: where it is in the view and where in the buffer.
struct ViewSegment: Equatable {
    var offset: UInt64
    var size: UInt64
    var bufferOffset: UInt64
}

/// A rectangle of pages. All in pages of 4 KiB.
struct ViewPlane: Equatable {
    var offset: UInt32 = 0
    var width: UInt32 = 0
    var height: UInt32 = 0
    var sourceStride: UInt32 = 0
    var targetStride: UInt32 = 0
}

enum ViewKind: UInt32 { case normal = 0, partial = 1, rotated = 2, remapped = 3 }

struct ViewLayout: Equatable {
    static var planeLimit: Int { 4 }

    var kind = ViewKind.normal
    /// partial: of the part, in bytes. Others: of the whole view.
    var offset: UInt64 = 0
    var size: UInt64 = 0
    /// The first so many are in use.
    var planeCount = 0
    var planes = (ViewPlane(), ViewPlane(), ViewPlane(), ViewPlane())
    /// Of a partial view that a batch has mapped, and nobody has a handle of.
    var mapping: MappingFlags?

    init() {}

    func plane(_ index: Int) -> ViewPlane {
        switch index {
        case 0: planes.0
        case 1: planes.1
        case 2: planes.2
        default: planes.3
        }
    }

    mutating func set(_ plane: ViewPlane, at index: Int) {
        switch index {
        case 0: planes.0 = plane
        case 1: planes.1 = plane
        case 2: planes.2 = plane
        default: planes.3 = plane
        }
    }

    static func == (one: ViewLayout, other: ViewLayout) -> Bool {
        one.kind == other.kind && one.offset == other.offset && one.size == other.size
            && one.planeCount == other.planeCount && one.planes == other.planes
    }

    // MARK: Sizes

    /// Pages that a plane takes in the view; nil if it is no plane of a buffer of so many pages.
    static func pages(of plane: ViewPlane, kind: ViewKind, bufferPages: UInt64) -> UInt64? {
        let lines = kind == .rotated ? plane.width : plane.height
        let line = kind == .rotated ? plane.height : plane.width
        guard plane.width != 0, plane.height != 0, plane.sourceStride >= plane.width, plane.targetStride >= line else {
            return nil
        }
        // 32 bits each: neither product nor sum wraps.
        let end =
            UInt64(plane.offset) &+ UInt64(plane.sourceStride) &* UInt64(plane.height &- 1) &+ UInt64(plane.width)
        return end <= bufferPages ? UInt64(plane.targetStride) &* UInt64(lines) : nil
    }

    // MARK: Segments

    /// Calls `body` for each segment, in order.
    func forEachSegment(_ body: (ViewSegment) -> Void) {
        var position: UInt64 = 0
        var open = ViewSegment(offset: 0, size: 0, bufferOffset: 0)
        for index in 0..<planeCount {
            let plane = plane(index)
            let isRotated = kind == .rotated
            let lines = isRotated ? plane.width : plane.height
            for line in 0..<lines {
                let length = isRotated ? plane.height : plane.width
                for place in 0..<length {
                    let page = ViewLayout.sourcePage(of: plane, isRotated: isRotated, line: line, place: place)
                    let source = page &* pageSize
                    if open.size != 0, open.offset &+ open.size == position, open.bufferOffset &+ open.size == source {
                        open.size = open.size &+ pageSize
                    } else {
                        if open.size != 0 { body(open) }
                        open = ViewSegment(offset: position, size: pageSize, bufferOffset: source)
                    }
                    position = position &+ pageSize
                }
                position = position &+ UInt64(plane.targetStride &- length) &* pageSize
            }
        }
        if open.size != 0 { body(open) }
    }

    /// Rotated by a quarter turn, column after column, each from the last row up; or row after row.
    private static func sourcePage(of plane: ViewPlane, isRotated: Bool, line: UInt32, place: UInt32) -> UInt64 {
        let row = isRotated ? plane.height &- 1 &- place : line
        let column = isRotated ? line : place
        return UInt64(plane.offset) &+ UInt64(row) &* UInt64(plane.sourceStride) &+ UInt64(column)
    }
}

extension UnsafeMutablePointer where Pointee == PageList {
    /// The list of a view of these pages, with a reference.
    /// - Failure: noMemory.
    func makeView(_ layout: ViewLayout) throws(Status) -> PageListPointer {
        if layout.kind == .partial {
            let view = makeView(size: layout.size, offset: layout.offset, segments: nil, segmentCount: 0)
            guard let view else { throw Status.noMemory }
            return view
        }
        var count = 0
        layout.forEachSegment { _ in count += 1 }
        let memory = pointee.device.pointee.memory
        guard let segments = memory.allocateArray(of: ViewSegment.self, count: count) else { throw Status.noMemory }
        var filled = 0
        layout.forEachSegment { segment in
            (segments + filled).initialize(to: segment)
            filled += 1
        }
        guard let view = makeView(size: layout.size, offset: 0, segments: segments, segmentCount: count) else {
            memory.deallocateArray(segments, count: count)
            throw Status.noMemory
        }
        return view
    }

    /// The physical address of a byte of the buffer.
    func physical(of bufferOffset: UInt64) -> UInt64 {
        (pointee.parent?.pointee.physical ?? pointee.physical) &+ bufferOffset
    }

    /// Where in the buffer a byte of the list is; nil for padding.
    func bufferOffset(of offset: UInt64) -> UInt64? {
        guard let parent = pointee.parent else { return offset }
        guard let segments = pointee.segments else {
            return (pointee.physical &- parent.pointee.physical) &+ offset
        }
        // The last segment that begins at or before it.
        var low = 0
        var high = pointee.segmentCount
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].offset <= offset { low = middle + 1 } else { high = middle }
        }
        if low == 0 { return nil }
        let segment = segments[low - 1]
        return offset &- segment.offset < segment.size ? segment.bufferOffset &+ (offset &- segment.offset) : nil
    }
}
