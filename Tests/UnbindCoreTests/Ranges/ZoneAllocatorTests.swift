// ZoneAllocator against a naive one that knows of every page, and in the cases that chance does not find.

import Glibc
import Synchronization
import Testing

@testable import UnbindCore

private let page: UInt64 = 4096

/// Zones as arrays of pages.
private struct NaiveZones {
    struct Range {
        let start: UInt64
        let size: UInt64
        let tag: UInt64
        /// Nil: in use.
        var fence: FencePointer?
        var last: UInt64 { start + size - 1 }
    }

    struct Zone {
        let start: UInt64
        let size: UInt64
        let alignment: UInt64
        /// In use or waiting.
        var taken: [Range] = []
        var reusable: [Range] = []
    }

    var zones: [Zone]

    mutating func forgetSignalled() {
        for index in zones.indices {
            zones[index].taken.removeAll { $0.fence?.isSignalled ?? false }
            zones[index].reusable.removeAll { $0.fence!.isSignalled }
        }
    }

    /// The holes of a zone, in order.
    func holes(_ index: Int) -> [Swift.Range<UInt64>] {
        let zone = zones[index]
        var holes: [Swift.Range<UInt64>] = []
        var place = zone.start
        for range in zone.taken.sorted(by: { $0.start < $1.start }) {
            if range.start > place { holes.append(place..<range.start) }
            place = range.start + range.size
        }
        if place < zone.start + zone.size { holes.append(place..<(zone.start + zone.size)) }
        return holes
    }

    /// All places that a request may get: one, but for holes of equal size.
    func places(_ request: ZoneRequest) -> [UInt64] {
        let alignment = max(request.alignment, zones[request.zone].alignment)
        func up(_ address: UInt64) -> UInt64 { (address + alignment - 1) & ~(alignment - 1) }
        let fitting = holes(request.zone).filter { up($0.lowerBound) + request.size <= $0.upperBound }
        switch request.place {
        case .fixed(let address):
            let isFree = fitting.contains { $0.lowerBound <= address && address + request.size <= $0.upperBound }
            return isFree ? [address] : []
        case .anywhere(.low): return fitting.first.map { [up($0.lowerBound)] } ?? []
        case .anywhere(.high):
            return fitting.last.map { [($0.upperBound - request.size) & ~(alignment - 1)] } ?? []
        case .anywhere(.best):
            let least = fitting.map(\.count).min()
            return fitting.filter { $0.count == least }.map { up($0.lowerBound) }
        }
    }

    /// What former owners left to wait for there.
    func fences(_ start: UInt64, _ last: UInt64) -> Set<FencePointer> {
        var fences: Set<FencePointer> = []
        for zone in zones {
            for range in zone.taken + zone.reusable where range.start <= last && range.last >= start {
                if let fence = range.fence, !fence.isSignalled { fences.insert(fence) }
            }
        }
        return fences
    }

    func sums(_ zone: Int) -> ZoneSums {
        let taken = zones[zone].taken
        var sums = ZoneSums(size: zones[zone].size)
        for range in taken where range.fence == nil { sums.usedBytes += range.size }
        for range in taken where range.fence != nil { sums.waitingBytes += range.size }
        sums.used = taken.count { $0.fence == nil }
        sums.waiting = taken.count { $0.fence != nil }
        sums.reusable = zones[zone].reusable.count
        return sums
    }
}

/// One allocator and its model, doing the same at random.
private final class ZoneFixture {
    let device: TestDevice
    let allocator: ZoneAllocatorPointer
    var random: RandomSource
    var pool: FencePool
    var model: NaiveZones
    var tag: UInt64 = 0

    init(seed: Int) {
        random = RandomSource(seed: UInt64(seed))
        device = TestDevice(.manual, usesSlabs: seed % 2 == 0)
        pool = FencePool(device)
        let pages = [4, 24, 300][seed % 3]
        // Neighbours; one with large pages, one that ends where addresses do.
        let zones = [
            NaiveZones.Zone(start: 0, size: UInt64(pages) * page, alignment: page),
            NaiveZones.Zone(start: UInt64(pages) * page, size: 7 * page, alignment: page),
            NaiveZones.Zone(start: 1 << 32, size: 12 << 16, alignment: 1 << 16),
            NaiveZones.Zone(start: (1 << 48) - 16 * page, size: 16 * page, alignment: page),
        ]
        model = NaiveZones(zones: zones)
        let device = device.pointer
        allocator = mustHave { () throws(Status) in
            try ZoneAllocatorPointer.make(device: device, zoneCount: zones.count) {
                ZoneDescription(start: zones[$0].start, size: zones[$0].size, alignment: zones[$0].alignment)
            }
        }
    }

    func step() {
        switch random.next(below: 10) {
        case 0, 1, 2, 3: reserve()
        case 4, 5, 6, 7: release()
        case 8: pool.signalOne(&random)
        default: look()
        }
        model.forgetSignalled()
        allocator.checkInvariants()
    }

    private func reserve() {
        let index = random.next(below: model.zones.count)
        let zone = model.zones[index]
        tag += 1
        var request = ZoneRequest(size: zone.alignment * UInt64(1 + random.next(below: 4)))
        request.zone = index
        request.tag = tag
        request.takesFence = random.next(below: 8) != 0
        switch random.next(below: 4) {
        case 0: request.place = .anywhere(.low)
        case 1: request.place = .anywhere(.high)
        case 2:
            let units = Int(zone.size / zone.alignment)
            request.place = .fixed(zone.start + zone.alignment * UInt64(random.next(below: units)))
        default: request.place = .anywhere(.best)
        }
        if case .fixed(let address) = request.place, address + request.size > zone.start + zone.size {
            #expect(status { () throws(Status) in _ = try allocator.reserve(request) } == .noDevice)
            return
        }
        let places = model.places(request)
        do throws(Status) {
            let (address, fence) = try allocator.reserve(request)
            #expect(places.contains(address), "zone \(index) \(request.place)")
            let awaited = model.fences(address, address + request.size - 1)
            #expect((fence == nil) == awaited.isEmpty)
            if let fence {
                #expect(request.takesFence && !fence.isSignalled)
                #expect(Set(device.unwrap(fence)) == Set(awaited.flatMap { device.unwrap($0) }))
                fence.drop()
            }
            model.zones[index].taken.append(.init(start: address, size: request.size, tag: tag))
        } catch {
            if places.isEmpty {
                #expect(error == .noSpace)
            } else {
                #expect(error == .busy && !request.takesFence)
                #expect(places.contains { !model.fences($0, $0 + request.size - 1).isEmpty })
            }
        }
    }

    private func release() {
        let index = random.next(below: model.zones.count)
        let used = model.zones[index].taken.indices.filter { model.zones[index].taken[$0].fence == nil }
        if used.isEmpty { return }
        let number = used[random.next(below: used.count)]
        var range = model.zones[index].taken[number]
        let kind = random.next(below: 5)
        let fence = pool.make(&random)
        let allocations = device.pointer.allocations
        let error = status { () throws(Status) in
            if kind == 0 {
                try allocator.release(range.start)
            } else {
                try allocator.release(range.start, after: fence, isReusable: kind < 3)
            }
        }
        #expect(error == nil)
        #expect(device.pointer.allocations == allocations, "releasing allocated")
        if kind == 0 || kind < 3 || fence.isSignalled {
            model.zones[index].taken.remove(at: number)
        } else {
            model.zones[index].taken[number].fence = fence
        }
        if kind != 0, kind < 3, !fence.isSignalled {
            range.fence = fence
            model.zones[index].reusable.append(range)
        }
        #expect(status { () throws(Status) in try allocator.release(range.start) } == .invalid)
        #expect(
            status { () throws(Status) in try allocator.release(range.start, after: fence, isReusable: true) }
                == .invalid)
    }

    private func look() {
        let index = random.next(below: model.zones.count)
        let zone = model.zones[index]
        let address = zone.start + UInt64(random.next(below: Int(zone.size)))
        let answer = mustHave { () throws(Status) in try allocator.lookup(address) }
        #expect(answer.zone == index)
        if let range = zone.taken.first(where: { $0.start <= address && address <= $0.last }) {
            #expect(answer.state == (range.fence == nil ? .used : .waiting))
            #expect(answer.start == range.start && answer.size == range.size && answer.tag == range.tag)
        } else {
            let hole = model.holes(index).first { $0.contains(address) }!
            #expect(answer.state == nil && answer.tag == 0)
            #expect(answer.start == hole.lowerBound && answer.size == UInt64(hole.count))
        }
        #expect((answer.fences == 0) == model.fences(answer.start, answer.start + answer.size - 1).isEmpty)
        let (sums, expected) = (
            mustHave { () throws(Status) in try allocator.sums(zone: index) }, model.sums(index)
        )
        #expect(sums.size == expected.size && sums.usedBytes == expected.usedBytes)
        #expect(sums.waitingBytes == expected.waitingBytes && sums.used == expected.used)
        #expect(sums.waiting == expected.waiting && sums.reusable == expected.reusable)
    }

    func end(abandoning: Bool) {
        if abandoning {
            allocator.tracker.dropHandle()
            pool.abandon()
        } else {
            pool.signalAll()
            model.forgetSignalled()
            allocator.checkInvariants()
            let sums = mustHave { () throws(Status) in try allocator.sums(zone: nil) }
            #expect(sums.waiting == 0 && sums.reusable == 0 && sums.waitingBytes == 0)
            pool.abandon()
            allocator.tracker.dropHandle()
        }
        device.close()
    }
}

@Suite struct ZoneAllocatorTests {
    @Test("an allocator does what a naive one does, and releasing allocates nothing", arguments: 0..<(isSanitized ? 30 : 300))
    func model(seed: Int) {
        let fixture = ZoneFixture(seed: seed)
        for _ in 0..<300 { fixture.step() }
        fixture.end(abandoning: seed % 4 == 0)
    }

    private func makeZone(_ device: TestDevice, pages: UInt64) -> ZoneAllocatorPointer {
        mustHave { () throws(Status) in
            try ZoneAllocatorPointer.make(device: device.pointer, zoneCount: 1) { _ in
                ZoneDescription(start: 0, size: pages * page, alignment: page)
            }
        }
    }

    private func fixed(_ number: UInt64, pages: UInt64 = 1) -> ZoneRequest {
        var request = ZoneRequest(size: pages * page)
        request.place = .fixed(number * page)
        return request
    }

    @Test("a range reused again and again while nothing signals is waited for by each owner")
    func reusedWhileStalled() {
        let device = TestDevice(.manual)
        let allocator = makeZone(device, pages: 1)
        var all: [FencePointer] = []
        for round in 0..<200 {
            let (_, fence) = mustHave { () throws(Status) in try allocator.reserve(fixed(0)) }
            #expect((fence == nil) == (round == 0))
            if let fence {
                #expect(Set(device.unwrap(fence)) == Set(all))
                fence.drop()
            }
            all.append(device.makeFence())
            mustHave { () throws(Status) in try allocator.release(0, after: all[round], isReusable: true) }
        }
        // The latest first: nothing is free for certain before the oldest has signalled.
        for (number, fence) in all.reversed().enumerated() {
            let answer = mustHave { () throws(Status) in try allocator.lookup(0) }
            #expect(answer.fences == 200 - number && answer.state == nil)
            fence.signal(at: 1)
            fence.drop()
        }
        let (_, fence) = mustHave { () throws(Status) in try allocator.reserve(fixed(0)) }
        #expect(fence == nil)
        allocator.tracker.dropHandle()
        device.close()
    }

    @Test("ranges become free in the order in which fences signal, not in that of their release", arguments: 0..<20)
    func anyOrder(seed: Int) {
        var random = RandomSource(seed: UInt64(seed))
        let device = TestDevice(.manual)
        let count = 500
        let allocator = makeZone(device, pages: UInt64(count))
        var all: [(UInt64, FencePointer)] = []
        for number in 0..<count {
            _ = mustHave { () throws(Status) in try allocator.reserve(fixed(UInt64(number))) }
            let fence = device.makeFence()
            mustHave { () throws(Status) in
                try allocator.release(UInt64(number) * page, after: fence, isReusable: false)
            }
            all.append((UInt64(number), fence))
        }
        #expect(status { () throws(Status) in _ = try allocator.reserve(ZoneRequest(size: page)) } == .noSpace)
        while !all.isEmpty {
            let (number, fence) = all.remove(at: random.next(below: all.count))
            fence.signal(at: 1)
            fence.drop()
            // The only page that is free.
            let (address, awaited) = mustHave { () throws(Status) in try allocator.reserve(ZoneRequest(size: page)) }
            #expect(address == number * page && awaited == nil)
        }
        allocator.checkInvariants()
        allocator.tracker.dropHandle()
        device.close()
    }

    @Test("a fence that has signalled gives the range back within the call")
    func signalledBefore() {
        let device = TestDevice(.manual)
        let allocator = makeZone(device, pages: 2)
        let fence = device.makeFence()
        fence.signal(error: -5, at: 1)
        for isReusable in [true, false] {
            _ = mustHave { () throws(Status) in try allocator.reserve(fixed(0, pages: 2)) }
            mustHave { () throws(Status) in try allocator.release(0, after: fence, isReusable: isReusable) }
            let sums = mustHave { () throws(Status) in try allocator.sums(zone: 0) }
            #expect(sums.used == 0 && sums.waiting == 0 && sums.reusable == 0)
            allocator.checkInvariants()
        }
        fence.drop()
        allocator.tracker.dropHandle()
        device.close()
    }

    @Test("threads that reserve and release never have the same page at a time, and fences are kept apart")
    func threads() {
        let device = TestDevice(.manual)
        let pages = 32
        let allocator = makeZone(device, pages: UInt64(pages))
        let owners = UnsafeMutablePointer<Atomic<Int>>.allocate(capacity: pages)
        for number in 0..<pages { (owners + number).initialize(to: Atomic(0)) }
        let rounds = isSanitized ? 400 : 4000
        let threads = (0..<4).map { number in
            PlainThread {
                var random = RandomSource(seed: UInt64(number))
                for _ in 0..<rounds {
                    var request = ZoneRequest(size: page * UInt64(1 + random.next(below: 3)))
                    request.place = .anywhere(number % 2 == 0 ? .low : .high)
                    var reserved: (address: UInt64, fence: FencePointer?) = (0, nil)
                    if status({ () throws(Status) in reserved = try allocator.reserve(request) }) != nil { continue }
                    // Not ours before former owners are done: their fences signal on their threads.
                    while let fence = reserved.fence, !fence.isSignalled { sched_yield() }
                    reserved.fence?.drop()
                    let mine = Int(reserved.address / page)..<Int((reserved.address + request.size) / page)
                    for number in mine { #expect(owners[number].exchange(1, ordering: .relaxed) == 0) }
                    let fence = device.makeFence()
                    let isReusable = random.next(below: 2) == 0
                    mustHave { () throws(Status) in
                        try allocator.release(reserved.address, after: fence, isReusable: isReusable)
                    }
                    for number in mine { owners[number].store(0, ordering: .relaxed) }
                    fence.signal(at: 1)
                    fence.drop()
                }
            }
        }
        for thread in threads { thread.join() }
        allocator.checkInvariants()
        let sums = mustHave { () throws(Status) in try allocator.sums(zone: nil) }
        #expect(sums.used == 0 && sums.waiting == 0 && sums.reusable == 0)
        owners.deallocate()
        allocator.tracker.dropHandle()
        device.close()
    }
}
