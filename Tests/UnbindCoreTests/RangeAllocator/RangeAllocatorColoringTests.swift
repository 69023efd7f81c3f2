import Testing

@testable import UnbindCore

private let page: UInt64 = 4096

@Suite struct RangeAllocatorColoringTests {
    @Test("neighbours of one color may touch, of different colors they stay a page apart on both sides")
    func gaps() {
        let fixture = RangeFixture(size: 100 * page, coloring: true, nodes: 8)
        #expect(fixture.reserve(0, at: 10 * page, size: 10 * page, color: 1))
        #expect(!fixture.reserve(1, at: 20 * page, size: page, color: 2))
        #expect(!fixture.reserve(1, at: 21 * page - 1, size: page, color: 2))
        #expect(fixture.reserve(1, at: 21 * page, size: page, color: 2))
        #expect(!fixture.reserve(2, at: 9 * page, size: page, color: 2))
        #expect(!fixture.reserve(2, at: 8 * page, size: page + 1, color: 2))
        #expect(fixture.reserve(2, at: 8 * page, size: page, color: 2))
        #expect(fixture.reserve(3, at: 22 * page, size: page, color: 2))
        #expect(!fixture.reserve(4, at: 20 * page, size: page, color: 1))
        fixture.allocator.checkInvariants()
        fixture.removeAll(0..<4)
    }

    @Test("without coloring the color keeps nothing apart")
    func off() {
        let fixture = RangeFixture(size: 2 * page, nodes: 2)
        #expect(fixture.reserve(0, at: 0, size: page, color: 1))
        #expect(fixture.reserve(1, at: page, size: page, color: 2))
        fixture.allocator.checkInvariants()
    }

    @Test("insertion keeps the gap for every placement", arguments: [UInt32(1), 2])
    func insertion(color: UInt32) {
        let gap = color == 1 ? 0 : page
        let fixture = RangeFixture(size: 40 * page, coloring: true, nodes: 4)
        #expect(fixture.reserve(0, at: 0, size: 10 * page, color: 1))
        #expect(fixture.reserve(1, at: 30 * page, size: 10 * page, color: 1))
        #expect(fixture.insert(2, size: page, color: color, .low) == 10 * page + gap)
        #expect(fixture.insert(3, size: page, color: color, .high) == 29 * page - gap)
        fixture.remove(2)
        fixture.remove(3)
        #expect(fixture.insert(2, size: page, color: color, .best) == 10 * page + gap)
        fixture.remove(2)
        // All there is between the two, and one byte more.
        #expect(fixture.insert(2, size: 20 * page - 2 * gap, color: color) == 10 * page + gap)
        fixture.remove(2)
        #expect(fixture.insert(2, size: 20 * page - 2 * gap + 1, color: color) == nil)
        fixture.allocator.checkInvariants()
    }

    @Test("the ends of the space have no color")
    func ends() {
        let fixture = RangeFixture(start: page, size: 10 * page, coloring: true, nodes: 2)
        #expect(fixture.insert(0, size: page, color: 5, .low) == page)
        #expect(fixture.insert(1, size: page, color: 6, .high) == 10 * page)
        fixture.allocator.checkInvariants()
    }

    @Test("gaps saturate below the first page and at the last address")
    func saturation() {
        let fixture = RangeFixture(size: .max, coloring: true, nodes: 3)
        // Holes nearer to an end than a gap is wide.
        #expect(fixture.reserve(0, at: 100, size: page, color: 1))
        #expect(fixture.reserve(1, at: .max - page - 100, size: page, color: 1))
        for color in [UInt32(2), 1] {
            let fits = color == 1
            #expect(fixture.reserve(2, at: 0, size: 100, color: color) == fits)
            if fits { fixture.remove(2) }
            #expect(fixture.reserve(2, at: .max - 100, size: 100, color: color) == fits)
            if fits { fixture.remove(2) }
            #expect((fixture.insert(2, size: 50, color: color, .low) == 0) == fits)
            if fixture.nodes[2].isAllocated { fixture.remove(2) }
            #expect((fixture.insert(2, size: 50, color: color, .high) == UInt64.max - 50) == fits)
            if fixture.nodes[2].isAllocated { fixture.remove(2) }
            // The later one of the two holes of equal size.
            #expect((fixture.insert(2, size: 50, color: color, .best) == UInt64.max - 100) == fits)
            if fixture.nodes[2].isAllocated { fixture.remove(2) }
        }
        fixture.allocator.checkInvariants()
    }

    @Test("a gap across the 4 GiB boundary is a gap")
    func across32Bits() {
        let boundary = UInt64(1) << 32
        let fixture = RangeFixture(size: 1 << 40, coloring: true, nodes: 2)
        #expect(fixture.reserve(0, at: boundary - page, size: page, color: 1))
        #expect(!fixture.reserve(1, at: boundary, size: page, color: 2))
        let place = fixture.insert(1, size: page, alignment: page, color: 2, .low, from: boundary - page)
        #expect(place == boundary + page)
    }

    @Test("selftest 18: the middle page is free for its neighbours' color and for no other")
    func cacheColor() {
        let fixture = RangeFixture(size: 3 * page, coloring: true, nodes: 3)
        #expect(fixture.reserve(0, at: 0, size: page, color: 7))
        #expect(fixture.reserve(2, at: 2 * page, size: page, color: 7))
        #expect(!fixture.reserve(1, at: page, size: page, color: 8))
        #expect(fixture.insert(1, size: page, color: 8) == nil)
        #expect(fixture.reserve(1, at: page, size: page, color: 7))
        fixture.removeAll(0..<3)
    }

    @Test("selftest 42: a space of many colors is filled with gaps exactly between the different ones")
    func colorFill() {
        for placement in [Placement.best, .low, .high] {
            var random = RandomSource(seed: 42)
            let count = 500
            let fixture = RangeFixture(size: 1 << 40, coloring: true, nodes: count)
            for number in 0..<count {
                let size = page * UInt64(1 + random.next(below: 30))
                #expect(fixture.insert(number, size: size, color: UInt32(random.next(below: 4)), placement) != nil)
            }
            fixture.allocator.checkInvariants()
            // Into one end of an endless hole, each takes the nearest place it may.
            if placement != .best {
                var place = fixture.allocator.firstNode(endingAfter: 0)
                while let node = place {
                    place = fixture.allocator.next(after: node)
                    guard let place else { break }
                    let gap = place.pointee.start - node.pointee.end
                    #expect(place.pointee.color == node.pointee.color || gap >= page)
                    #expect(gap < 34 * page)
                }
            }
            fixture.removeAll(random.shuffled(0..<count))
        }
    }
}
