// Timelines and arrays against naive models, and from several threads at once.

import CSystem
import Glibc
import Testing

@testable import UnbindCore

@Suite struct TimelineFenceTests {
    @Test("the embedded relay items and callbacks are where the constants say")
    func offsets() {
        let device = TestDevice(.manual)
        let (timeline, fence) = (device.makeTimeline(), device.makeFence())
        withUnsafePointer(to: &timeline.pointee.relay) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(timeline) + Timeline.relayOffset)
        }
        mustHave { () throws(Status) in try timeline.add(1, awaiting: fence) }
        let point = UnsafeMutableRawPointer(point(timeline, 1)!).assumingMemoryBound(to: TimelinePoint.self)
        withUnsafePointer(to: &point.pointee.callback) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(point) + TimelinePoint.callbackOffset)
        }
        let arrayFence = device.array([fence])
        let array = UnsafeMutableRawPointer(arrayFence).assumingMemoryBound(to: FenceArray.self)
        withUnsafePointer(to: &array.pointee.relay) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(array) + FenceArray.relayOffset)
        }
        fence.signal(at: 1)
        for fence in [point.fence, arrayFence, fence] { fence.drop() }
        timeline.dropHandle()
        device.close()
    }

    @Test("a timeline does what a naive one does", arguments: 0..<200)
    func timelineModel(seed: Int) {
        var random = RandomSource(seed: UInt64(seed))
        let device = TestDevice(.manual, usesSlabs: seed % 2 == 0)
        let timeline = device.makeTimeline()
        var model = NaiveTimeline()
        var open: [(fence: FencePointer, seqno: UInt64)] = []
        var held: [(fence: FencePointer, seqno: UInt64)] = []
        for _ in 0..<300 {
            switch random.next(below: 8) {
            case 0, 1, 2:
                // Sometimes one that does not grow.
                let seqno = model.last &+ UInt64(random.next(below: 4))
                let isSignalled = random.next(below: 5) == 0
                let fence = device.makeFence()
                if isSignalled { fence.signal(at: 1) }
                let result = status { () throws(Status) in try timeline.add(seqno, awaiting: fence) }
                #expect(result == (seqno > model.last ? nil : .invalid))
                if result == nil { model.add(seqno, isDone: isSignalled) }
                if result == nil, !isSignalled { open.append((fence, seqno)) } else { fence.drop() }
            case 3:
                let seqno = model.last &+ UInt64(random.next(below: 4))
                let result = status { () throws(Status) in try timeline.signal(seqno) }
                #expect(result == (seqno > model.last ? nil : .invalid))
                if result == nil { model.add(seqno, isDone: true) }
            case 4, 5, 6:
                if open.isEmpty { break }
                let (fence, seqno) = open.remove(at: random.next(below: open.count))
                fence.signal(error: -Int32(seqno % 100), at: 1)
                model.finish(seqno)
                fence.drop()
            default:
                let seqno = UInt64(random.next(below: Int(model.last) + 3))
                guard let fence = point(timeline, seqno) else {
                    #expect(seqno > model.last)
                    break
                }
                #expect(seqno <= model.last && fence.isSignalled == (seqno <= model.value))
                held.append((fence, model.point(from: seqno)))
            }
            #expect(timeline.value == model.value && timeline.pendingCount == model.pending)
            #expect(held.allSatisfy { $0.fence.isSignalled == ($0.seqno <= model.value) })
            timeline.checkInvariants()
        }
        for (fence, _) in open {
            fence.signal(at: 1)
            fence.drop()
        }
        #expect(held.allSatisfy { $0.fence.isSignalled })
        for (fence, _) in held { fence.drop() }
        timeline.dropHandle()
        device.close()
    }

    @Test("arrays and merges of arrays do what their definitions say", arguments: 0..<100)
    func arrayModel(seed: Int) {
        var random = RandomSource(seed: UInt64(seed))
        let device = TestDevice(.manual, usesSlabs: false)
        let leaves = (0..<12).map { _ in device.makeFence() }
        var fences = leaves
        // What each waits for: all of a list, or any of it.
        var isDone: [(Set<Int>) -> Bool] = (0..<12).map { index in { $0.contains(index) } }
        for _ in 0..<30 {
            let picks = (0...random.next(below: 5)).map { _ in random.next(below: fences.count) }
            let parts = picks.map { isDone[$0] }
            switch random.next(below: 3) {
            case 0:
                fences.append(device.array(picks.map { fences[$0] }, any: true))
                isDone.append { done in parts.contains { $0(done) } }
            case 1:
                fences.append(device.array(picks.map { fences[$0] }))
                isDone.append { done in parts.allSatisfy { $0(done) } }
            default:
                fences.append(device.merge(picks.map { fences[$0] }))
                isDone.append { done in parts.allSatisfy { $0(done) } }
            }
        }
        // Some go before their time.
        var kept = Array(fences.indices)
        for _ in 0..<10 {
            let index = kept.remove(at: 12 + random.next(below: kept.count - 12))
            fences[index].drop()
        }
        var done = Set<Int>()
        var order = Array(0..<12)
        order.sort { _, _ in random.next() & 1 == 0 }
        for leaf in order {
            leaves[leaf].signal(at: 1)
            done.insert(leaf)
            for index in kept { #expect(fences[index].isSignalled == isDone[index](done)) }
        }
        for index in kept { fences[index].drop() }
        device.close()
    }

    @Test("two threads complete the points of two timelines that wait for each other, and a third merges them")
    func raceTimelines() {
        let device = TestDevice(.pool)
        for _ in 0..<20 {
            let count = 40
            let timelines = Shared([device.makeTimeline(), device.makeTimeline()])
            let fences = Shared((0..<2 * count).map { _ in device.makeFence() })
            for index in 0..<count {
                let seqno = UInt64(index) + 1
                let array = device.array([fences.value[2 * index], fences.value[2 * index + 1]])
                mustHave { () throws(Status) in try timelines.value[0].add(seqno, awaiting: array) }
                array.drop()
                let crossing = point(timelines.value[0], seqno)!
                mustHave { () throws(Status) in try timelines.value[1].add(seqno, awaiting: crossing) }
                crossing.drop()
            }
            let last = point(timelines.value[1], UInt64(count))!
            let points = (1...count).map { point(timelines.value[1], UInt64($0))! }
            let threads = (0..<2).map { half in
                TestThread {
                    for index in stride(from: half, to: 2 * count, by: 2) { fences.value[index].signal(at: 1) }
                }
            }
            while timelines.value[1].value < count {
                let merged = device.merge([last, device.pointer.signalledFence])
                merged.drop()
                // A point that has signalled vouches for those before it.
                for index in stride(from: count - 1, to: 0, by: -1) where points[index].isSignalled {
                    #expect(points[index - 1].isSignalled)
                }
            }
            for thread in threads { thread.join() }
            #expect(last.isSignalled && timelines.value[0].pendingCount == 0)
            for fence in fences.value + points + [last] { fence.drop() }
            for timeline in timelines.value { timeline.dropHandle() }
        }
        device.close()
    }

    @Test("one thread signals the members of arrays while another drops the arrays")
    func raceArrays() {
        let device = TestDevice(.pool)
        for round in 0..<300 {
            let fences = Shared((0..<4).map { _ in device.makeFence() })
            let inner = device.array([fences.value[0], fences.value[1]], any: round % 2 == 0)
            let outer = Shared(device.array([inner, fences.value[2], fences.value[3]], any: round % 3 == 0))
            inner.drop()
            let signaller = TestThread { for fence in fences.value { fence.signal(at: 1) } }
            let other = TestThread { fences.value[3 - round % 4].signal(at: 1) }
            outer.value.drop()
            signaller.join()
            other.join()
            for fence in fences.value { fence.drop() }
        }
        device.close()
    }

    @Test("one thread adds points while another signals the timeline: each seqno is taken once")
    func raceAdding() {
        let device = TestDevice(.pool)
        let timeline = Shared(device.makeTimeline())
        let taken = Shared(UnsafeMutablePointer<UInt8>.allocate(capacity: 2 * 1001))
        taken.value.initialize(repeating: 0, count: 2 * 1001)
        let threads = (0..<2).map { number in
            TestThread {
                for seqno in 1...1_000 {
                    let result = status { () throws(Status) in
                        if number == 0 { return try timeline.value.signal(UInt64(seqno)) }
                        let fence = device.makeFence()
                        defer { fence.drop() }
                        try timeline.value.add(UInt64(seqno), awaiting: fence)
                        fence.signal(at: 1)
                    }
                    if result == nil { taken.value[number * 1001 + seqno] = 1 }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect((1...1_000).allSatisfy { taken.value[$0] + taken.value[1001 + $0] == 1 })
        #expect(timeline.value.value == 1_000)
        taken.value.deallocate()
        timeline.value.dropHandle()
        device.close()
    }
}

private struct NaiveTimeline {
    private var points: [(seqno: UInt64, isDone: Bool)] = []

    var last: UInt64 { points.last?.seqno ?? 0 }
    var value: UInt64 { points.prefix { $0.isDone }.last?.seqno ?? 0 }
    var pending: Int { points.count - points.prefix { $0.isDone }.count }

    mutating func add(_ seqno: UInt64, isDone: Bool) { points.append((seqno, isDone)) }
    mutating func finish(_ seqno: UInt64) { points[points.firstIndex { $0.seqno == seqno }!].isDone = true }
    func point(from seqno: UInt64) -> UInt64 { seqno == 0 ? 0 : points.first { $0.seqno >= seqno }!.seqno }
}
