import Testing

@testable import UnbindCore

/// What one seed plays with.
private struct Scene {
    var start: UInt64
    var size: UInt64
    /// Sizes and addresses are multiples of it.
    var unit: UInt64
    /// As multiples of the unit.
    var greatestSize: Int
    var greatestAlignment: UInt64
    var coloring: Bool
    var nodes: Int
    /// Whether `best` is asked for a place in a part of the space, too: exact only among few holes.
    var limitsBest = true

    init(seed: Int) {
        let variants: [(UInt64, UInt64, Int, UInt64)] = [
            (1, 500, 40, 64), (4096, 200, 20, 1 << 16), (4096, 3000, 600, 1 << 21), (1, 60_000, 9000, 8192),
            (1 << 16, 100, 20, 1 << 21), (4096, 1 << 20, 1 << 15, 1 << 30),
        ]
        let variant = variants[seed % variants.count]
        unit = variant.0
        size = variant.0 * variant.1
        greatestSize = variant.2
        greatestAlignment = variant.3
        coloring = seed / variants.count % 3 == 1
        start = [0, UInt64.max - size, unit * 3, (1 << 32) - unit * (variant.1 / 2)][seed / 2 % 4]
        nodes = 8 + seed % 40
    }
}

@Suite struct RangeAllocatorPropertyTests {
    @Test(
        "a million random steps agree with an exhaustive search, down to the address",
        arguments: 0..<(isSanitized ? 10 : 100))
    func randomSteps(seed: Int) {
        let scene = Scene(seed: seed)
        play(scene, seed: seed, steps: 10_000, exact: true)
    }

    @Test("with hundreds of ranges of whole pages every placement is exact", arguments: 0..<8)
    func manyPages(seed: Int) {
        var scene = Scene(seed: seed)
        scene.unit = 4096
        scene.start = 4096
        scene.size = 4096 * 6000
        scene.greatestSize = seed % 2 == 0 ? 12 : 2500
        scene.greatestAlignment = 4096
        scene.coloring = false
        scene.nodes = 900
        scene.limitsBest = false
        play(scene, seed: seed, steps: 8000, exact: true, checksEvery: 500)
    }

    @Test("with hundreds of nodes a place is found exactly when there is one", arguments: 0..<6)
    func manyNodes(seed: Int) {
        var scene = Scene(seed: seed)
        scene.unit = 4096
        scene.start = 4096
        scene.size = 4096 * 1500
        scene.greatestSize = 8
        scene.greatestAlignment = 1 << 16
        scene.coloring = seed % 2 == 0
        scene.nodes = 400
        play(scene, seed: seed, steps: 2000, exact: false)
    }

    private func play(_ scene: Scene, seed: Int, steps: Int, exact: Bool, checksEvery: Int = 50) {
        var random = RandomSource(seed: 0xa110c + UInt64(seed))
        let fixture = RangeFixture(
            start: scene.start, size: scene.size, unit: scene.unit, coloring: scene.coloring, nodes: scene.nodes)
        var naive = NaiveRanges(
            start: fixture.start, end: fixture.end, unit: scene.unit, coloring: scene.coloring)
        var growing = true
        for step in 0..<steps {
            if random.next(below: 60) == 0 { growing.toggle() }
            let number = random.next(below: scene.nodes)
            if fixture.nodes[number].isAllocated {
                if growing && random.next(below: 3) != 0 { continue }
                fixture.remove(number)
                naive.remove(number)
            } else if random.next(below: 4) == 0 {
                reserve(number, fixture, &naive, scene, &random)
            } else {
                insert(number, fixture, &naive, scene, &random, exact: exact)
            }
            if step % checksEvery == 0 { compare(fixture, naive, scene, &random) }
        }
        compare(fixture, naive, scene, &random)
    }

    private func insert(
        _ number: Int, _ fixture: RangeFixture, _ naive: inout NaiveRanges, _ scene: Scene,
        _ random: inout RandomSource, exact: Bool
    ) {
        let size = scene.unit * UInt64(1 + random.next(below: 1 + random.next(below: scene.greatestSize)))
        let alignment = UInt64(1) << UInt64(random.next(below: scene.greatestAlignment.trailingZeroBitCount + 1))
        let color = UInt32(random.next(below: 3))
        let placement = [Placement.best, .low, .high][random.next(below: 3)]
        var lowest: UInt64 = 0
        var limit = UInt64.max
        if random.next(below: 2) == 0 && (placement != .best || scene.limitsBest) {
            let one = address(scene, &random)
            let other = address(scene, &random)
            lowest = min(one, other)
            limit = max(one, other)
        }
        let found = fixture.insert(
            number, size: size, alignment: alignment, color: color, placement, from: lowest, to: limit)
        if placement == .best { naive.startBirths() }
        let expected = naive.find(
            size: size, alignment: alignment, color: color, placement: placement, from: lowest, to: limit)
        if exact {
            precondition(found == expected, "\(placement) \(size) at \(alignment) in \(lowest)..<\(limit)")
        } else {
            precondition((found == nil) == (expected == nil))
        }
        guard let found else { return }
        precondition(found % alignment == 0 && found >= lowest && found + size <= limit)
        precondition(naive.canReserve(start: found, size: size, color: color))
        naive.add(number, start: found, size: size, color: color)
    }

    private func reserve(
        _ number: Int, _ fixture: RangeFixture, _ naive: inout NaiveRanges, _ scene: Scene,
        _ random: inout RandomSource
    ) {
        let start = address(scene, &random)
        let size = scene.unit * UInt64(1 + random.next(below: scene.greatestSize))
        let color = UInt32(random.next(below: 3))
        let done = fixture.reserve(number, at: start, size: size, color: color)
        precondition(done == naive.canReserve(start: start, size: size, color: color))
        if done { naive.add(number, start: start, size: size, color: color) }
    }

    /// Mostly in the space, sometimes a little beside it.
    private func address(_ scene: Scene, _ random: inout RandomSource) -> UInt64 {
        let units = Int(scene.size / scene.unit)
        let offset = scene.unit * UInt64(random.next(below: units + 3))
        let (address, overflow) = scene.start.addingReportingOverflow(offset)
        return overflow ? .max : address
    }

    private func compare(
        _ fixture: RangeFixture, _ naive: NaiveRanges, _ scene: Scene, _ random: inout RandomSource
    ) {
        fixture.allocator.checkInvariants()
        precondition(fixture.overlaps(0, .max) == naive.ranges.map(\.number))
        precondition(fixture.allocator.allocatedBytes == UInt64(naive.ranges.reduce(0) { $0 + $1.end - $1.start }))
        for _ in 0..<5 {
            let address = address(scene, &random)
            let reaching = naive.ranges.first { $0.end > UInt128(address) }
            let found = fixture.allocator.firstNode(endingAfter: address)
            precondition(found == reaching.map { fixture.nodes + $0.number })
            let owner = reaching.flatMap { $0.start <= UInt128(address) ? $0 : nil }
            precondition(fixture.allocator.node(containing: address) == owner.map { fixture.nodes + $0.number })
        }
    }
}
