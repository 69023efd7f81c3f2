// IndexNodePool: the nodes of one interval index, enough of them for all that may ever be inserted.
//
// Inserting an interval must not fail, so its nodes are taken before: whoever may want to insert one reserves it. With
// n intervals in it an index has at most n/14 + 1 nodes: every node but the root has at least 15 slots in use, so that
// there are at most n/15 leaves, n/15^2 nodes above them, and so on, which is less than n/14 without the root. As there
// are never more intervals in the index than reservations, a pool of r/14 + 1 nodes for r reservations never runs out.
//
// - Memory: in chunks that double up to 2 MiB, kept until the index goes.
// - Locking: the index's.

struct IndexNodePool {
    private struct Chunk {
        var next: UnsafeMutablePointer<Chunk>?
        let bytes: Int

        /// Behind the header, which takes a line.
        var nodes: Int { (bytes - IndexNode.alignment) / IndexNode.bytes }
    }

    private let memory: UnsafeMutablePointer<Memory>
    /// In the order in which they were made, so that they are used up one after the other.
    private var firstChunk: UnsafeMutablePointer<Chunk>?
    private var lastChunk: UnsafeMutablePointer<Chunk>?
    private var nextChunkBytes = IndexNodePool.leastChunkBytes
    /// Nodes that were used before.
    private var free: IndexNodePointer?
    /// The chunk that new nodes come from, and where; so many are left in it.
    private var freshChunk: UnsafeMutablePointer<Chunk>?
    private var fresh: UnsafeMutableRawPointer?
    private var freshCount = 0
    private(set) var total = 0
    private(set) var inUse = 0
    private(set) var reserved = 0
    /// What the nodes there are suffice for.
    private var reservable = 0

    /// Inner nodes included: one below the least number of slots.
    private static var intervalsPerNode: Int { IndexNode.leastSlots - 1 }
    private static var leastChunkBytes: Int { 4096 }
    private static var greatestChunkBytes: Int { 2 << 20 }

    init(memory: UnsafeMutablePointer<Memory>) { self.memory = memory }

    @inline(__always)
    var isFullyReserved: Bool { reserved == reservable }

    /// One more interval may be inserted. False, and nothing changes, if there is no memory.
    @inline(__always)
    mutating func reserve() -> Bool {
        if isFullyReserved, !addChunk() { return false }
        reserved &+= 1
        return true
    }

    /// One that was reserved will not be inserted any more.
    @inline(__always)
    mutating func unreserve() {
        invariant(reserved > 0, "an interval index was unreserved more often than reserved")
        reserved &-= 1
    }

    /// A node as it was left by whoever had it before. There is one: see above.
    mutating func take() -> IndexNodePointer {
        inUse += 1
        if let node = free {
            free = node.pointee.parent
            return node
        }
        if freshCount == 0 { openNextChunk() }
        let node = fresh.unsafelyUnwrapped
        fresh = node + IndexNode.bytes
        freshCount -= 1
        return node.assumingMemoryBound(to: IndexNode.self)
    }

    private mutating func openNextChunk() {
        let next = freshChunk == nil ? firstChunk : freshChunk!.pointee.next
        guard let next else { panic("an interval index has run out of nodes: more was inserted than reserved") }
        freshChunk = next
        fresh = UnsafeMutableRawPointer(next) + IndexNode.alignment
        freshCount = next.pointee.nodes
    }

    mutating func give(_ node: IndexNodePointer) {
        inUse -= 1
        node.pointee.parent = free
        free = node
    }

    private mutating func addChunk() -> Bool {
        let bytes = nextChunkBytes
        guard let raw = memory.allocateSlab(bytes: bytes, alignment: IndexNode.alignment) else { return false }
        let chunk = raw.bindMemory(to: Chunk.self, capacity: 1)
        chunk.initialize(to: Chunk(bytes: bytes))
        if let lastChunk { lastChunk.pointee.next = chunk } else { firstChunk = chunk }
        lastChunk = chunk
        nextChunkBytes = min(bytes * 2, IndexNodePool.greatestChunkBytes)
        total += chunk.pointee.nodes
        reservable = (total - 1) * IndexNodePool.intervalsPerNode
        return true
    }

    /// Gives all memory back. The pool must not be used again.
    mutating func dispose() {
        while let chunk = firstChunk {
            firstChunk = chunk.pointee.next
            memory.deallocate(UnsafeMutableRawPointer(chunk), bytes: chunk.pointee.bytes)
        }
    }
}
