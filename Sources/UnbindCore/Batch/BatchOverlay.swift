// BatchOverlay: what a list of operations comes to: for each address that it changes, what is to be there in the end.
//
// The operations are put one upon the other, in order; each takes the place of what is below it. Ranges do not overlap.
//
// Most lists go upwards, neighbour after neighbour. So what continues the operation before only makes its range longer
// (`run`), and as long as each range lies behind those before it, they are an array. With the first that does not, all
// move to a RangeAllocator that is the batch's own.
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

/// A range in the array.
private struct OverlayRange {
    var start: UInt64
    var end: UInt64
    var content: MappingContent?

    /// Takes in a neighbour that belongs to it.
    @inline(__always)
    mutating func extend(by other: OverlayRange) -> Bool {
        if end == other.start, OverlayRange.continues(other.content, content, after: end &- start) {
            end = other.end
            return true
        }
        if other.end == start, OverlayRange.continues(content, other.content, after: other.end &- other.start) {
            start = other.start
            content = other.content
            return true
        }
        return false
    }

    @inline(__always)
    private static func continues(_ one: MappingContent?, _ other: MappingContent?, after bytes: UInt64) -> Bool {
        guard let one else { return other == nil }
        guard let other else { return false }
        return one.equals(other.advanced(by: bytes))
    }
}

/// A piece of the memory of segments.
private struct OverlayChunk {
    var next: UnsafeMutablePointer<OverlayChunk>?
    var count: Int
}

struct BatchOverlay: ~Copyable {
    private let vm: VMPointer
    private let memory: UnsafeMutablePointer<Memory>
    /// The last of the operations, with those before that it continues; on top of the others.
    private var run: OverlayRange?
    /// In order of addresses, as long as there is no tree.
    private var sorted: GrowingArray<OverlayRange>
    private var tree: UnsafeMutablePointer<RangeAllocator>?
    private var free: OverlaySegmentPointer?
    private var chunks: UnsafeMutablePointer<OverlayChunk>?
    private var nextChunkCount = 4

    init(of vm: VMPointer) {
        self.vm = vm
        memory = vm.pointee.device.pointee.memory
        sorted = GrowingArray(memory: memory)
    }

    deinit {
        if let tree {
            while let node = tree.firstNode(endingAfter: 0) { tree.remove(node) }
            vm.pointee.batches.give(tree, memory: memory)
        }
        var next = chunks
        while let chunk = next {
            next = chunk.pointee.next
            memory.deallocate(UnsafeMutableRawPointer(chunk), bytes: BatchOverlay.bytes(chunk.pointee.count))
        }
    }

    // MARK: Operations

    /// - Failure: already if something is there, and `replaces` is false; noMemory.
    mutating func map(_ content: MappingContent, start: UInt64, size: UInt64, replaces: Bool) throws(Status) {
        let end = start &+ size
        if !replaces {
            if let run, run.start < end, start < run.end { try putRun() }
            if isAnythingMapped(from: start, to: end) { throw Status.exists }
        }
        try add(OverlayRange(start: start, end: end, content: content))
    }

    /// - Failure: noMemory.
    @inline(__always)
    mutating func unmap(start: UInt64, size: UInt64) throws(Status) {
        try add(OverlayRange(start: start, end: start &+ size, content: nil))
    }

    /// Of all that is mapped of the buffer.
    /// - Failure: noMemory.
    mutating func unmapAll(of bo: BufferObjectPointer) throws(Status) {
        try putRun()
        let tree = try makeTree()
        var next = tree.firstNode(endingAfter: 0)
        while let node = next {
            next = tree.next(after: node)
            let segment = BatchOverlay.segment(of: node)
            if segment.pointee.content?.bo == bo { segment.pointee.content = nil }
        }
        var current = bo.vma(after: nil)
        while let vma = current {
            var status: Status?
            if vma.isMapping, vma.pointee.vm == vm, vma.isBound {
                let start = vma.pointee.options.fixedAddress!
                do throws(Status) { try unmapGaps(of: tree, from: start, to: start &+ vma.size) } catch { status = error }
            }
            current = status == nil ? bo.vma(after: vma) : nil
            vma.drop()
            if let status { throw status }
        }
    }

    @inline(__always)
    private mutating func add(_ range: OverlayRange) throws(Status) {
        if run != nil, run!.extend(by: range) { return }
        try putRun()
        run = range
    }

    // MARK: The result

    /// Calls body with each range in order, neighbours that belong together as one, until it throws.
    mutating func forEachRange(
        _ body: (_ start: UInt64, _ end: UInt64, _ content: MappingContent?) throws(Status) -> Void
    ) throws(Status) {
        if tree == nil, sorted.count == 0 {
            if let run { try body(run.start, run.end, run.content) }
            return
        }
        try putRun()
        var open: OverlayRange?
        var index = 0
        var next = tree?.firstNode(endingAfter: 0)
        while true {
            let range: OverlayRange
            if let tree, let node = next {
                range = OverlayRange(
                    start: node.pointee.start, end: node.pointee.end,
                    content: BatchOverlay.segment(of: node).pointee.content)
                next = tree.next(after: node)
            } else if tree == nil, index < sorted.count {
                range = sorted.elements[index]
                index += 1
            } else {
                break
            }
            if open?.extend(by: range) == true { continue }
            if let open { try body(open.start, open.end, open.content) }
            open = range
        }
        if let open { try body(open.start, open.end, open.content) }
    }

    // MARK: Ranges

    private func isAnythingMapped(from start: UInt64, to end: UInt64) -> Bool {
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        var position = start
        if let tree {
            var nodes = tree.nodes(from: start, to: end)
            while let node = nodes.nextNode() {
                if BatchOverlay.segment(of: node).pointee.content != nil { return true }
                if node.pointee.start > position, isTaken(from: position, to: node.pointee.start) { return true }
                position = node.pointee.end
            }
        } else {
            var index = firstSorted(endingAfter: start)
            while index < sorted.count, sorted.elements[index].start < end {
                let range = sorted.elements[index]
                if range.content != nil { return true }
                if range.start > position, isTaken(from: position, to: range.start) { return true }
                position = range.end
                index += 1
            }
        }
        return position < end && isTaken(from: position, to: end)
    }

    private func isTaken(from start: UInt64, to end: UInt64) -> Bool {
        var nodes = vm.pointee.ranges.nodes(from: start, to: end)
        return nodes.nextNode() != nil
    }

    private func firstSorted(endingAfter address: UInt64) -> Int {
        var (low, high) = (0, sorted.count)
        while low < high {
            let middle = (low + high) / 2
            if sorted.elements[middle].end > address { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// Puts the run upon the others.
    private mutating func putRun() throws(Status) {
        guard let run else { return }
        self.run = nil
        if tree == nil, sorted.count == 0 || sorted.elements[sorted.count - 1].end <= run.start {
            return try sorted.append(run)
        }
        try put(run.content, in: try makeTree(), from: run.start, to: run.end)
    }

    // MARK: The tree

    private mutating func makeTree() throws(Status) -> UnsafeMutablePointer<RangeAllocator> {
        if let tree { return tree }
        let tree = try vm.pointee.batches.takeRanges(for: vm)
        self.tree = tree
        for index in 0..<sorted.count {
            let range = sorted.elements[index]
            try insert(range.content, in: tree, from: range.start, to: range.end)
        }
        return tree
    }

    private mutating func unmapGaps(
        of tree: UnsafeMutablePointer<RangeAllocator>, from start: UInt64, to end: UInt64
    ) throws(Status) {
        var position = start
        while position < end {
            var nodes = tree.nodes(from: position, to: end)
            guard let node = nodes.nextNode() else { return try insert(nil, in: tree, from: position, to: end) }
            let (gapEnd, next) = (node.pointee.start, node.pointee.end)
            if position < gapEnd { try insert(nil, in: tree, from: position, to: gapEnd) }
            position = next
        }
    }

    private mutating func put(
        _ content: MappingContent?, in tree: UnsafeMutablePointer<RangeAllocator>, from start: UInt64, to end: UInt64
    ) throws(Status) {
        var nodes = tree.nodes(from: start, to: end)
        while let node = nodes.nextNode() {
            let segment = BatchOverlay.segment(of: node)
            let (first, last, old) = (node.pointee.start, node.pointee.end, segment.pointee.content)
            tree.remove(node)
            segment.pointee.nextFree = free
            free = segment
            if first < start { try insert(old, in: tree, from: first, to: start) }
            if last > end { try insert(old?.advanced(by: end &- first), in: tree, from: end, to: last) }
        }
        try insert(content, in: tree, from: start, to: end)
    }

    private mutating func insert(
        _ content: MappingContent?, in tree: UnsafeMutablePointer<RangeAllocator>, from start: UInt64, to end: UInt64
    ) throws(Status) {
        if free == nil { try addChunk() }
        let segment = free!
        let next = segment.pointee.nextFree
        segment.initialize(to: OverlaySegment(content: content))
        let node = UnsafeMutableRawPointer(segment).assumingMemoryBound(to: RangeNode.self)
        do throws(Status) {
            try tree.reserve(node, start: start, size: end &- start, color: 0)
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
