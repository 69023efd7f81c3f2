import CSystem
import Glibc
import Synchronization
import Testing

@testable import UnbindCore

/// A cache of objects of 24 bytes, with its memory.
private final class SlabFixture: @unchecked Sendable {
    let memory = TestMemory()
    let cache = UnsafeMutablePointer<SlabCache>.allocate(capacity: 1)

    init(uncached: Bool = false) {
        cache.initialize(to: SlabCache(for: (Int, Int, Int).self, memory: memory.pointer, uncached: uncached))
    }

    deinit {
        cache.dispose()
        cache.deinitialize(count: 1)
        cache.deallocate()
    }

    /// Takes and gives at random, and looks whether anybody else has written to what it has.
    func churn(seed: UInt64, steps: Int) {
        var random = RandomSource(seed: seed)
        var objects: [UnsafeMutablePointer<UInt64>] = []
        for step in 0..<steps {
            if objects.isEmpty || (objects.count < 100 && random.next(below: 2) == 0) {
                let object = cache.take()!.bindMemory(to: UInt64.self, capacity: 3)
                for word in 0..<3 { object[word] = seed &* 1_000_003 &+ UInt64(step) }
                objects.append(object)
            } else {
                let object = objects.remove(at: random.next(below: objects.count))
                #expect(object[0] == object[1] && object[1] == object[2])
                cache.give(object)
            }
        }
        for object in objects { cache.give(object) }
    }
}

@Suite struct SlabCacheTests {
    @Test("more threads than there are stripes never have one object at a time", arguments: [false, true])
    func manyThreads(uncached: Bool) {
        let fixture = SlabFixture(uncached: uncached)
        let threads = (1...20).map { seed in
            TestThread { fixture.churn(seed: UInt64(seed), steps: isSanitized ? 2000 : 20000) }
        }
        for thread in threads { thread.join() }
        #expect(fixture.cache.liveCount == 0)
        #expect(fixture.cache.takenCount >= 20 * 1000)
    }

    @Test("what other threads took may be given back by one that takes nothing")
    func givenElsewhere() {
        let fixture = SlabFixture()
        nonisolated(unsafe) var objects: [UnsafeMutableRawPointer] = []
        let taker = TestThread { objects = (0..<1000).map { _ in fixture.cache.take()! } }
        taker.join()
        #expect(Set(objects).count == 1000 && fixture.cache.liveCount == 1000)
        let giver = TestThread {
            for object in objects { fixture.cache.give(object) }
            #expect(csys_thread_stripe().pointee == 0)
        }
        giver.join()
        #expect(fixture.cache.liveCount == 0)
    }

    @Test("a million objects come from huge pages, few from small slabs, and all bytes go back")
    func manyObjects() {
        let fixture = SlabFixture()
        let memory = fixture.memory.pointer
        var objects: [UnsafeMutablePointer<Int>] = []
        for number in 0..<100 { objects.append(take(number, from: fixture.cache)) }
        // Few take no more than they need.
        #expect(memory.pointee.bytes.load(ordering: .relaxed) <= 16384)
        for number in 100..<1_000_000 { objects.append(take(number, from: fixture.cache)) }
        let bytes = memory.pointee.bytes.load(ordering: .relaxed)
        #expect(bytes >= 24_000_000 && bytes <= 24_000_000 + 24_000_000 / 8)
        #expect(memory.pointee.allocations.load(ordering: .relaxed) <= 1024 + 8)
        #expect(objects.indices.allSatisfy { objects[$0][0] == $0 && objects[$0][2] == ~$0 })
        for object in objects { fixture.cache.give(object) }
        #expect(fixture.cache.liveCount == 0)
    }

    private func take(_ number: Int, from cache: UnsafeMutablePointer<SlabCache>) -> UnsafeMutablePointer<Int> {
        let object = cache.take()!.bindMemory(to: Int.self, capacity: 3)
        object[0] = number
        object[2] = ~number
        return object
    }

    @Test("a thread has its stripe to itself, and the next one has it when it ends")
    func ownStripes() async {
        await #expect(processExitsWith: .success) {
            let fixture = SlabFixture()
            let numbers = UnsafeMutablePointer<UInt32>.allocate(capacity: 20)
            let arrived = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: 1)
            arrived.initialize(to: Atomic(0))
            nonisolated(unsafe) let (seen, count) = (numbers, arrived)
            for round in 0..<10 {
                count.pointee.store(0, ordering: .relaxed)
                let threads = (0..<20).map { index in
                    TestThread {
                        fixture.churn(seed: UInt64(index), steps: 200)
                        seen[index] = csys_thread_stripe().pointee
                        _ = count.pointee.wrappingAdd(1, ordering: .acquiringAndReleasing)
                        while count.pointee.load(ordering: .acquiring) < 20 { usleep(100) }
                    }
                }
                for thread in threads { thread.join() }
                let all = (0..<20).map { seen[$0] }
                let own = all.filter { $0 <= SlabCache.ownStripeCount }
                precondition(all.allSatisfy { $0 > 0 && $0 <= SlabCache.stripeCount }, "round \(round)")
                // The main thread may have one.
                precondition(own.count >= 7 && Set(own).count == own.count, "round \(round): \(all)")
            }
            let bytes = fixture.memory.pointer.pointee.bytes.load(ordering: .relaxed)
            for _ in 0..<100 {
                let thread = TestThread {
                    fixture.churn(seed: 1, steps: 200)
                    precondition(csys_thread_stripe().pointee <= SlabCache.ownStripeCount)
                }
                thread.join()
            }
            precondition(fixture.memory.pointer.pointee.bytes.load(ordering: .relaxed) == bytes, "objects are left behind")
            precondition(fixture.cache.liveCount == 0)
        }
    }
}
