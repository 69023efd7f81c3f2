import Synchronization
import Testing

@testable import UnbindCore

@Suite struct CommandTests {
    private static let skews: [UInt64] = [0, 0x1000, 0x1_0000, 0x1_1000]

    @Test("copy and fill reach every byte across pages of all sizes, and no other", arguments: 0..<8)
    func copiesAndFills(kind: Int) {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 7, timeline: 3)
        let size = 4 << 20
        let skew = CommandTests.skews[kind % 4]
        let source = test.block(size + 0x2_0000, seed: 3) + skew
        let target = kind < 4 ? test.block(size + 0x2_0000) : test.gpu.pointee.localBase
        let physical = kind < 4 ? target : 0
        var random = RandomSource(seed: UInt64(kind))
        let bindings = [
            test.bind(space, at: 0x1F_F000, size: UInt64(size), to: source, readOnly: true),
            test.bind(space, at: 0x4000_0000 - 0x1_0000, size: UInt64(size), to: physical, local: kind >= 4),
        ]
        for _ in 0..<12 {
            let count = random.next(below: size - 1) / (1 + random.next(below: 400)) + 1
            let (from, to) = (random.next(below: size - count), random.next(below: size - count))
            let before = bytes(target, size)
            var expected = before
            if random.next(below: 3) > 0 {
                let copy = Command(
                    kind: .copy, address: 0x4000_0000 - 0x1_0000 + UInt64(to), source: 0x1F_F000 + UInt64(from),
                    size: UInt64(count))
                #expect(test.runJob(engine, [copy]) == 0)
                expected.replaceSubrange(to..<to + count, with: bytes(source + UInt64(from), count))
            } else {
                let (start, words) = (to & ~3, count / 4 + 1)
                let pattern: UInt32 = random.next(below: 2) == 0 ? 0x0102_0304 : 0x5A5A_5A5A
                let fill = Command(
                    kind: .fill, address: 0x4000_0000 - 0x1_0000 + UInt64(start), size: UInt64(words) * 4,
                    value: UInt64(pattern))
                let fits = start + words * 4 <= size
                #expect(test.runJob(engine, [fill]) == (fits ? 0 : Status.fault.raw))
                for index in start..<min(start + words * 4, size) {
                    expected[index] = UInt8(truncatingIfNeeded: pattern >> (8 * (index % 4)))
                }
            }
            #expect(bytes(target, size) == expected)
        }
        for binding in bindings { test.unbind(space, binding) }
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("store and load move 64 bits, and load delivers before the fence signals")
    func storesAndLoads() {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let block = test.block(0x2000)
        let binding = test.bind(space, at: 0x1000, size: 0x2000, to: block)
        let result = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
        result.pointee = 0
        let commands = [
            Command(kind: .store, address: 0x1FF8, value: 0x1122_3344_5566_7788),
            Command(kind: .copy, address: 0x2FF8, source: 0x1FF8, size: 8),
            Command(kind: .load, address: 0x2FF8, result: result),
        ]
        #expect(test.runJob(engine, commands) == 0)
        #expect(result.pointee == 0x1122_3344_5566_7788)
        result.deallocate()
        test.unbind(space, binding)
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("an unmapped page in the middle ends the job at its first byte, and the queue goes on")
    func unmappedMiddle() {
        let test = TestGPU()
        let space = test.space(id: 9)
        let engine = try! test.gpu.makeEngine(space: space, id: 4, timeline: 1)
        let block = test.block(0x3000)
        let first = test.bind(space, at: 0x1000, size: 0x1000, to: block)
        let last = test.bind(space, at: 0x3000, size: 0x1000, to: block + 0x2000)
        let untouched = bytes(block + 0x2000, 0x1000)
        let fills = [
            Command(kind: .delay),
            Command(kind: .fill, address: 0x1800, size: 0x2000, value: 0),
            Command(kind: .fill, address: 0x1000, size: 4, value: 0xFFFF_FFFF),
        ]
        let bad = test.submit(engine, fills)
        let good = test.submit(engine, [Command(kind: .store, address: 0x1000, value: 5)])
        test.run()
        #expect(bad.error == Status.fault.raw && good.isSignalled && good.error == 0)
        #expect(bytes(block + 0x800, 0x800).allSatisfy { $0 == 0 })
        #expect(bytes(block + 0x2000, 0x1000) == untouched)
        #expect(test.faults.count == 1)
        let fault = test.faults[0]
        #expect(fault.kind == .unmapped && fault.access == .write && fault.address == 0x2000)
        #expect(fault.engineID == 4 && fault.spaceID == 9 && fault.jobSeqno == 1 && fault.commandIndex == 1)
        #expect(test.gpu.pointee.counters.faults.load(ordering: .relaxed) == 1)
        #expect(test.gpu.pointee.counters.jobs.load(ordering: .relaxed) == 2)
        #expect(test.gpu.pointee.counters.commands.load(ordering: .relaxed) == 2)
        for fence in [bad, good] { fence.drop() }
        for binding in [first, last] { test.unbind(space, binding) }
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("addresses outside every page fault, up to the end of 64 bits")
    func outside() {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let block = test.block(0x1000)
        let binding = test.bind(space, at: 0xFFFF_FFFF_F000, size: 0x1000, to: block)
        for address in [0, 0xFFFF_FFFF_EFF8, 1 << 48, 1 << 63, UInt64.max - 7] {
            #expect(test.runJob(engine, [Command(kind: .store, address: address)]) == Status.fault.raw)
            #expect(test.faults.last?.address == address)
        }
        #expect(test.runJob(engine, [Command(kind: .fill, address: 0xFFFF_FFFF_FFFC, size: 8)]) == Status.fault.raw)
        #expect(test.faults.last?.address == 1 << 48)
        test.unbind(space, binding)
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("a write to a read-only page faults, a read of it does not")
    func readOnly() {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let block = test.block(0x2000)
        let bindings = [
            test.bind(space, at: 0, size: 0x1000, to: block),
            test.bind(space, at: 0x1000, size: 0x1000, to: block + 0x1000, readOnly: true),
        ]
        let before = bytes(block + 0x1000, 0x1000)
        #expect(test.runJob(engine, [Command(kind: .copy, address: 0, source: 0x1000, size: 0x1000)]) == 0)
        let write = Command(kind: .fill, address: 0xF00, size: 0x200)
        #expect(test.runJob(engine, [write]) == Status.fault.raw)
        #expect(test.faults.last?.kind == .readOnly && test.faults.last?.address == 0x1000)
        #expect(bytes(block + 0x1000, 0x1000) == before)
        for binding in bindings { test.unbind(space, binding) }
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("a translation used after its unbind and before the invalidation is stale; after it the page is unmapped")
    func stale() {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let block = test.block(0x20_0000)
        let store = Command(kind: .store, address: 0x20_0000, value: 42)
        for size in [PageSize.small, PageSize.medium, PageSize.large] {
            let binding = test.bind(space, at: 0x20_0000, size: size, to: block)
            #expect(test.runJob(engine, [store]) == 0)
            _ = space.clear(binding)
            let before = bytes(block, 8)
            let other = Command(kind: .store, address: 0x20_0000, value: 43)
            #expect(test.runJob(engine, [other]) == Status.fault.raw)
            #expect(test.faults.last?.kind == .stale && bytes(block, 8) == before)
            // Mapped anew without an invalidation: still the wrong translation.
            let second = test.bind(space, at: 0x20_0000, size: 0x1000, to: block + 0x1000)
            #expect(test.runJob(engine, [other]) == Status.fault.raw)
            #expect(test.faults.last?.kind == .stale)
            test.gpu.invalidate(space, start: 0x20_0000, size: size)
            space.freeRetired()
            #expect(test.runJob(engine, [other]) == 0)
            test.unbind(space, second)
            #expect(test.runJob(engine, [other]) == Status.fault.raw)
            #expect(test.faults.last?.kind == .unmapped)
        }
        #expect(test.gpu.totals.invalidations == 6)
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("hits and misses are counted, and an invalidation is of one space and range")
    func invalidationScope() {
        let test = TestGPU()
        let spaces = [test.space(id: 1), test.space(id: 2)]
        let engines = spaces.map { try! test.gpu.makeEngine(space: $0, id: $0.pointee.id, timeline: $0.pointee.id) }
        let block = test.block(0x2000)
        let bindings = spaces.map { test.bind($0, at: 0, size: 0x2000, to: block) }
        let touch = [Command(kind: .store, address: 0), Command(kind: .store, address: 0x1000)]
        for engine in engines { #expect(test.runJob(engine, touch + touch) == 0) }
        let counters = test.gpu
        #expect(counters.pointee.counters.tlbMisses.load(ordering: .relaxed) == 4)
        #expect(counters.pointee.counters.tlbHits.load(ordering: .relaxed) == 4)
        test.gpu.invalidate(spaces[0], start: 0x1000, size: 0x1000)
        for engine in engines { #expect(test.runJob(engine, touch) == 0) }
        #expect(counters.pointee.counters.tlbMisses.load(ordering: .relaxed) == 5)
        #expect(counters.pointee.counters.tlbHits.load(ordering: .relaxed) == 7)
        for (space, binding) in zip(spaces, bindings) { test.unbind(space, binding) }
        for engine in engines { engine.free() }
        for space in spaces { test.gpu.freeSpace(space) }
    }
}
