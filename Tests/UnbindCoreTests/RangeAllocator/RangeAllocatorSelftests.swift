import Testing

@testable import UnbindCore

// The kernel's selftests of address ranges, by what they do: i915_gem_gtt (drunk, walk, pot, fill, reserve, insert) and
// drm_mm; its scans for what to evict are in EvictionScanTests.

private let page: UInt64 = 4096

private func primes(upTo limit: UInt64) -> [UInt64] {
    (2...limit).filter { candidate in !(2..<candidate).contains { $0 * $0 <= candidate && candidate % $0 == 0 } }
}

@Suite struct RangeAllocatorGTTSelftests {
    @Test("selftest 22 drunk: ranges of every power of two, taken in one random order and given back in another")
    func drunk() {
        var random = RandomSource(seed: 22)
        for shift in UInt64(12)..<48 {
            let size = UInt64(1) << shift
            let count = min(256, Int((UInt64(1) << 48) >> shift) - 1)
            let fixture = RangeFixture(start: size, size: UInt64(count) * size, nodes: count)
            for slot in random.shuffled(0..<count) {
                let address = size * UInt64(slot + 1)
                #expect(fixture.reserve(slot, at: address, size: size))
                #expect(fixture.allocator.node(containing: address + size - 1) == fixture.nodes + slot)
            }
            #expect(fixture.insertError(size: 1, alignment: 1) == .noSpace)
            fixture.allocator.checkInvariants()
            fixture.removeAll(random.shuffled(0..<count))
        }
    }

    @Test("selftest 23 walk: one range moves across the space in steps of a prime")
    func walk() {
        for prime in primes(upTo: 60) {
            let size = prime * page
            let fixture = RangeFixture(size: 1 << 32, nodes: 1)
            var address: UInt64 = 0
            while address + size <= fixture.end {
                precondition(fixture.reserve(0, at: address, size: size))
                precondition(fixture.overlaps(0, .max) == [0])
                fixture.remove(0)
                address += prime << 20
            }
            #expect(fixture.allocator.count == 0)
        }
    }

    @Test("selftest 24 pot: two pages across each boundary that is a power of two")
    func powersOfTwo() {
        let fixture = RangeFixture(size: 1 << 48, nodes: 48)
        for shift in 13..<48 {
            let boundary = UInt64(1) << UInt64(shift)
            #expect(fixture.reserve(shift, at: boundary - page, size: page * (shift == 13 ? 1 : 2)))
            #expect(fixture.allocator.node(containing: boundary - 1) == fixture.nodes + shift)
        }
        fixture.allocator.checkInvariants()
        fixture.removeAll((13..<48).reversed())
    }

    @Test("selftest 25 fill: ranges of the powers of a prime, packed from the bottom and from the top")
    func fill() {
        for prime in primes(upTo: 20) {
            let sizes = sequence(first: page) { $0 * prime }.prefix { $0 < 1 << 40 }.map { $0 }
            let total = sizes.reduce(0, +)
            let fixture = RangeFixture(start: page, size: total, nodes: sizes.count)
            for placement in [Placement.low, .high] {
                for reversed in [false, true] {
                    let order = reversed ? Array(sizes.indices.reversed()) : Array(sizes.indices)
                    var bottom = fixture.start
                    var top = fixture.end
                    for number in order {
                        top -= sizes[number]
                        let expected = placement == .low ? bottom : top
                        #expect(fixture.insert(number, size: sizes[number], alignment: page, placement) == expected)
                        bottom += sizes[number]
                    }
                    #expect(fixture.allocator.allocatedBytes == total)
                    #expect(fixture.insertError(size: 1, alignment: 1) == .noSpace)
                    fixture.allocator.checkInvariants()
                    fixture.removeAll(order)
                }
            }
        }
    }

    @Test("selftest 31 reserve: a range put over two others takes its exact place once both have gone")
    func reserve() {
        let slots = 200
        let fixture = RangeFixture(size: UInt64(slots) * 2 * page, nodes: 2 * slots)
        for slot in 0..<slots { #expect(fixture.reserve(slot, at: UInt64(slot) * 2 * page, size: 2 * page)) }
        for slot in 0..<(slots - 1) {
            let address = UInt64(slot) * 2 * page + page
            #expect(!fixture.reserve(slots + slot, at: address, size: 2 * page))
            // After the first, the lower one of the two is the range put there before it.
            let victims = fixture.overlaps(address, address + 2 * page)
            #expect(victims.count == (slot == 0 ? 2 : 1))
            for victim in victims { fixture.remove(victim) }
            #expect(fixture.reserve(slots + slot, at: address, size: 2 * page))
        }
        fixture.allocator.checkInvariants()
        var random = RandomSource(seed: 31)
        for _ in 0..<2000 {
            let number = random.next(below: slots)
            let address = UInt64(random.next(below: 2 * slots - 1)) * page
            if fixture.nodes[number].isAllocated { fixture.remove(number) }
            for victim in fixture.overlaps(address, address + 2 * page) { fixture.remove(victim) }
            precondition(fixture.reserve(number, at: address, size: 2 * page))
        }
        fixture.allocator.checkInvariants()
    }

    @Test("selftest 32 insert: what cannot fit is refused; a full space gives a range that left its own place back")
    func insert() {
        let count = 128
        let total = UInt64(2 * count) * page
        let fixture = RangeFixture(start: page, size: total, nodes: count + 1)
        let impossible: [(UInt64, UInt64, UInt64, UInt64)] = [
            (total + page, page, 0, .max), (total << 1, page, 0, .max), (.max - page + 1, page, 0, .max),
            (page, 1 << 63, 0, .max), (2 * page, page, page, 2 * page),
        ]
        for request in impossible {
            #expect(
                fixture.insertError(size: request.0, alignment: request.1, from: request.2, to: request.3) == .noSpace)
        }
        var number = 0
        while let place = fixture.insert(number, size: 2 * page, alignment: page) {
            #expect(place == page + UInt64(number) * 2 * page)
            number += 1
        }
        #expect(number == count)
        var random = RandomSource(seed: 32)
        for number in random.shuffled(0..<count) {
            let place = fixture.nodes[number].start
            fixture.remove(number)
            #expect(fixture.insert(number, size: 2 * page, alignment: page) == place)
        }
        // Room is made by one that leaves.
        for number in random.shuffled(0..<count) {
            #expect(fixture.insert(count, size: 2 * page) == nil)
            fixture.remove(number)
            #expect(fixture.insert(count, size: 2 * page) != nil)
            fixture.remove(count)
            #expect(fixture.insert(number, size: 2 * page) != nil)
        }
        fixture.allocator.checkInvariants()
    }
}

@Suite struct RangeAllocatorMMSelftests {
    @Test("selftest 42, reserve: sizes around the powers of two, each in its place and nowhere else")
    func reserveBoundarySizes() {
        var random = RandomSource(seed: 42)
        for exponent in primes(upTo: 53) {
            let power = UInt64(1) << exponent
            for size in [power - 1, power, power + 1] {
                let count = 64
                let fixture = RangeFixture(size: UInt64(count) * size, nodes: count + 1)
                for slot in random.shuffled(0..<count) {
                    #expect(fixture.reserve(slot, at: UInt64(slot) * size, size: size))
                }
                let end = fixture.end
                let last = UInt64.max
                let half = end / 2
                let outside: [(UInt64, UInt64)] = [
                    (end, size), (end - 1, 2), (end, last), (0, end + 1), (last, 1), (last - size + 1, size), (1, last),
                    (last, last), (0, last), (half, last - half),
                ]
                for (start, size) in outside { #expect(!fixture.reserve(count, at: start, size: size)) }
                for slot in random.shuffled(0..<count) {
                    let start = UInt64(slot) * size
                    #expect(!fixture.reserve(count, at: start, size: size))
                    #expect(!fixture.reserve(count, at: start + size - 1, size: 1))
                    fixture.remove(slot)
                    #expect(fixture.reserve(slot, at: start, size: size))
                }
                // Several at a time out and in again, in another order.
                for group in primes(upTo: 13) {
                    let slots = random.shuffled(0..<count).prefix(Int(group))
                    for slot in slots { fixture.remove(slot) }
                    fixture.allocator.checkInvariants()
                    for slot in slots.reversed() {
                        #expect(fixture.reserve(slot, at: UInt64(slot) * size, size: size))
                    }
                }
                fixture.removeAll(random.shuffled(0..<count))
            }
        }
    }

    @Test("selftest 42, insert: a space is filled exactly, and what leaves finds its own hole again", arguments: 0..<3)
    func insertModes(mode: Int) {
        let placement = [Placement.best, .low, .high][mode]
        var random = RandomSource(seed: UInt64(mode))
        for size: UInt64 in [1, 2, 3, 31, 4096, 0xff_ffff_ffff, 0x100_0000_0001] {
            let count = 200
            let fixture = RangeFixture(size: size * UInt64(count), nodes: count + 1)
            for number in 0..<count {
                let expected = placement == .high ? fixture.end - UInt64(number + 1) * size : UInt64(number) * size
                #expect(fixture.insert(number, size: size, placement) == expected)
            }
            #expect(fixture.insert(count, size: 1, placement) == nil)
            for number in random.shuffled(0..<count) {
                let place = fixture.nodes[number].start
                fixture.remove(number)
                #expect(fixture.insert(number, size: size, placement) == place)
            }
            fixture.removeAll(random.shuffled(0..<count))
        }
    }

    @Test("selftest 42, insert in a range: all of it is used, nothing outside", arguments: 0..<3)
    func insertInRange(mode: Int) {
        let placement = [Placement.best, .low, .high][mode]
        let count = 120
        let size: UInt64 = 97
        let total = size * UInt64(count)
        let quarter = total / 4
        let ranges: [(UInt64, UInt64)] = [
            (0, total), (0, total / 2), (total / 2, total), (quarter, 3 * quarter), (quarter + 1, 3 * quarter - 1),
            (1, total), (0, total - 1),
        ]
        for (lowest, limit) in ranges {
            let fixture = RangeFixture(size: total, nodes: count + 1)
            var number = 0
            while let place = fixture.insert(number, size: size, placement, from: lowest, to: limit) {
                #expect(place >= lowest && place + size <= limit)
                number += 1
            }
            #expect(UInt64(number) == (limit - lowest) / size)
            #expect(fixture.overlaps(0, lowest) == [] && fixture.overlaps(limit, .max) == [])
            fixture.removeAll(0..<number)
        }
        let fixture = RangeFixture(start: 1000, size: 1000, nodes: 1)
        let outside: [(UInt64, UInt64)] = [(0, 1000), (0, 1001), (2000, 3000), (1999, .max), (0, 0), (.max, .max)]
        for (lowest, limit) in outside {
            #expect(fixture.insert(0, size: 2, placement, from: lowest, to: limit) == nil)
        }
    }

    @Test("selftest 42, align: every alignment that is a power of two, with a size one off it")
    func align() {
        for shift in UInt64(0)..<62 {
            let alignment = UInt64(1) << shift
            for size in [UInt64(1), alignment - 1, alignment, alignment + 1] where size > 0 {
                for placement in [Placement.best, .low, .high] {
                    let fixture = RangeFixture(start: 1, size: UInt64.max - 1, nodes: 2)
                    for number in 0..<2 {
                        let place = fixture.insert(number, size: size, alignment: alignment, placement)
                        #expect(place != nil && place! % alignment == 0)
                    }
                    fixture.allocator.checkInvariants()
                }
            }
        }
    }

    @Test("selftest 42, lowest and highest: ranges stack up without a hole from either end")
    func lowestAndHighest() {
        var random = RandomSource(seed: 7)
        let count = 300
        let fixture = RangeFixture(size: 1 << 48, nodes: count)
        var bottom: UInt64 = 0
        var top = fixture.end
        for number in 0..<count {
            let size = UInt64(1 + random.next(below: 1 << 20))
            if number % 2 == 0 {
                #expect(fixture.insert(number, size: size, .low) == bottom)
                bottom += size
            } else {
                top -= size
                #expect(fixture.insert(number, size: size, .high) == top)
            }
        }
        fixture.allocator.checkInvariants()
        fixture.removeAll(random.shuffled(0..<count))
    }

    @Test(
        "selftest 42, fragmentation: 20,000 small holes neither hide the big one nor are searched one by one",
        .timeLimit(.minutes(15)))
    func fragmentation() {
        for placement in [Placement.best, .low, .high] {
            let count = 20_000
            let fixture = RangeFixture(size: 1 << 40, nodes: 2 * count)
            for number in 0..<count { precondition(fixture.insert(number, size: page, .low) != nil) }
            for number in stride(from: 0, to: count, by: 2) { fixture.remove(number) }
            for number in count..<(2 * count) { precondition(fixture.insert(number, size: 2 * page, placement) != nil) }
            fixture.allocator.checkInvariants()
            #expect(fixture.allocator.count == count / 2 + count)
        }
    }
}
