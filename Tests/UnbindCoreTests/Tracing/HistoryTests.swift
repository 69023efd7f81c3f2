import CSystem
import Testing

@testable import UnbindCore

@Suite struct HistoryTests {
    @Test("the life of a mapping is told step by step")
    func steps() throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(memory: memory.pointer)
        func expect(_ address: UInt64, _ expected: RememberedMapping?, line: Int = #line) {
            #expect(history.lastMapping(covering: address) == expected, "line \(line)")
        }
        func mapping(_ id: UInt64, _ bound: UInt64, _ unbound: UInt64) -> RememberedMapping {
            RememberedMapping(boID: id, start: 0x1000, size: 0x2000, boundAt: bound, unboundAt: unbound)
        }
        func record(_ operation: HistoryOperation, _ id: UInt64, at time: UInt64) {
            history.record(operation, start: 0x1000, size: 0x2000, boID: id, time: time)
        }
        expect(0x1000, nil)
        record(.bindScheduled, 1, at: 10)
        expect(0x1000, mapping(1, 0, 0))
        record(.bound, 1, at: 20)
        for address in [0x1000, 0x2FFF] as [UInt64] { expect(address, mapping(1, 20, 0)) }
        for address in [0, 0xFFF, 0x3000, .max] as [UInt64] { expect(address, nil) }
        record(.unbindScheduled, 1, at: 30)
        expect(0x1000, mapping(1, 20, 30))
        // The next one is scheduled before the unbind is through: the first is still what was last mapped.
        record(.bindScheduled, 2, at: 40)
        expect(0x1000, mapping(1, 20, 30))
        record(.unbindStarted, 1, at: 50)
        record(.unbindCompleted, 1, at: 60)
        expect(0x1000, mapping(1, 20, 30))
        record(.bound, 2, at: 70)
        expect(0x1000, mapping(2, 70, 0))
        // The same again, at the same place.
        record(.unbindScheduled, 2, at: 80)
        record(.unbindCompleted, 2, at: 90)
        record(.bound, 2, at: 100)
        expect(0x1000, mapping(2, 100, 0))
        history.free()
    }

    @Test("a mapping that goes with its neighbours has gone")
    func goesWithNeighbours() throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(memory: memory.pointer)
        for page in 0..<4 as Range<UInt64> {
            history.record(.bound, start: page << 12, size: 0x1000, boID: 1, time: 10 + page)
        }
        // Not its buffer; not all of it.
        history.record(.unbindCompleted, start: 0x1000, size: 0x2000, boID: 2, time: 20)
        history.record(.unbindCompleted, start: 0x1800, size: 0x2000, boID: 1, time: 21)
        #expect(history.lastMapping(covering: 0x1000)?.unboundAt == 0)
        history.record(.unbindCompleted, start: 0x1000, size: 0x3000, boID: 1, time: 30)
        #expect(history.lastMapping(covering: 0)?.unboundAt == 0)
        for page in 1..<4 as Range<UInt64> {
            let expected = RememberedMapping(
                boID: 1, start: page << 12, size: 0x1000, boundAt: 10 + page, unboundAt: page == 2 ? 21 : 30)
            #expect(history.lastMapping(covering: page << 12) == expected)
        }
        history.free()
    }

    @Test("ranges end where they end, at the end of the address space too")
    func boundaries() throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(capacity: 8, memory: memory.pointer)
        history.record(.bound, start: 0, size: 0, boID: 1, time: 1)
        #expect(history.lastMapping(covering: 0) == nil)
        history.record(.bound, start: .max - 0xFFF, size: 0x1000, boID: 2, time: 2)
        #expect(history.lastMapping(covering: .max)?.boID == 2)
        #expect(history.lastMapping(covering: 0) == nil)
        history.record(.bound, start: 0, size: .max, boID: 3, time: 3)
        #expect(history.lastMapping(covering: 0)?.boID == 3)
        #expect(history.lastMapping(covering: .max)?.boID == 2)
        history.free()
    }

    @Test("what has left the ring is forgotten, and an unbind is told without its binding")
    func wrapping() throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(capacity: 4, memory: memory.pointer)
        history.record(.bound, start: 0x1000, size: 0x1000, boID: 1, time: 1)
        history.record(.unbindScheduled, start: 0x1000, size: 0x1000, boID: 1, time: 2)
        history.record(.unbindStarted, start: 0x1000, size: 0x1000, boID: 1, time: 3)
        history.record(.unbindCompleted, start: 0x1000, size: 0x1000, boID: 1, time: 4)
        let expected: [(bound: UInt64, unbound: UInt64)?] = [(1, 2), (0, 2), (0, 3), (0, 4), nil]
        for (index, expected) in expected.enumerated() {
            let found = history.lastMapping(covering: 0x1800)
            #expect(found?.boundAt == expected?.bound && found?.unboundAt == expected?.unbound, "after \(index)")
            history.record(.bound, start: 0x8000, size: 0x1000, boID: 9, time: 10)
        }
        history.free()
    }

    @Test("the latest mapping agrees with a naive model of the bindings", arguments: 0..<50 as Range<UInt64>)
    func agreesWithModel(seed: UInt64) throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(capacity: 200, memory: memory.pointer)
        var random = RandomSource(seed: seed)
        var live: [RememberedMapping] = []
        // Per page: what was bound there last. 200 records: nothing is forgotten.
        var pages = [RememberedMapping?](repeating: nil, count: 32)
        for time in 1...200 as ClosedRange<UInt64> {
            if random.next(below: 2) == 0, !live.isEmpty {
                var mapping = live.remove(at: random.next(below: live.count))
                history.record(
                    .unbindScheduled, start: mapping.start, size: mapping.size, boID: mapping.boID, time: time)
                mapping.unboundAt = time
                for page in mapping.start..<mapping.start + mapping.size { pages[Int(page)] = mapping }
            } else {
                let start = UInt64(random.next(below: 30))
                let size = UInt64(1 + random.next(below: 32 - Int(start)))
                if live.contains(where: { $0.start < start + size && start < $0.start + $0.size }) { continue }
                let mapping = RememberedMapping(
                    boID: UInt64(random.next(below: 3)), start: start, size: size, boundAt: time, unboundAt: 0)
                history.record(.bound, start: start, size: size, boID: mapping.boID, time: time)
                live.append(mapping)
                for page in start..<start + size { pages[Int(page)] = mapping }
            }
            for (page, expected) in pages.enumerated() {
                #expect(history.lastMapping(covering: UInt64(page)) == expected)
            }
        }
        history.free()
    }

    @Test("recent records come newest first, up to the limit, while others are made")
    func recent() throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(capacity: 50, memory: memory.pointer)
        func times(_ limit: Int, _ each: () -> Void = {}) -> [UInt64] {
            var times: [UInt64] = []
            history.forEachRecent(limit: limit) {
                times.append($0.time)
                each()
            }
            return times
        }
        #expect(times(10).isEmpty)
        for time in 1...7 as ClosedRange<UInt64> { history.record(.bound, start: 0, size: 1, boID: 0, time: time) }
        #expect(times(10) == [7, 6, 5, 4, 3, 2, 1] && times(3) == [7, 6, 5] && times(0).isEmpty)
        for time in 8...120 as ClosedRange<UInt64> { history.record(.bound, start: 0, size: 1, boID: 0, time: time) }
        #expect(times(.max) == (71...120).reversed())
        // Each record seen makes one: the first 16 were copied, 16 of the oldest are gone by then, and so on.
        let seen = times(.max) { history.record(.bound, start: 0, size: 1, boID: 0, time: 1000) }
        #expect(seen == (95...120).reversed() || seen == (89...120).reversed())
        history.free()
    }

    @Test("records of an address come newest first, however the ring has wrapped", arguments: [1, 7, 100, 600])
    func covering(capacity: Int) throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(capacity: capacity, memory: memory.pointer)
        var random = RandomSource(seed: UInt64(capacity))
        var all: [(start: UInt64, size: UInt64)] = []
        for time in 0..<1500 as Range<UInt64> {
            let start = random.next(below: 8) == 0 ? UInt64.max - 3 : UInt64(random.next(below: 60))
            let size = UInt64(1 + random.next(below: 4))
            history.record(.bound, start: start, size: size, boID: time, time: time)
            all.append((start, size))
            if time % 97 != 0 { continue }
            for address in [0, 1, 30, 62, 63, .max - 3, .max] as [UInt64] {
                var found: [UInt64] = []
                history.forEachRecent(covering: address) { found.append($0.boID) }
                let kept = all.indices.suffix(capacity).reversed()
                let expected = kept.filter { address >= all[$0].start && address - all[$0].start < all[$0].size }
                #expect(found == expected.map(UInt64.init), "address \(address) after \(time)")
            }
        }
        history.free()
    }

    @Test("a history that remembers nothing takes records and has none")
    func none() throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(capacity: 0, memory: memory.pointer)
        for time in 0..<10 as Range<UInt64> {
            history.record(.bound, start: 0, size: .max, boID: 1, time: time)
            #expect(history.lastMapping(covering: 5) == nil)
            history.forEachRecent(covering: 5) { _ in Issue.record("it remembers") }
            history.forEachRecent(limit: 5) { _ in Issue.record("it remembers") }
        }
        history.free()
    }

    @Test("records are made by several threads while others look")
    func threads() throws {
        let memory = TestMemory()
        let history = try HistoryPointer.make(capacity: 64, memory: memory.pointer)
        let threads = (0..<4 as Range<UInt64>).map { thread in
            TestThread {
                for time in 1...500 as ClosedRange<UInt64> {
                    history.record(.bound, start: thread, size: 1, boID: thread, time: time)
                    if let last = history.lastMapping(covering: thread) { #expect(last.boundAt == time) }
                    if time % 50 == 0 {
                        history.forEachRecent(limit: 100) { #expect($0.start == $0.boID && $0.time > 0) }
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        history.free()
    }

    @Test("creation without memory fails and leaves nothing behind")
    func noMemory() {
        for successes in 0..<2 {
            let left = UnsafeMutablePointer<Int>.allocate(capacity: 1)
            let memory = UnsafeMutablePointer<Memory>.allocate(capacity: 1)
            left.initialize(to: successes)
            memory.initialize(
                to: Memory(
                    userData: left,
                    allocate: { left, size, alignment in
                        let left = left!.assumingMemoryBound(to: Int.self)
                        left.pointee -= 1
                        return left.pointee < 0 ? nil : mallocAllocate(nil, size, alignment)
                    }))
            #expect(status { () throws(Status) in _ = try HistoryPointer.make(memory: memory) } == .noMemory)
            #expect(memory.pointee.bytes.load(ordering: .relaxed) == 0)
            memory.deinitialize(count: 1)
            memory.deallocate()
            left.deallocate()
        }
    }
}
