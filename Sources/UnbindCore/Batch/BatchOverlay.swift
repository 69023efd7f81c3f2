// BatchOverlay: what a list of operations comes to: for each address that it changes, what is to be there in the end.
//
// The operations are put one upon the other, in order; each takes the place of what is below it. Ranges do not overlap,
// and lie in a RangeAllocator that is the batch's own.
//
// - Locking: the batches' lock of the VM is held all the time; that of the VM where its own ranges are looked at.

private typealias OverlaySegmentPointer = UnsafeMutablePointer<OverlaySegment>

/// A range and what is to be there.
struct OverlaySegment {
    /// First: a pointer to it is a pointer to the segment.
    var node = RangeNode()
    /// Of the first address; nil: nothing is to be mapped there.
    var content: MappingContent?
    var nextFree: UnsafeMutablePointer<OverlaySegment>?
}

/// A piece of the memory of segments.
private struct OverlayChunk {
    var next: UnsafeMutablePointer<OverlayChunk>?
    var count: Int
}

struct BatchOverlay: ~Copyable {
    private let vm: VMPointer
    private let memory: UnsafeMutablePointer<Memory>
    private let ranges: UnsafeMutablePointer<RangeAllocator>
    private var free: OverlaySegmentPointer?
    private var chunks: UnsafeMutablePointer<OverlayChunk>?
    private var nextChunkCount = 4

    /// - Failure: noMemory.
    init(of vm: VMPointer) throws(Status) {
        ranges = try vm.pointee.batches.takeRanges(for: vm)
        self.vm = vm
        memory = vm.pointee.device.pointee.memory
    }

    deinit {
        while let node = ranges.firstNode(endingAfter: 0) { ranges.remove(node) }
        vm.pointee.batches.give(ranges, memory: memory)
        var next = chunks
        while let chunk = next {
            next = chunk.pointee.next
            memory.deallocate(UnsafeMutableRawPointer(chunk), bytes: BatchOverlay.bytes(chunk.pointee.count))
        }
    }

    // MARK: Operations

    /// - Failure: already if something is there, and `replaces` is false; noMemory.
    mutating func map(_ content: MappingContent, start: UInt64, size: UInt64, replaces: Bool) throws(Status) {
        if !replaces, isAnythingMapped(from: start, to: start &+ size) { throw Status.exists }
        try put(content, from: start, to: start &+ size)
    }

    /// - Failure: noMemory.
    mutating func unmap(start: UInt64, size: UInt64) throws(Status) { try put(nil, from: start, to: start &+ size) }

    /// Of all that is mapped of the buffer.
    /// - Failure: noMemory.
    mutating func unmapAll(of bo: BufferObjectPointer) throws(Status) {
        var next = ranges.firstNode(endingAfter: 0)
        while let node = next {
            next = ranges.next(after: node)
            let segment = BatchOverlay.segment(of: node)
            if segment.pointee.content?.bo == bo { segment.pointee.content = nil }
        }
        var current = bo.vma(after: nil)
        while let vma = current {
            var status: Status?
            if vma.isMapping, vma.pointee.vm == vm, vma.isBound {
                let start = vma.pointee.options.fixedAddress!
                do throws(Status) { try unmapGaps(from: start, to: start &+ vma.size) } catch { status = error }
            }
            current = status == nil ? bo.vma(after: vma) : nil
            vma.drop()
            if let status { throw status }
        }
    }

    // MARK: The result

    /// Calls body with each range in order, neighbours that belong together as one, until it throws.
    func forEachRange(
        _ body: (_ start: UInt64, _ end: UInt64, _ content: MappingContent?) throws(Status) -> Void
    ) throws(Status) {
        var next = ranges.firstNode(endingAfter: 0)
        while let node = next {
            let content = BatchOverlay.segment(of: node).pointee.content
            let start = node.pointee.start
            var end = node.pointee.end
            next = ranges.next(after: node)
            while let other = next, other.pointee.start == end,
                BatchOverlay.continues(BatchOverlay.segment(of: other).pointee.content, content, after: end &- start)
            {
                end = other.pointee.end
                next = ranges.next(after: other)
            }
            try body(start, end, content)
        }
    }

    private static func continues(_ one: MappingContent?, _ other: MappingContent?, after bytes: UInt64) -> Bool {
        guard let one else { return other == nil }
        guard let other else { return false }
        return one.equals(other.advanced(by: bytes))
    }

    // MARK: Ranges

    private func isAnythingMapped(from start: UInt64, to end: UInt64) -> Bool {
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        var position = start
        var nodes = ranges.nodes(from: start, to: end)
        while let node = nodes.nextNode() {
            if BatchOverlay.segment(of: node).pointee.content != nil { return true }
            if node.pointee.start > position, isTaken(from: position, to: node.pointee.start) { return true }
            position = node.pointee.end
        }
        return position < end && isTaken(from: position, to: end)
    }

    private func isTaken(from start: UInt64, to end: UInt64) -> Bool {
        var nodes = vm.pointee.ranges.nodes(from: start, to: end)
        return nodes.nextNode() != nil
    }

    private mutating func unmapGaps(from start: UInt64, to end: UInt64) throws(Status) {
        var position = start
        while position < end {
            var nodes = ranges.nodes(from: position, to: end)
            guard let node = nodes.nextNode() else { return try insert(nil, from: position, to: end) }
            let (gapEnd, next) = (node.pointee.start, node.pointee.end)
            if position < gapEnd { try insert(nil, from: position, to: gapEnd) }
            position = next
        }
    }

    private mutating func put(_ content: MappingContent?, from start: UInt64, to end: UInt64) throws(Status) {
        var nodes = ranges.nodes(from: start, to: end)
        while let node = nodes.nextNode() {
            let segment = BatchOverlay.segment(of: node)
            let (first, last, old) = (node.pointee.start, node.pointee.end, segment.pointee.content)
            ranges.remove(node)
            segment.pointee.nextFree = free
            free = segment
            if first < start { try insert(old, from: first, to: start) }
            if last > end { try insert(old?.advanced(by: end &- first), from: end, to: last) }
        }
        try insert(content, from: start, to: end)
    }

    private mutating func insert(_ content: MappingContent?, from start: UInt64, to end: UInt64) throws(Status) {
        if free == nil { try addChunk() }
        let segment = free!
        let next = segment.pointee.nextFree
        segment.initialize(to: OverlaySegment(content: content))
        let node = UnsafeMutableRawPointer(segment).assumingMemoryBound(to: RangeNode.self)
        do throws(Status) {
            try ranges.reserve(node, start: start, size: end &- start, color: 0)
        } catch {
            segment.pointee.nextFree = next
            throw error
        }
        free = next
    }

    private static func segment(of node: RangeNodePointer) -> OverlaySegmentPointer {
        UnsafeMutableRawPointer(node).assumingMemoryBound(to: OverlaySegment.self)
    }

    private static func bytes(_ count: Int) -> Int {
        segmentsOffset + count * MemoryLayout<OverlaySegment>.stride
    }

    private static var segmentsOffset: Int {
        roundUp(MemoryLayout<OverlayChunk>.size, to: MemoryLayout<OverlaySegment>.alignment)
    }

    private mutating func addChunk() throws(Status) {
        let count = nextChunkCount
        guard let raw = memory.allocate(bytes: BatchOverlay.bytes(count), alignment: 16) else { throw Status.noMemory }
        nextChunkCount = count * 2
        let chunk = raw.bindMemory(to: OverlayChunk.self, capacity: 1)
        chunk.initialize(to: OverlayChunk(next: chunks, count: count))
        chunks = chunk
        let segments = (raw + BatchOverlay.segmentsOffset).bindMemory(to: OverlaySegment.self, capacity: count)
        for index in 0..<count {
            (segments + index).initialize(to: OverlaySegment(nextFree: free))
            free = segments + index
        }
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// It has a range.
    var isBound: Bool {
        pointee.vm.pointee.lock.acquire()
        defer { pointee.vm.pointee.lock.release() }
        return node.pointee.isAllocated
    }
}
