import Synchronization
import Testing

@testable import UnbindCore

private let page: UInt64 = 4096

/// Answers so many allocations, then none.
private final class Allowance {
    var left = 0

    var memory: Memory {
        Memory(
            userData: Unmanaged.passUnretained(self).toOpaque(),
            allocate: { userData, size, alignment in
                let allowance = Unmanaged<Allowance>.fromOpaque(userData!).takeUnretainedValue()
                if allowance.left == 0 { return nil }
                allowance.left -= 1
                return mallocAllocate(nil, size, alignment)
            }, deallocate: mallocDeallocate)
    }
}

@Suite struct RangeIndexTests {
    @Test("ranges that follow each other go together as they go one by one", arguments: 0..<24)
    func runs(seed: Int) {
        let count = 1200
        let fixture = RangeFixture(size: UInt64(count) * 2 * page, unit: page, nodes: count)
        var random = RandomSource(seed: UInt64(seed) &* 77 &+ 5)
        // With holes between them, without, and with some; and with an allocator that knows holes by size.
        let step: UInt64 = seed % 3 == 0 ? 2 : 1
        if seed % 2 == 0 {
            fixture.insert(0, size: page)
            fixture.remove(0)
        }
        var taken = [Bool](repeating: false, count: count)
        for _ in 0..<60 {
            for number in random.shuffled(0..<count) where !taken[number] && random.next(below: 3) != 0 {
                precondition(fixture.reserve(number, at: UInt64(number) * step * page, size: page))
                taken[number] = true
            }
            for _ in 0..<random.next(below: 6) + 1 {
                let present = (0..<count).filter { taken[$0] }
                if present.isEmpty { break }
                let first = random.next(below: present.count)
                let most = random.next(below: 4) == 0 ? present.count : 40
                let length = random.next(below: min(most, present.count - first)) + 1
                fixture.allocator.removeRun(from: fixture.nodes + present[first], count: length)
                for number in present[first..<(first + length)] {
                    taken[number] = false
                    #expect(!fixture.nodes[number].isAllocated)
                }
                fixture.allocator.checkInvariants()
            }
            let present = (0..<count).filter { taken[$0] }
            #expect(fixture.overlaps(0, .max) == present)
            #expect(fixture.allocator.allocatedBytes == UInt64(present.count) * page)
            // The bounds know the hole that came to be.
            let hole = (0..<count).first { !taken[$0] }
            if step == 1, let hole { #expect(fixture.allocator.freePlace(for: page, .low) == UInt64(hole) * page) }
        }
        fixture.removeAll((0..<count).filter { taken[$0] })
    }

    @Test("patterns that are hard on a tree leave it in order, and all its memory comes back", arguments: 0..<6)
    func hostilePatterns(pattern: Int) {
        let count = 5000
        let fixture = RangeFixture(size: UInt64(count) * 2 * page, unit: page, nodes: count)
        var random = RandomSource(seed: UInt64(pattern))
        let ascending = Array(0..<count)
        let order: [Int] =
            switch pattern {
            case 0: ascending
            case 1: ascending.reversed()
            // From both ends to the middle, and from the middle to both ends.
            case 2: ascending.map { $0 % 2 == 0 ? $0 / 2 : count - 1 - $0 / 2 }
            case 3: ascending.map { count / 2 + ($0 % 2 == 0 ? $0 / 2 : -1 - $0 / 2) }
            // Every seventeenth.
            case 4: ascending.map { $0 * 17 % count }
            default: random.shuffled(0..<count)
            }
        for (step, number) in order.enumerated() {
            precondition(fixture.reserve(number, at: UInt64(number) * 2 * page, size: page))
            if step % 500 == 0 { fixture.allocator.checkInvariants() }
        }
        // A leaf is at least a quarter full, whatever was done to it, and a branch has ten children or so.
        #expect(fixture.cache.liveCount < count / 4)
        fixture.allocator.checkInvariants()
        for removal in [order, order.reversed(), random.shuffled(0..<count)] {
            for (step, number) in removal.enumerated() {
                fixture.remove(number)
                if step % 500 == 0 { fixture.allocator.checkInvariants() }
            }
            #expect(fixture.cache.liveCount == 0)
            for number in order {
                precondition(fixture.reserve(number, at: UInt64(number) * 2 * page, size: page))
            }
        }
        fixture.removeAll(order)
    }

    @Test("ranges that are packed upwards or downwards fill the leaves", arguments: [Placement.low, .high, .best])
    func packing(placement: Placement) {
        let count = 4096
        let fixture = RangeFixture(size: UInt64(count) * page, unit: page, nodes: count)
        for number in 0..<count { precondition(fixture.insert(number, size: page, placement) != nil) }
        fixture.allocator.checkInvariants()
        #expect(fixture.cache.liveCount < count / 13)
        fixture.removeAll(0..<count)
    }

    @Test("when most ranges go, so does most of the memory")
    func shrinking() {
        let count = 10_000
        let fixture = RangeFixture(size: UInt64(count) * page, unit: page, nodes: count)
        for number in 0..<count { precondition(fixture.insert(number, size: page, .low) != nil) }
        var random = RandomSource(seed: 3)
        let order = random.shuffled(0..<count)
        for number in order.dropLast(100) { fixture.remove(number) }
        fixture.allocator.checkInvariants()
        #expect(fixture.cache.liveCount < 60)
        fixture.removeAll(order.suffix(100))
    }

    @Test("without memory an insertion fails and changes nothing, and removal needs none", arguments: 0..<20)
    func outOfMemory(seed: Int) {
        let allowance = Allowance()
        let count = 1500
        let fixture = RangeFixture(
            size: UInt64(count) * 4 * page, unit: page, nodes: count, memory: allowance.memory, uncached: true)
        var random = RandomSource(seed: UInt64(seed))
        var taken: [Int] = []
        var failures = 0
        for number in 0..<count {
            let placement = [Placement.best, .low, .high][(number + seed) % 3]
            // Small ranges far apart split leaves in the middle.
            let start = UInt64(random.next(below: 4 * count)) * page
            while true {
                do throws(Status) {
                    if seed % 2 == 0 {
                        try fixture.allocator.insert(
                            fixture.nodes + number, size: page, alignment: page, color: 0, placement: placement,
                            from: start, to: .max)
                    } else {
                        try fixture.allocator.reserve(fixture.nodes + number, start: start, size: page, color: 0)
                    }
                    taken.append(number)
                } catch {
                    if error == .noMemory {
                        failures += 1
                        precondition(!fixture.nodes[number].isAllocated && fixture.allocator.count == taken.count)
                        if failures % 16 == 0 { fixture.allocator.checkInvariants() }
                        // One more than last time, so that each of the allocations of a deep split fails once.
                        allowance.left = failures % 4
                        continue
                    }
                    precondition(error == .noSpace)
                }
                break
            }
            allowance.left = 0
        }
        #expect(failures > 20)
        fixture.allocator.checkInvariants()
        let order = random.shuffled(0..<taken.count).map { taken[$0] }
        fixture.removeAll(order)
        #expect(fixture.memory.pointee.bytes.load(ordering: .relaxed) == 0)
    }
}

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    fileprivate func freePlace(for size: UInt64, _ placement: Placement) -> UInt64? {
        let request = RangeRequest(
            size: size, alignment: 1, color: 0, start: pointee.start, end: pointee.end, fromTop: placement == .high)
        return freePlace(for: request, placement: placement)
    }
}
