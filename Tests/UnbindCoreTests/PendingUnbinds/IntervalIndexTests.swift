import Testing

@testable import UnbindCore

/// An index, nodes for it, and the same in an array that is searched from end to end.
final class IntervalFixture {
    let index = UnsafeMutablePointer<IntervalIndex>.allocate(capacity: 1)
    let nodes: IntervalNodePointer
    let capacity: Int
    private(set) var inside: [Int] = []

    init(capacity: Int) {
        self.capacity = capacity
        index.initialize(to: IntervalIndex())
        nodes = .allocate(capacity: capacity)
        nodes.initialize(repeating: IntervalNode(), count: capacity)
    }

    convenience init(_ intervals: [(UInt64, UInt64)]) {
        self.init(capacity: intervals.count)
        for (number, interval) in intervals.enumerated() { insert(number, interval.0, interval.1) }
    }

    deinit {
        index.deinitialize(count: 1)
        index.deallocate()
        nodes.deallocate()
    }

    func insert(_ number: Int, _ start: UInt64, _ last: UInt64) {
        nodes[number] = IntervalNode(start: start, last: last)
        index.insert(nodes + number)
        inside.append(number)
    }

    func remove(_ number: Int) {
        index.remove(nodes + number)
        inside.removeAll { $0 == number }
    }

    func overlaps(_ start: UInt64, _ last: UInt64) -> [Int] {
        var found: [Int] = []
        index.forEachOverlap(start: start, last: last) {
            found.append($0 - nodes)
            return true
        }
        return found
    }

    /// Stops the test run where the index and the array differ.
    func compare(_ start: UInt64, _ last: UInt64) {
        let found = overlaps(start, last)
        let expected = inside.filter { nodes[$0].start <= last && nodes[$0].last >= start }
        precondition(found.sorted() == expected.sorted(), "the overlaps of \(start)...\(last) are wrong")
        precondition(zip(found, found.dropFirst()).allSatisfy { nodes[$0].start <= nodes[$1].start })
        precondition(index.firstOverlap(start: start, last: last) == found.first.map { nodes + $0 })
    }

    func check() {
        index.checkInvariants()
        precondition(index.count == inside.count)
        precondition(index.first?.pointee.start == inside.map { nodes[$0].start }.min())
    }
}

@Suite struct IntervalIndexTests {
    @Test("a node is 48 bytes and begins with its links")
    func layout() {
        #expect(MemoryLayout<IntervalNode>.size == 48)
        #expect(MemoryLayout<IntervalNode>.offset(of: \.start) == MemoryLayout<TreeLinks>.size)
        let fixture = IntervalFixture([(1, 2)])
        #expect(fixture.index.root == fixture.nodes)
        #expect(fixture.nodes.isInserted)
    }

    @Test("an empty index overlaps nothing")
    func empty() {
        let fixture = IntervalFixture(capacity: 0)
        #expect(fixture.index.first == nil)
        #expect(fixture.index.firstOverlap(start: 0, last: .max) == nil)
        fixture.check()
    }

    @Test("an interval overlaps what shares one byte with it and nothing beside it")
    func touching() {
        let fixture = IntervalFixture([(0x1000, 0x1fff)])
        #expect(fixture.overlaps(0, 0xfff) == [])
        #expect(fixture.overlaps(0, 0x1000) == [0])
        #expect(fixture.overlaps(0x1800, 0x1800) == [0])
        #expect(fixture.overlaps(0x1fff, .max) == [0])
        #expect(fixture.overlaps(0x2000, .max) == [])
        fixture.remove(0)
        #expect(fixture.overlaps(0, .max) == [])
        #expect(!fixture.nodes.isInserted)
    }

    @Test("single bytes at 0 and at the last address are found, alone and by the whole range")
    func ends() {
        let fixture = IntervalFixture([(0, 0), (.max, .max), (0, .max)])
        #expect(fixture.overlaps(0, 0) == [0, 2])
        #expect(fixture.overlaps(.max, .max) == [2, 1])
        #expect(fixture.overlaps(1, .max - 1) == [2])
        #expect(fixture.overlaps(0, .max) == [0, 2, 1])
        fixture.check()
    }

    @Test("a range that ends before it starts overlaps nothing")
    func invertedRange() {
        let fixture = IntervalFixture([(0, .max), (5, 10)])
        #expect(fixture.overlaps(8, 7) == [])
    }

    @Test("equal intervals are all found, in the order of their insertion")
    func equalIntervals() {
        let fixture = IntervalFixture(Array(repeating: (100, 200), count: 500))
        #expect(fixture.overlaps(200, 300) == Array(0..<500))
        for number in stride(from: 0, to: 500, by: 2) { fixture.remove(number) }
        fixture.check()
        #expect(fixture.overlaps(0, 100) == Array(stride(from: 1, to: 500, by: 2)))
        #expect(fixture.index.first == fixture.nodes + 1)
    }

    @Test("the visit ends when the body answers false")
    func stops() {
        let fixture = IntervalFixture((0..<100).map { (UInt64($0), UInt64($0) + 10) })
        var visited = 0
        fixture.index.forEachOverlap(start: 0, last: .max) { _ in
            visited += 1
            return visited < 7
        }
        #expect(visited == 7)
    }

    @Test("draining the index from its first node ends, with every node seen once")
    func drain() {
        let fixture = IntervalFixture((0..<200).map { (UInt64($0 * 7919 % 200), UInt64(1000)) })
        var starts: [UInt64] = []
        while let first = fixture.index.first {
            starts.append(first.pointee.start)
            fixture.index.remove(first)
        }
        #expect(starts == (0..<200).map(UInt64.init))
        #expect(fixture.index.count == 0)
        fixture.index.checkInvariants()
    }

    @Test("removing the longest interval shortens the sums above, also where its heir's own sum stays the same")
    func removeLongest() {
        // A full tree of three levels; 2, with the greatest end, is replaced by its next, 3.
        let fixture = IntervalFixture([(4, 4), (2, 100), (6, 6), (1, 1), (3, 5), (5, 5), (7, 7)])
        fixture.remove(1)
        fixture.check()
        #expect(fixture.overlaps(50, 60) == [])
        #expect(fixture.index.root?.pointee.subtreeLast == 7)
    }

    @Test("hostile patterns agree with an exhaustive search, while they grow and while they shrink")
    func hostilePatterns() {
        let count = 400
        let patterns: [[(UInt64, UInt64)]] = [
            // All start alike; nested around a middle; sorted up and down; the whole range with single bytes; all end
            // alike; powers of two.
            (0..<count).map { (1000, 1000 + UInt64($0)) },
            (0..<count).map { (UInt64(10_000 - $0), UInt64(10_000 + $0)) },
            (0..<count).map { (UInt64($0) * 10, UInt64($0) * 10 + 14) },
            (0..<count).map { (UInt64(count - $0) * 10, UInt64(count - $0) * 10 + 9) },
            (0..<count).map { $0 % 2 == 0 ? (0, .max) : (UInt64($0) * 5, UInt64($0) * 5) },
            (0..<count).map { (UInt64.max - UInt64($0), .max) },
            (0..<count).map { $0 == 0 ? (0, .max) : (UInt64($0) << 40, UInt64($0) << 40) },
        ]
        for (seed, pattern) in patterns.enumerated() {
            var random = RandomSource(seed: UInt64(seed))
            let edges = pattern.flatMap { [$0.0, $0.1, $0.0 &- 1, $0.1 &+ 1] } + [0, .max]
            func compare(_ fixture: IntervalFixture) {
                for _ in 0..<5 {
                    let one = edges[random.next(below: edges.count)]
                    let other = edges[random.next(below: edges.count)]
                    fixture.compare(min(one, other), max(one, other))
                    fixture.compare(one, one)
                }
            }
            let fixture = IntervalFixture(capacity: count)
            for (number, interval) in pattern.enumerated() {
                fixture.insert(number, interval.0, interval.1)
                if number % 40 == 0 { compare(fixture) }
            }
            fixture.check()
            compare(fixture)
            while let number = fixture.inside.isEmpty ? nil : fixture.inside[random.next(below: fixture.inside.count)] {
                fixture.remove(number)
                if fixture.inside.count % 40 == 0 {
                    fixture.check()
                    compare(fixture)
                }
            }
        }
    }

    @Test("selftest 41 and M1: 100,000 random steps agree with an exhaustive search", arguments: 0..<100)
    func randomSteps(seed: Int) {
        var random = RandomSource(seed: 0x1d0 + UInt64(seed))
        let fixture = IntervalFixture(capacity: 1 + random.next(below: 60))
        // From a handful of addresses to the whole of 64 bits; every other seed at the upper end.
        let bits = UInt64([4, 8, 16, 40, 64][seed % 5])
        let base: UInt64 = bits == 64 || seed % 2 == 0 ? 0 : .max - (1 << bits) + 1
        func address() -> UInt64 { base &+ (bits == 64 ? random.next() : random.next() >> (64 - bits)) }
        for step in 0..<1000 {
            let number = random.next(below: fixture.capacity)
            if (fixture.nodes + number).isInserted {
                fixture.remove(number)
            } else {
                let one = address()
                let other = random.next(below: 4) == 0 ? one : address()
                fixture.insert(number, min(one, other), max(one, other))
            }
            if step % 4 == 0 {
                let one = address()
                let other = address()
                fixture.compare(min(one, other), max(one, other))
            }
            if step % 100 == 0 { fixture.check() }
        }
        fixture.check()
    }
}
