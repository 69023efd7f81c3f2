// Fences for tests of ranges: a device, some fences of the caller's, some points of timelines, signalled in any order;
// and what a tracker should answer, found by looking at everything.

import Synchronization

@testable import UnbindCore

struct NaiveTracker {
    struct Entry {
        let start: UInt64
        let last: UInt64
        let fence: FencePointer
    }

    private(set) var entries: [Entry] = []

    mutating func insert(_ start: UInt64, _ last: UInt64, _ fence: FencePointer) {
        if !fence.isSignalled { entries.append(Entry(start: start, last: last, fence: fence)) }
    }

    mutating func forgetSignalled() { entries.removeAll { $0.fence.isSignalled } }

    /// All that overlap, each once.
    func overlapping(_ start: UInt64, _ last: UInt64) -> Set<FencePointer> {
        Set(entries.filter { !$0.fence.isSignalled && $0.start <= last && $0.last >= start }.map(\.fence))
    }

    /// Of each context only the latest.
    static func reduced(_ fences: Set<FencePointer>) -> Set<FencePointer> {
        fences.filter { fence in !fences.contains { $0 != fence && $0.supersedes(fence) } }
    }
}

/// Fences that a test signals; each point of a timeline has one of the caller's behind it.
struct FencePool {
    let device: TestDevice
    private let timelines: [TimelinePointer]
    private var seqno: UInt64 = 0
    /// What to signal, and what was handed out for it.
    private(set) var open: [(signal: FencePointer, fence: FencePointer)] = []

    init(_ device: TestDevice) {
        self.device = device
        timelines = (0..<2).map { _ in device.makeTimeline() }
    }

    mutating func make(_ random: inout RandomSource) -> FencePointer {
        if !open.isEmpty, random.next(below: 3) == 0 { return open[random.next(below: open.count)].fence }
        let signal = device.makeFence()
        let kind = random.next(below: 4)
        guard kind < 2 else {
            open.append((signal, signal))
            return signal
        }
        seqno += 1
        let (timeline, number) = (timelines[kind], seqno)
        mustHave { () throws(Status) in try timeline.add(number, awaiting: signal) }
        let fence = point(timeline, number)!
        open.append((signal, fence))
        return fence
    }

    mutating func signalOne(_ random: inout RandomSource) {
        if open.isEmpty { return }
        let entry = open[random.next(below: open.count)]
        if !entry.signal.isSignalled { entry.signal.signal(error: random.next(below: 4) == 0 ? -5 : 0, at: 1) }
        drop { $0.fence.isSignalled }
    }

    private mutating func drop(_ isOver: ((signal: FencePointer, fence: FencePointer)) -> Bool) {
        let over = open.filter(isOver)
        open.removeAll(where: isOver)
        for entry in over {
            entry.signal.drop()
            if entry.fence != entry.signal { entry.fence.drop() }
        }
    }

    mutating func signalAll() {
        for entry in open where !entry.signal.isSignalled { entry.signal.signal(at: 1) }
        drop { _ in true }
    }

    /// Lets go of all without signalling, and of the timelines.
    mutating func abandon() {
        drop { _ in true }
        for timeline in timelines { timeline.dropHandle() }
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// Calls of the allocator so far.
    var allocations: UInt64 { pointee.memory.pointee.allocations.load(ordering: .relaxed) }
}
