import Testing

@testable import UnbindCore

private let page: UInt64 = 4096

@Suite struct RangeAllocatorTests {
    @Test("the offsets in the code are those of the compiler's layout")
    func layout() {
        #expect(MemoryLayout<RangeNode>.stride == 64)
        #expect(MemoryLayout<RangeNode>.offset(of: \.links) == RangeNode.linksOffset)
        #expect(MemoryLayout<RangeLeaf>.stride == 448)
        #expect(MemoryLayout<RangeLeaf>.offset(of: \.holes) == RangeLeaf.holesOffset)
        #expect(MemoryLayout<RangeLeaf>.offset(of: \.ends) == RangeLeaf.endsOffset)
        #expect(MemoryLayout<RangeLeaf>.offset(of: \.nodes) == RangeLeaf.nodesOffset)
        #expect(MemoryLayout<RangeBranch>.stride == 512)
        #expect(MemoryLayout<RangeBranch>.offset(of: \.keys) == RangeBranch.keysOffset)
        #expect(MemoryLayout<RangeBranch>.offset(of: \.children) == RangeBranch.childrenOffset)
        #expect(MemoryLayout<RangeBranch>.offset(of: \.bounds) == RangeBranch.boundsOffset)
        #expect(MemoryLayout<HoleBins>.offset(of: \.filled) == HoleBins.filledOffset)
        #expect(MemoryLayout<HoleBins>.offset(of: \.large) == HoleBins.largeOffset)
        let fixture = RangeFixture(size: page, nodes: 1)
        let base = UnsafeRawPointer(fixture.allocator)
        withUnsafePointer(to: &fixture.allocator.pointee.head) { #expect(UnsafeRawPointer($0) == base) }
        withUnsafePointer(to: &fixture.allocator.pointee.index) {
            #expect(UnsafeRawPointer($0) == base + RangeAllocator.indexOffset)
        }
        withUnsafePointer(to: &fixture.allocator.pointee.index.firstLeaf) {
            #expect(UnsafeRawPointer($0) == base + RangeAllocator.indexOffset)
        }
        withUnsafePointer(to: &fixture.allocator.pointee.bins) {
            #expect(UnsafeRawPointer($0) == base + RangeAllocator.binsOffset)
        }
    }

    @Test("a fresh node is not allocated, and an empty allocator has nothing")
    func fresh() {
        let fixture = RangeFixture(start: page, size: 10 * page, nodes: 1)
        #expect(!fixture.nodes[0].isAllocated)
        #expect(fixture.allocator.count == 0 && fixture.allocator.allocatedBytes == 0)
        #expect(fixture.allocator.node(containing: page) == nil)
        #expect(fixture.allocator.firstNode(endingAfter: 0) == nil)
        fixture.allocator.checkInvariants()
    }

    @Test("size 0, an alignment that is no power of two and inverted limits are invalid arguments")
    func invalidArguments() {
        let fixture = RangeFixture(size: 16 * page, nodes: 1)
        #expect(fixture.insertError(size: 0, alignment: page) == .invalid)
        #expect(fixture.insertError(size: page, alignment: 0) == .invalid)
        #expect(fixture.insertError(size: page, alignment: 3 * page) == .invalid)
        #expect(fixture.insertError(size: page, alignment: .max) == .invalid)
        #expect(fixture.insertError(size: page, alignment: page, from: 2 * page, to: page) == .invalid)
        #expect(throws: Status.invalid) { try fixture.allocator.reserve(fixture.nodes, start: 0, size: 0, color: 0) }
        #expect(fixture.insertError(size: page, alignment: page) == nil)
    }

    @Test("the greatest space is used up to its last byte, and nothing wraps")
    func greatestSpace() {
        let fixture = RangeFixture(size: .max, nodes: 4)
        #expect(fixture.insert(0, size: .max) == 0)
        fixture.remove(0)
        #expect(fixture.insert(0, size: 1, .high) == UInt64.max - 1)
        #expect(fixture.insert(1, size: 1, .low) == 0)
        #expect(fixture.insert(2, size: 1 << 63, alignment: 1 << 63, .high) == nil)
        #expect(fixture.insert(2, size: (1 << 63) - 1, alignment: 1 << 63, .high) == nil)
        #expect(fixture.insert(2, size: (1 << 63) - 3, alignment: 1 << 63, .low) == UInt64(1) << 63)
        #expect(!fixture.reserve(3, at: .max, size: 1))
        #expect(!fixture.reserve(3, at: .max, size: .max))
        #expect(!fixture.reserve(3, at: .max - 1, size: 1))
        #expect(fixture.reserve(3, at: .max - 2, size: 1))
        fixture.allocator.checkInvariants()
        #expect(fixture.allocator.node(containing: .max) == nil)
        #expect(fixture.allocator.node(containing: .max - 1) == fixture.nodes)
        fixture.removeAll(0..<4)
    }

    @Test("a space at the end of the addresses rounds no start up past the end")
    func alignmentAtTheTop() {
        let fixture = RangeFixture(start: .max - 100, size: 100, nodes: 1)
        for placement in [Placement.best, .low, .high] {
            #expect(fixture.insert(0, size: 1, alignment: 1 << 20, placement) == nil)
            #expect(fixture.insert(0, size: 1, alignment: 64, placement) == UInt64.max - 63)
            fixture.remove(0)
        }
    }

    @Test("a hole's capacity is what is behind the first aligned address in it, and 0 where there is none")
    func holeCapacity() {
        func capacity(start: UInt64, size: UInt64) -> [UInt64] {
            [HoleAlignment.none, .pages64K, .pages2M].map {
                HoleCapacity.bytes(from: start, to: start + size, alignment: $0.bytes)
            }
        }
        #expect(capacity(start: 0, size: 0) == [0, 0, 0])
        #expect(capacity(start: 0, size: 5) == [5, 5, 5])
        #expect(capacity(start: 1, size: 0xffff) == [0xffff, 0, 0])
        #expect(capacity(start: 1, size: 0x1_0000) == [0x1_0000, 1, 0])
        #expect(capacity(start: page, size: 4 << 20) == [4 << 20, (4 << 20) - 15 * page, (2 << 20) + page])
        #expect(capacity(start: .max - 100, size: 100) == [100, 0, 0])
        #expect(capacity(start: 0, size: .max) == [.max, .max, .max])
        let inUnits = HoleCapacity(from: page, to: page + (4 << 20), unitShift: 12)
        #expect([inUnits.unaligned, inUnits.aligned64K, inUnits.aligned2M] == [1024, 1009, 513])
        #expect(HoleCapacity(from: 0, to: .max, unitShift: 12).unaligned == .max)
        #expect(HoleCapacity(from: 5, to: 4100, unitShift: 12).unaligned == 0)
    }

    @Test("best fit takes the smallest hole that fits; of equal ones the latest if small, else the lowest")
    func bestFit() {
        for isSmall in [false, true] {
            let fixture = RangeFixture(size: 100 * page, unit: isSmall ? page : 1, nodes: 10)
            // Holes of 3, 2, 2 and 3 pages, and the rest.
            for (number, at) in [3, 6, 9, 13].enumerated() {
                #expect(fixture.reserve(number, at: UInt64(at) * page, size: page))
            }
            #expect(fixture.insert(5, size: 2 * page, alignment: page) == (isSmall ? 7 : 4) * page)
            #expect(fixture.insert(6, size: 2 * page, alignment: page) == (isSmall ? 4 : 7) * page)
            #expect(fixture.insert(7, size: 2 * page, alignment: page) == (isSmall ? 10 : 0) * page)
            // Two pages at a multiple of four pages: not in a hole that starts at page 10 or 14.
            #expect(fixture.insert(8, size: 2 * page, alignment: 4 * page) == (isSmall ? 0 : 16) * page)
            fixture.allocator.checkInvariants()
        }
    }

    @Test("lookups find the node of an address and the first that reaches beyond it")
    func lookups() {
        let fixture = RangeFixture(start: page, size: 100 * page, nodes: 3)
        #expect(fixture.reserve(0, at: 4 * page, size: 2 * page))
        #expect(fixture.reserve(1, at: 6 * page, size: page))
        #expect(fixture.reserve(2, at: 20 * page, size: page))
        let found = [0, page, 4 * page - 1, 4 * page, 6 * page - 1, 6 * page, 7 * page - 1, 7 * page, 20 * page, .max]
        #expect(found.map { fixture.allocator.node(containing: $0).map { $0 - fixture.nodes } }
            == [nil, nil, nil, 0, 0, 1, 1, nil, 2, nil])
        #expect(found.map { fixture.allocator.firstNode(endingAfter: $0).map { $0 - fixture.nodes } }
            == [0, 0, 0, 0, 0, 1, 1, 2, 2, nil])
        #expect(fixture.overlaps(0, .max) == [0, 1, 2])
        #expect(fixture.overlaps(5 * page, 6 * page) == [0])
        #expect(fixture.allocator.next(after: fixture.nodes + 2) == nil)
        #expect(fixture.allocator.count == 3 && fixture.allocator.allocatedBytes == 4 * page)
    }

    @Test("a node at the very start of the space is found, although the space's head starts there too")
    func nodeAtStart() {
        let fixture = RangeFixture(start: 7 * page, size: 10 * page, nodes: 2)
        #expect(fixture.insert(0, size: page, .low) == 7 * page)
        #expect(fixture.allocator.node(containing: 7 * page) == fixture.nodes)
        #expect(fixture.allocator.firstNode(endingAfter: 0) == fixture.nodes)
        #expect(!fixture.reserve(1, at: 7 * page, size: 1))
        fixture.allocator.checkInvariants()
        fixture.removeAll([0])
    }

    @Test("an empty space has room for nothing")
    func emptySpace() {
        let fixture = RangeFixture(start: 5 * page, size: 0, nodes: 1)
        #expect(fixture.insert(0, size: 1) == nil)
        #expect(!fixture.reserve(0, at: 5 * page, size: 1))
        fixture.allocator.checkInvariants()
    }

    @Test("a space that would end beyond the last address ends there")
    func spaceIsCut() {
        let allocator = UnsafeMutablePointer<RangeAllocator>.allocate(capacity: 1)
        defer { allocator.deallocate() }
        let cache = RangeFixture(size: 1, nodes: 0)
        defer { withExtendedLifetime(cache) {} }
        allocator.initialize(
            to: RangeAllocator(start: .max - 10, size: 100, unit: 1, coloring: false, cache: cache.cache))
        #expect(allocator.pointee.end == .max)
        allocator.checkInvariants()
    }

    @Test("a failed call leaves the node free for the next")
    func failureChangesNothing() {
        let fixture = RangeFixture(size: 4 * page, nodes: 2)
        #expect(fixture.insert(0, size: 3 * page) == 0)
        #expect(fixture.insert(1, size: 2 * page) == nil)
        #expect(!fixture.reserve(1, at: 2 * page, size: 2 * page))
        fixture.allocator.checkInvariants()
        #expect(fixture.insert(1, size: page) == 3 * page)
    }

    @Test(
        "a request finds the one hole that is aligned behind 32,768 big ones that are not, without trying them all",
        .timeLimit(.minutes(15)))
    func misalignedHoles() {
        let step: UInt64 = 4 << 20
        let huge: UInt64 = 2 << 20
        let count = 32_768
        // Holes of 2 MiB + 4 KiB, each from 4 KiB above a multiple of 2 MiB.
        let fixture = RangeFixture(size: UInt64(count + 1) * step, nodes: count + 2)
        for number in 0..<count {
            let end = UInt64(number + 1) * step + page
            precondition(fixture.reserve(number, at: end - step + huge + page, size: huge))
        }
        #expect(fixture.insert(count, size: page + huge, alignment: page, .low) == 0)
        fixture.allocator.checkInvariants()
        for placement in [Placement.best, .low, .high] {
            for _ in 0..<10_000 {
                let place = fixture.insert(count + 1, size: huge, alignment: huge, placement)
                precondition(place == UInt64(count) * step + huge)
                fixture.remove(count + 1)
            }
        }
        // The last hole filled: the answer is no, as quickly.
        #expect(fixture.insert(count + 1, size: huge - page, alignment: page, .high) != nil)
        for _ in 0..<10_000 { precondition(fixture.insertError(size: huge, alignment: huge) == .noSpace) }
    }

    @Test("behind more misfits than a search has patience for, the only hole is found, for any alignment and color")
    func onlyHole() {
        let count = 300
        for coloring in [false, true] {
            for placement in [Placement.best, .low, .high] {
                // Holes of two pages from odd page numbers; with coloring, between nodes of another color.
                let fixture = RangeFixture(size: UInt64(count * 8 + 1) * page, coloring: coloring, nodes: count + 1)
                for number in 0..<count {
                    let start = UInt64(number) * 8 * page
                    let (place, size) = number == 0 ? (0, 9 * page) : (start + 3 * page, 6 * page)
                    precondition(fixture.reserve(number, at: place, size: size))
                }
                fixture.remove(count / 2)
                let middle = UInt64(count / 2) * 8 * page
                let color: UInt32 = coloring ? 1 : 0
                let size = 2 * page
                let place = fixture.insert(count, size: size, alignment: 4 * page, color: color, placement)
                precondition(place != nil && place! >= middle && place! < middle + 12 * page)
                fixture.allocator.checkInvariants()
            }
        }
    }
}
