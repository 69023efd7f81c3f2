import Testing

@testable import UnbindCore

private let page: UInt64 = 4096

extension RangeFixture {
    struct Eviction {
        var place: UInt64
        var victims: [Int]
        /// How many were offered until there was room.
        var offered: Int
    }

    /// Offers the nodes in that order; nil if even all of them make no room. Takes them back in another order.
    func scan(
        _ candidates: some Sequence<Int>, size: UInt64, alignment: UInt64 = 1, color: UInt32 = 0,
        _ placement: Placement = .best, from lowest: UInt64 = 0, to limit: UInt64 = .max
    ) -> Eviction? {
        var scan = EvictionScan(
            allocator, size: size, alignment: alignment, color: color, placement: placement, from: lowest, to: limit)
        var offered: [Int] = []
        for candidate in candidates {
            offered.append(candidate)
            if scan.add(nodes + candidate) { break }
        }
        allocator.checkInvariants()
        var random = RandomSource(seed: size)
        let victims = random.shuffled(0..<offered.count).map { offered[$0] }.filter { scan.remove(nodes + $0) }
        allocator.checkInvariants()
        precondition(allocator.pointee.candidates == 0)
        guard let place = scan.place else {
            precondition(victims.isEmpty)
            return nil
        }
        return Eviction(place: place, victims: victims.sorted(), offered: offered.count)
    }

    /// Evicts what the scan says, takes the place, and gives all of it back to who had it.
    func carryOut(_ eviction: Eviction, size: UInt64, color: UInt32 = 0) {
        let old = eviction.victims.map { nodes[$0] }
        for victim in eviction.victims { remove(victim) }
        let node = RangeNodePointer.allocate(capacity: 1)
        defer { node.deallocate() }
        node.initialize(to: RangeNode())
        do throws(Status) {
            try allocator.reserve(node, start: eviction.place, size: size, color: color)
        } catch {
            preconditionFailure("what was evicted made no room")
        }
        allocator.checkInvariants()
        allocator.remove(node)
        for (number, node) in zip(eviction.victims, old) {
            precondition(reserve(number, at: node.start, size: node.size, color: node.color))
        }
    }
}

@Suite struct EvictionScanTests {
    private static let placements = [Placement.best, .low, .high]

    /// A full space of ranges of one page.
    private func fullSpace(_ count: Int) -> RangeFixture {
        let fixture = RangeFixture(size: UInt64(count) * page, nodes: count)
        for number in 0..<count { precondition(fixture.reserve(number, at: UInt64(number) * page, size: page)) }
        return fixture
    }

    @Test("selftest 42, evict nothing: what is offered and taken back stays as it was")
    func nothing() {
        let fixture = fullSpace(200)
        for placement in Self.placements {
            #expect(fixture.scan(0..<200, size: 201 * page, placement) == nil)
            #expect(fixture.scan([], size: page, placement) == nil)
            #expect(fixture.allocator.count == 200)
            #expect(fixture.overlaps(0, .max) == Array(0..<200))
        }
        fixture.removeAll(0..<200)
    }

    @Test("selftest 42, evict everything: a request for the whole space takes all of it, in any order of offers")
    func everything() {
        let fixture = fullSpace(200)
        var random = RandomSource(seed: 42)
        for placement in Self.placements {
            let eviction = fixture.scan(random.shuffled(0..<200), size: 200 * page, placement)
            #expect(eviction?.place == 0)
            #expect(eviction?.offered == 200)
            #expect(eviction?.victims == Array(0..<200))
            if let eviction { fixture.carryOut(eviction, size: 200 * page) }
        }
    }

    @Test("selftest 42, evict something: each size and alignment finds room in a full space, without one too many")
    func something() {
        let fixture = fullSpace(512)
        var random = RandomSource(seed: 43)
        let primes: [UInt64] = [2, 3, 5, 7, 11, 13, 17, 31, 61, 127]
        for placement in Self.placements {
            for size in [1, 4, 8, 64, 128] + primes {
                for alignment: UInt64 in [1, 2, 4, 16, 64] {
                    let eviction = fixture.scan(
                        random.shuffled(0..<512), size: size * page, alignment: alignment * page, placement)
                    guard let eviction else {
                        Issue.record("no room for \(size) at \(alignment)")
                        continue
                    }
                    #expect(eviction.place % (alignment * page) == 0)
                    #expect(eviction.victims.count == Int(size))
                    fixture.carryOut(eviction, size: size * page)
                }
            }
        }
    }

    @Test("selftest 42, evict in a range: only what lies in the range goes")
    func inRange() {
        let fixture = fullSpace(512)
        var random = RandomSource(seed: 44)
        for placement in Self.placements {
            for (lowest, limit) in [(0, 256), (256, 512), (128, 384), (129, 383)] as [(UInt64, UInt64)] {
                for size: UInt64 in [1, 7, 64, 128] {
                    let eviction = fixture.scan(
                        random.shuffled(0..<512), size: size * page, alignment: page, placement,
                        from: lowest * page, to: limit * page)
                    guard let eviction else {
                        Issue.record("no room for \(size)")
                        continue
                    }
                    #expect(eviction.place >= lowest * page && eviction.place + size * page <= limit * page)
                    fixture.carryOut(eviction, size: size * page)
                }
                #expect(
                    fixture.scan(0..<512, size: 257 * page, placement, from: lowest * page, to: limit * page) == nil)
            }
        }
    }

    @Test("selftest 42, evict with colors: a neighbour of another color goes too, one of the same color stays")
    func colors() {
        let fixture = RangeFixture(size: 5 * page, coloring: true, nodes: 5)
        for number in 0..<5 { #expect(fixture.reserve(number, at: UInt64(number) * page, size: page, color: 1)) }
        #expect(fixture.scan([2, 0], size: page, color: 1)?.victims == [2])
        // Of color 2 it needs a free page on both sides.
        #expect(fixture.scan([1, 2], size: page, color: 2) == nil)
        #expect(fixture.scan([1, 2, 4, 3], size: page, color: 2, .low)?.victims == [1, 2, 3])
        #expect(fixture.scan([1, 2, 4, 3], size: page, color: 2, .best)?.victims == [3, 4])
        // None at an end of the space.
        let atEnd = fixture.scan([1, 0], size: page, color: 2)
        #expect(atEnd?.victims == [0, 1] && atEnd?.place == 0)
        if let atEnd { fixture.carryOut(atEnd, size: page, color: 2) }
    }

    @Test("best evicts as few as possible, low and high take the outermost place")
    func fewest() {
        let fixture = RangeFixture(size: 12 * page, nodes: 3)
        for (number, pages) in [(0, 2), (2, 3), (5, 7)].enumerated() {
            #expect(fixture.reserve(number, at: UInt64(pages.0) * page, size: UInt64(pages.1) * page))
        }
        let size = 6 * page
        #expect(fixture.scan([0, 1, 2], size: size, .best)?.victims == [2])
        #expect(fixture.scan([0, 1, 2], size: size, .low)?.victims == [0, 1, 2])
        #expect(fixture.scan([0, 1, 2], size: size, .high)?.place == 6 * page)
        #expect(fixture.scan([0, 1, 2], size: size, .low)?.place == 0)
        // The fewest, not the first that has room.
        #expect(fixture.scan([1, 0, 2], size: 7 * page, .best)?.victims == [2])
    }

    @Test("a scan that could have had a hole for nothing evicts nothing")
    func hole() {
        let fixture = RangeFixture(size: 10 * page, nodes: 2)
        #expect(fixture.reserve(0, at: 0, size: page) && fixture.reserve(1, at: 5 * page, size: page))
        let eviction = fixture.scan([0, 1], size: 4 * page)
        #expect(eviction?.victims == [] && eviction?.place == page && eviction?.offered == 1)
    }

    @Test("gaps at the ends of the addresses saturate")
    func saturation() {
        let fixture = RangeFixture(size: .max, coloring: true, nodes: 3)
        #expect(fixture.reserve(0, at: 0, size: 100, color: 1))
        #expect(fixture.reserve(1, at: 100, size: .max - 200, color: 1))
        #expect(fixture.reserve(2, at: .max - 100, size: 100, color: 1))
        #expect(fixture.scan([0], size: 100, color: 1)?.victims == [0])
        #expect(fixture.scan([2], size: 100, color: 1, .high)?.victims == [2])
        #expect(fixture.scan([0], size: 1, color: 2) == nil)
        #expect(fixture.scan([2], size: 1, color: 2) == nil)
        #expect(fixture.scan([2, 1], size: 50, color: 2, .high)?.victims == [1, 2])
        #expect(fixture.scan([0, 1, 2], size: .max, color: 2)?.victims == [0, 1, 2])
    }

    @Test("a hundred thousand neighbours are offered in a moment", .timeLimit(.minutes(15)))
    func longRuns() {
        let count = 100_000
        let fixture = fullSpace(count)
        var random = RandomSource(seed: 45)
        for order in [Array(0..<count), Array((0..<count).reversed()), random.shuffled(0..<count)] {
            for placement in Self.placements {
                let size = UInt64(count) * page
                #expect(fixture.scan(order, size: size, placement)?.victims.count == count)
            }
        }
    }

    @Test("the nodes of a range and those in the way of a color are found in order, and may be removed on the way")
    func iteration() {
        let fixture = RangeFixture(size: 40 * page, coloring: true, nodes: 6)
        for (number, at) in [1, 2, 3, 10, 12, 20].enumerated() {
            let color: UInt32 = number < 3 ? 1 : 2
            #expect(fixture.reserve(number, at: UInt64(at) * page, size: page, color: color))
        }
        func numbers(_ nodes: RangeNodes) -> [Int] {
            var nodes = nodes
            var found: [Int] = []
            while let node = nodes.nextNode() { found.append(node - fixture.nodes) }
            return found
        }
        let allocator = fixture.allocator
        #expect(numbers(allocator.nodes(from: 0, to: .max)) == [0, 1, 2, 3, 4, 5])
        #expect(numbers(allocator.nodes(from: 2 * page, to: 3 * page)) == [1])
        #expect(numbers(allocator.nodes(from: 2 * page + 1, to: 3 * page + 1)) == [1, 2])
        #expect(numbers(allocator.nodes(from: 4 * page, to: 10 * page)) == [])
        #expect(numbers(allocator.nodesInTheWay(of: 2 * page, size: page, color: 1)) == [1])
        #expect(numbers(allocator.nodesInTheWay(of: 2 * page, size: page, color: 2)) == [0, 1, 2])
        #expect(numbers(allocator.nodesInTheWay(of: 11 * page, size: page, color: 2)) == [])
        #expect(numbers(allocator.nodesInTheWay(of: 11 * page, size: page, color: 1)) == [3, 4])
        #expect(numbers(allocator.nodesInTheWay(of: 0, size: .max, color: 1)) == [0, 1, 2, 3, 4, 5])
        var nodes = allocator.nodesInTheWay(of: 0, size: 11 * page, color: 1)
        while let node = nodes.nextNode() { allocator.remove(node) }
        #expect(fixture.reserve(0, at: 0, size: 11 * page, color: 1))
        allocator.checkInvariants()
    }

    @Test("random scans agree with an exhaustive search", arguments: 0..<200)
    func property(seed: Int) {
        var random = RandomSource(seed: 0xe71c + UInt64(seed))
        let coloring = seed % 3 == 1
        let unit: UInt64 = seed % 2 == 0 ? page : 1000
        let units = 200
        let start = [0, unit * 3, UInt64.max - unit * UInt64(units)][seed % 5 % 3]
        let count = 60
        let fixture = RangeFixture(start: start, size: unit * UInt64(units), coloring: coloring, nodes: count)
        for _ in 0..<20 {
            var naive = NaiveRanges(start: fixture.start, end: fixture.end, coloring: coloring)
            var taken: [Int] = []
            for number in 0..<count {
                let at = start + unit * UInt64(random.next(below: units))
                let (size, color) = (unit * UInt64(1 + random.next(below: 6)), UInt32(random.next(below: 2)))
                guard naive.canReserve(start: at, size: size, color: color) else { continue }
                precondition(fixture.reserve(number, at: at, size: size, color: color))
                naive.add(number, start: at, size: size, color: color)
                taken.append(number)
            }
            for _ in 0..<10 { scanOnce(fixture, naive, taken, unit: unit, &random) }
            fixture.removeAll(taken)
        }
    }

    private func scanOnce(
        _ fixture: RangeFixture, _ naive: NaiveRanges, _ taken: [Int], unit: UInt64, _ random: inout RandomSource
    ) {
        let size = unit * UInt64(1 + random.next(below: 30))
        let alignment = UInt64(1) << UInt64(random.next(below: 15))
        let color = UInt32(random.next(below: 2))
        let placement = Self.placements[random.next(below: 3)]
        var (lowest, limit) = (UInt64(0), UInt64.max)
        if random.next(below: 2) == 0 {
            let offsets = (random.next(below: 200), random.next(below: 200))
            lowest = fixture.start + unit * UInt64(min(offsets.0, offsets.1))
            limit = fixture.start + unit * UInt64(max(offsets.0, offsets.1))
        }
        func find(_ ranges: NaiveRanges) -> UInt64? {
            ranges.find(
                size: size, alignment: alignment, color: color, placement: placement, from: lowest, to: limit)
        }
        // Whoever scans has found no hole before.
        if find(naive) != nil { return }
        let order = random.shuffled(0..<taken.count).map { taken[$0] }.prefix(1 + random.next(below: taken.count))
        var rest = naive
        var needed: Int?
        for (index, number) in order.enumerated() where needed == nil {
            rest.remove(number)
            if find(rest) != nil { needed = index + 1 }
        }
        let eviction = fixture.scan(
            order, size: size, alignment: alignment, color: color, placement, from: lowest, to: limit)
        precondition(eviction?.offered == needed)
        guard let eviction else { return }
        precondition(eviction.place % alignment == 0 && eviction.place >= lowest && eviction.place + size <= limit)
        var evicted = naive
        for victim in eviction.victims { evicted.remove(victim) }
        precondition(evicted.canReserve(start: eviction.place, size: size, color: color))
        for victim in eviction.victims {
            var allButOne = evicted
            let node = fixture.nodes[victim]
            allButOne.add(victim, start: node.start, size: node.size, color: node.color)
            precondition(!allButOne.canReserve(start: eviction.place, size: size, color: color), "one too many")
        }
        if placement != .best { precondition(eviction.place == find(rest)) }
        if placement == .best {
            let offered = Set(order.prefix(eviction.offered))
            let fewest = fewestVictims(naive, offered, size, alignment, color, lowest, limit)
            precondition(eviction.victims.count == fewest)
        }
        fixture.carryOut(eviction, size: size, color: color)
    }

    /// Over all places there are.
    private func fewestVictims(
        _ naive: NaiveRanges, _ candidates: Set<Int>, _ size: UInt64, _ alignment: UInt64, _ color: UInt32,
        _ lowest: UInt64, _ limit: UInt64
    ) -> Int? {
        var edges = naive.ranges.flatMap { [$0.end, $0.end + 4096] } + [naive.start, UInt128(lowest)]
        edges = edges.map { ($0 + UInt128(alignment) - 1) / UInt128(alignment) * UInt128(alignment) }
        let end = min(naive.end, UInt128(limit))
        let places = edges.filter { $0 >= max(naive.start, UInt128(lowest)) && $0 + UInt128(size) <= end }
        return places.compactMap { place in
            let inTheWay = naive.ranges.filter {
                let gap: UInt128 = naive.coloring && $0.color != color ? 4096 : 0
                return $0.start < place + UInt128(size) + gap && $0.end + gap > place
            }
            return inTheWay.allSatisfy { candidates.contains($0.number) } ? inTheWay.count : nil
        }.min()
    }
}
