import Testing

@testable import UnbindCore

/// An allocator with nodes for it.
final class RangeFixture {
    let allocator = UnsafeMutablePointer<RangeAllocator>.allocate(capacity: 1)
    let memory = UnsafeMutablePointer<Memory>.allocate(capacity: 1)
    let cache = UnsafeMutablePointer<SlabCache>.allocate(capacity: 1)
    let nodes: RangeNodePointer
    let capacity: Int
    let start: UInt64
    let end: UInt64

    init(
        start: UInt64 = 0, size: UInt64, unit: UInt64 = 1, coloring: Bool = false, nodes capacity: Int,
        memory prototype: consuming Memory = Memory(), uncached: Bool = false
    ) {
        self.start = start
        end = start + size
        self.capacity = capacity
        memory.initialize(to: prototype)
        cache.initialize(to: SlabCache(for: RangeBranch.self, memory: memory, uncached: uncached))
        allocator.initialize(
            to: RangeAllocator(start: start, size: size, unit: unit, coloring: coloring, cache: cache))
        nodes = .allocate(capacity: capacity)
        nodes.initialize(repeating: RangeNode(), count: capacity)
    }

    deinit {
        allocator.deinitialize(count: 1)
        allocator.deallocate()
        nodes.deallocate()
        // What is left in a test that did not remove all of its nodes.
        if cache.liveCount == 0 { cache.dispose() }
        cache.deinitialize(count: 1)
        cache.deallocate()
        memory.deinitialize(count: 1)
        memory.deallocate()
    }

    /// The address, or nil if there is no space; other errors are a failure of the test.
    @discardableResult
    func insert(
        _ number: Int, size: UInt64, alignment: UInt64 = 1, color: UInt32 = 0, _ placement: Placement = .best,
        from lowest: UInt64 = 0, to limit: UInt64 = .max
    ) -> UInt64? {
        do throws(Status) {
            try allocator.insert(
                nodes + number, size: size, alignment: alignment, color: color, placement: placement, from: lowest,
                to: limit)
            return nodes[number].start
        } catch {
            #expect(error == .noSpace)
            return nil
        }
    }

    func reserve(_ number: Int, at start: UInt64, size: UInt64, color: UInt32 = 0) -> Bool {
        do throws(Status) {
            try allocator.reserve(nodes + number, start: start, size: size, color: color)
            return nodes[number].start == start && nodes[number].size == size
        } catch {
            #expect(error == .noSpace)
            return false
        }
    }

    func remove(_ number: Int) { allocator.remove(nodes + number) }

    func insertError(size: UInt64, alignment: UInt64, from lowest: UInt64 = 0, to limit: UInt64 = .max) -> Status? {
        let count = allocator.count
        let node = RangeNodePointer.allocate(capacity: 1)
        defer { node.deallocate() }
        node.initialize(to: RangeNode())
        do throws(Status) {
            try allocator.insert(
                node, size: size, alignment: alignment, color: 0, placement: .best, from: lowest, to: limit)
            allocator.remove(node)
            return nil
        } catch {
            precondition(!node.pointee.isAllocated && allocator.count == count)
            return error
        }
    }

    /// Numbers of the nodes that have anything in start..<end, in order.
    func overlaps(_ start: UInt64, _ end: UInt64) -> [Int] {
        var found: [Int] = []
        var place = allocator.firstNode(endingAfter: start)
        while let node = place, node.pointee.start < end {
            found.append(node - nodes)
            place = allocator.next(after: node)
        }
        return found
    }

    /// Removes all nodes in the given order and expects an empty space.
    func removeAll(_ order: some Sequence<Int>) {
        for number in order { remove(number) }
        #expect(allocator.count == 0 && allocator.allocatedBytes == 0)
        allocator.checkInvariants()
        #expect(allocator.head.holeSize == end - start)
        #expect(cache.liveCount == 0)
    }
}

extension RandomSource {
    mutating func shuffled(_ range: Range<Int>) -> [Int] {
        var order = Array(range)
        for index in order.indices.dropFirst().reversed() { order.swapAt(index, next(below: index + 1)) }
        return order
    }
}
