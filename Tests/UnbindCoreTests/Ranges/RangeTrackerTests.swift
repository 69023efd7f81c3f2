// RangeTracker against a naive one, and in the cases that chance does not find.

import Synchronization
import Testing

@testable import UnbindCore

private let page: UInt64 = 4096
private let end: UInt64 = 1 << 48

private func makeTracker(_ device: TestDevice) -> RangeTrackerPointer {
    mustHave { () throws(Status) in try RangeTrackerPointer.make(device: device.pointer) }
}

private func fences(_ tracker: RangeTrackerPointer, _ start: UInt64, _ last: UInt64) -> [FencePointer] {
    mustHave { () throws(Status) in
        let list = try tracker.fences(from: start, through: last)
        return (0..<list.count).map { list.fences[$0] }
    }
}

private func insert(_ tracker: RangeTrackerPointer, _ start: UInt64, _ last: UInt64, _ fence: FencePointer) {
    mustHave { () throws(Status) in try tracker.insert(start: start, last: last, fence: fence) }
}

@Suite struct RangeTrackerTests {
    @Test("the offsets in the code are those of the compiler's layout")
    func layout() {
        let device = TestDevice(.manual)
        let tracker = makeTracker(device)
        withUnsafePointer(to: &tracker.pointee.index) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(tracker) + RangeTracker.indexOffset)
        }
        #expect(MemoryLayout<TrackedFence>.offset(of: \.callback) == 0)
        #expect(MemoryLayout<TrackedFence>.offset(of: \.node) == TrackedFence.nodeOffset)
        #expect(MemoryLayout<OwnedRange>.offset(of: \.range) == OwnedRange.rangeOffset)
        tracker.dropHandle()
        device.close()
    }

    @Test("a tracker answers what a naive one does", arguments: 0..<(isSanitized ? 30 : 300))
    func model(seed: Int) {
        var random = RandomSource(seed: UInt64(seed))
        let device = TestDevice(.manual, usesSlabs: seed % 2 == 0)
        let tracker = makeTracker(device)
        var pool = FencePool(device)
        var model = NaiveTracker()
        // Few pages, so that much overlaps; sometimes at the very end.
        let pages = [1, 3, 16, 200][seed % 4]
        let base = seed % 3 == 0 ? end - UInt64(pages) * page : seed % 3 == 1 ? 0 : 0x7fff_0000_0000
        func range() -> (UInt64, UInt64) {
            let first = random.next(below: pages)
            let count = 1 + random.next(below: pages - first)
            return (base + UInt64(first) * page, base + UInt64(first + count) * page - 1)
        }
        for _ in 0..<200 {
            switch random.next(below: 8) {
            case 0, 1, 2:
                let (start, last) = range()
                let fence = pool.make(&random)
                insert(tracker, start, last, fence)
                model.insert(start, last, fence)
            case 3, 4:
                pool.signalOne(&random)
                model.forgetSignalled()
            case 5, 6:
                let (start, last) = range()
                let found = fences(tracker, start, last)
                #expect(Set(found).count == found.count)
                #expect(Set(found) == NaiveTracker.reduced(model.overlapping(start, last)))
            default:
                let (start, last) = range()
                let merged = mustHave { () throws(Status) in try tracker.mergedFence(from: start, through: last) }
                #expect(merged.isSignalled == model.overlapping(start, last).isEmpty)
                merged.drop()
            }
            model.forgetSignalled()
            #expect(tracker.unfinishedCount == model.entries.count)
            tracker.checkInvariants()
        }
        if seed % 5 == 0 {
            tracker.dropHandle()
            pool.abandon()
        } else {
            pool.signalAll()
            #expect(tracker.unfinishedCount == 0)
            pool.abandon()
            tracker.dropHandle()
        }
        device.close()
    }

    @Test("a merged fence signals with the last of those it was made of, and no later")
    func merged() {
        let device = TestDevice(.manual)
        let tracker = makeTracker(device)
        let all = (0..<4).map { _ in device.makeFence() }
        for (index, fence) in all.enumerated() {
            insert(tracker, UInt64(index) * page, UInt64(index + 1) * page - 1, fence)
        }
        let middle = mustHave { () throws(Status) in try tracker.mergedFence(from: page, through: 3 * page - 1) }
        all[0].signal(at: 1)
        all[2].signal(at: 1)
        #expect(!middle.isSignalled)
        all[1].signal(at: 1)
        #expect(middle.isSignalled && !all[3].isSignalled)
        middle.drop()
        tracker.dropHandle()
        // The tracker is gone, and the fence that it had was never signalled before.
        all[3].signal(at: 1)
        for fence in all { fence.drop() }
        device.close()
    }

    @Test("nested, equal and neighbouring ranges of one fence, signalled once", arguments: [1, 100, 5000])
    func sameFence(count: Int) {
        let device = TestDevice(.manual)
        let tracker = makeTracker(device)
        let fence = device.makeFence()
        for index in 0..<count {
            let depth = UInt64(index % 50) * page
            insert(tracker, depth, 200 * page - depth - 1, fence)
            insert(tracker, 300 * page, 301 * page - 1, fence)
        }
        insert(tracker, 0, end - 1, fence)
        #expect(fences(tracker, 0, end - 1) == [fence])
        #expect(fences(tracker, 250 * page, 251 * page - 1) == [fence])
        #expect(tracker.unfinishedCount == 2 * count + 1)
        fence.signal(at: 1)
        #expect(tracker.unfinishedCount == 0 && fences(tracker, 0, end - 1) == [])
        tracker.checkInvariants()
        tracker.dropHandle()
        fence.drop()
        device.close()
    }

    @Test("the memory of a tracker is bounded by what is unfinished at a time")
    func memory() {
        let device = TestDevice(.manual)
        let tracker = makeTracker(device)
        var allocations: UInt64 = 0
        for round in 0..<20_000 {
            let fence = device.makeFence()
            insert(tracker, 0, page - 1, fence)
            fence.signal(at: 1)
            fence.drop()
            if round == 100 { allocations = device.pointer.allocations }
        }
        #expect(device.pointer.allocations == allocations)
        tracker.dropHandle()
        device.close()
    }

    @Test("fences that signal on other threads leave, whatever is asked and inserted meanwhile")
    func threads() {
        let device = TestDevice(.manual)
        let tracker = makeTracker(device)
        let rounds = isSanitized ? 300 : 2000
        let signallers = (0..<3).map { number in
            PlainThread {
                var random = RandomSource(seed: UInt64(number))
                for _ in 0..<rounds {
                    let fence = device.makeFence()
                    let start = UInt64(random.next(below: 20)) * page
                    insert(tracker, start, start + page - 1, fence)
                    if random.next(below: 2) == 0 {
                        #expect(fences(tracker, start, start + page - 1).contains(fence))
                    }
                    fence.signal(at: 1)
                    fence.drop()
                }
            }
        }
        let asking = PlainThread {
            for _ in 0..<rounds {
                let merged = mustHave { () throws(Status) in try tracker.mergedFence(from: 0, through: 20 * page - 1) }
                merged.drop()
            }
        }
        for thread in signallers { thread.join() }
        asking.join()
        #expect(tracker.unfinishedCount == 0)
        tracker.checkInvariants()
        tracker.dropHandle()
        device.close()
    }

    @Test("the last handle goes while another thread signals", arguments: 0..<100)
    func dropWhileSignalling(round: Int) {
        let device = TestDevice(.manual, usesSlabs: false)
        let tracker = makeTracker(device)
        let all = (0..<8).map { _ in device.makeFence() }
        for (index, fence) in all.enumerated() { insert(tracker, UInt64(index) * page, end - 1, fence) }
        let signaller = PlainThread { for fence in all { fence.signal(at: 1) } }
        for _ in 0..<(round * 20) { _ = tracker.pointee.magic }
        tracker.dropHandle()
        signaller.join()
        for fence in all { fence.drop() }
        // Asserts that no memory was lost.
        device.close()
    }
}
