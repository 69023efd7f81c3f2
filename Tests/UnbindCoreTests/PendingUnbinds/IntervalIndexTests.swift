import Testing

@testable import UnbindCore

@Suite struct IntervalIndexTests {
    private static let lastPage: UInt64 = (1 << 36) - 1

    @Test("a node is 512 bytes with its words on 16-byte boundaries; what its owner embeds is 8 bytes")
    func layout() {
        #expect(MemoryLayout<IntervalNode>.size == 8)
        #expect(MemoryLayout<IndexNode>.size == 32)
        #expect(IndexNode.lastsOffset + IndexNode.slots * 8 == IndexNode.bytes)
        #expect(IndexNode.startsOffset % 16 == 0 && IndexNode.lastsOffset % 16 == 0)
    }

    @Test("an empty index overlaps nothing")
    func empty() {
        let fixture = IntervalIndexFixture(capacity: 0)
        #expect(fixture.overlaps(fromAddress: 0, to: .max) == [])
        fixture.check()
    }

    @Test("an interval overlaps what shares one page with it and nothing beside it")
    func touching() {
        let fixture = IntervalIndexFixture([(0x10, 0x1f)])
        #expect(fixture.overlaps(0, 0xf) == [])
        #expect(fixture.overlaps(0, 0x10) == [0])
        #expect(fixture.overlaps(0x18, 0x18) == [0])
        #expect(fixture.overlaps(fromAddress: 0x1f000, to: .max) == [0])
        #expect(fixture.overlaps(fromAddress: 0x20000, to: .max) == [])
        #expect(fixture.nodes.range == 0x10000...0x1ffff)
        fixture.remove(0)
        #expect(fixture.overlaps(fromAddress: 0, to: .max) == [])
        #expect(!fixture.nodes.isInserted)
        fixture.check()
    }

    @Test("single pages at 0 and at the end of 48 bits are found, alone and by the whole range")
    func ends() {
        let last = Self.lastPage
        let fixture = IntervalIndexFixture([(0, 0), (last, last), (0, last)])
        #expect(fixture.overlaps(0, 0) == [0, 2])
        #expect(fixture.overlaps(last, last) == [1, 2])
        #expect(fixture.overlaps(1, last - 1) == [2])
        #expect(fixture.overlaps(0, last) == [0, 1, 2])
        #expect(fixture.overlaps(fromAddress: 0, to: .max) == [0, 1, 2])
        #expect(fixture.overlaps(fromAddress: 1 << 48, to: .max) == [])
        fixture.check()
    }

    @Test("a range that ends before it starts overlaps nothing")
    func invertedRange() {
        let fixture = IntervalIndexFixture([(0, Self.lastPage), (5, 10)])
        #expect(fixture.overlaps(8, 7) == [])
    }

    @Test("equal intervals are all found, through all levels, and go in any order")
    func equalIntervals() {
        let fixture = IntervalIndexFixture(Array(repeating: (100, 200), count: 5000))
        #expect(fixture.overlaps(200, 300) == Array(0..<5000))
        for number in stride(from: 0, to: 5000, by: 2) { fixture.remove(number) }
        fixture.check()
        #expect(fixture.overlaps(0, 100) == Array(stride(from: 1, to: 5000, by: 2)))
        for number in stride(from: 4999, to: 0, by: -2) { fixture.remove(number) }
        fixture.check()
        #expect(fixture.index.count == 0)
    }

    @Test("the visit ends when the body answers false")
    func stops() {
        let fixture = IntervalIndexFixture((0..<100).map { (UInt64($0), UInt64($0) + 10) })
        var visited = 0
        fixture.index.forEachOverlap(start: 0, last: .max) { _, _ in
            visited += 1
            return visited < 7
        }
        #expect(visited == 7)
    }

    @Test("removing the longest interval shortens the sums above, up to the root")
    func removeLongest() {
        let fixture = IntervalIndexFixture(capacity: 2000)
        for number in 0..<2000 {
            let page = UInt64(number) * 4
            fixture.insert(number, page, number == 1000 ? 1 << 30 : page)
        }
        #expect(fixture.overlaps(1 << 29, 1 << 29) == [1000])
        fixture.remove(1000)
        fixture.check()
        #expect(fixture.overlaps(1 << 29, 1 << 29) == [])
        #expect(fixture.index.pointee.root?.pointee.greatestLast == IndexWords.word(page: 1999 * 4))
    }

    @Test("inserting needs no memory beyond what was reserved, and a reservation without memory changes nothing")
    func reservations() {
        let fixture = IntervalIndexFixture(capacity: 10_000)
        for _ in 0..<10_000 { precondition(fixture.index.reserve()) }
        let bytes = fixture.bytesHeld
        #expect(bytes <= 10_000 * 80)
        fixture.isExhausted.pointee = true
        for number in 0..<10_000 {
            let start = UInt64(number) * pageSize
            fixture.index.insert(fixture.nodes + number, start: start, last: start)
        }
        #expect(fixture.bytesHeld == bytes)
        fixture.index.checkInvariants()
        // What the memory there suffices for can still be reserved, and then no more.
        while fixture.index.reserve() {}
        let reserved = fixture.index.pointee.pool.reserved
        #expect(!fixture.index.reserve())
        #expect(fixture.index.pointee.pool.reserved == reserved)
        fixture.index.checkInvariants()
        fixture.isExhausted.pointee = false
        #expect(fixture.index.reserve())
        for number in 0..<10_000 { fixture.index.remove(fixture.nodes + number) }
        fixture.index.checkInvariants()
    }

    @Test("hostile patterns agree with a balanced tree, while they grow and while they shrink")
    func hostilePatterns() {
        let count = 3000
        let last = Self.lastPage
        let patterns: [(UInt64) -> (UInt64, UInt64)] = [
            // All start alike; nested around a middle; sorted up and down; the whole range with single pages; all end
            // alike; one whole range among pages far apart; all equal.
            { (1000, 1000 + $0) },
            { (10_000 - $0, 10_000 + $0) },
            { ($0 * 10, $0 * 10 + 14) },
            { (50_000 - $0 * 10, 50_000 - $0 * 10 + 9) },
            { $0 % 2 == 0 ? (0, last) : ($0 * 5, $0 * 5) },
            { (last - $0, last) },
            { $0 == 0 ? (0, last) : ($0 << 24, $0 << 24) },
            { _ in (77, 78) },
        ]
        for (seed, function) in patterns.enumerated() {
            let pattern = (0..<count).map { function(UInt64($0)) }
            var random = RandomSource(seed: UInt64(seed))
            var edges: [UInt64] = [0, last]
            for (start, end) in pattern { edges += [start, end, start - min(start, 1), min(end + 1, last)] }
            func compare(_ fixture: IntervalIndexFixture) {
                for _ in 0..<3 {
                    let one = edges[random.next(below: edges.count)]
                    let other = edges[random.next(below: edges.count)]
                    fixture.compare(min(one, other), max(one, other))
                    fixture.compare(one, one)
                }
            }
            let fixture = IntervalIndexFixture(capacity: count)
            for (number, interval) in pattern.enumerated() {
                fixture.insert(number, interval.0, interval.1)
                if number % 300 == 0 { compare(fixture) }
            }
            fixture.check()
            compare(fixture)
            // Out in three orders: as they came, backwards, at random.
            while !fixture.inside.isEmpty {
                let left = fixture.inside.count
                switch seed % 3 {
                case 0: fixture.remove(fixture.inside.min()!)
                case 1: fixture.remove(fixture.inside.max()!)
                default: fixture.remove(fixture.inside[random.next(below: left)])
                }
                if left % 300 == 0 {
                    fixture.check()
                    compare(fixture)
                }
            }
            fixture.check()
        }
    }

    @Test(
        "selftest 41 and M1: a million random steps agree with a balanced tree", arguments: 0..<(isSanitized ? 4 : 20))
    func randomSteps(seed: Int) {
        var random = RandomSource(seed: 0x1d0 + UInt64(seed))
        let fixture = IntervalIndexFixture(capacity: [10, 40, 500, 5000][seed % 4])
        // From a handful of pages to all of them; every other seed at the upper end.
        let bits = UInt64([4, 8, 16, 30, 36][seed % 5])
        let base: UInt64 = bits == 36 || seed % 2 == 0 ? 0 : Self.lastPage - (1 << bits) + 1
        let longest = max(UInt64(1), (1 << bits) / UInt64(fixture.capacity))
        func page() -> UInt64 { base + random.next() >> (64 - bits) }
        func interval() -> (UInt64, UInt64) {
            let one = page()
            switch random.next(below: 64) {
            case 0:
                let other = page()
                return (min(one, other), max(one, other))
            case 1..<16: return (one, one)
            default: return (one, min(one + random.next() % longest, base + (1 << bits) - 1))
            }
        }
        // Grows, stays and shrinks, so that nodes are split and merged on all levels.
        for step in 0..<50_000 {
            let number = random.next(below: fixture.capacity)
            let isInside = fixture.isInside(number)
            let isGrowing = (step / 12_500) % 2 == 0
            if isInside == isGrowing && random.next(below: 4) != 0 {
                let one = page()
                fixture.compare(one, min(one + random.next() % longest, Self.lastPage))
            } else if isInside {
                fixture.remove(number)
            } else {
                let (first, last) = interval()
                fixture.insert(number, first, last)
            }
            if step % 2500 == 0 { fixture.check() }
        }
        fixture.compare(0, Self.lastPage)
        fixture.check()
    }
}
