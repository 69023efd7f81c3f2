// Lookups against a naive model, page by page, over random binds and unbinds; and the binding events, which replayed up
// to the number that a lookup tells must give what it saw.

import CUnbind
import Glibc
import Testing

/// What a lookup tells of one page.
private struct PageState: Equatable {
    var state: UInt32
    var boID: UInt64
    var start: UInt64
    var size: UInt64
    var offset: UInt64
    var pins: UInt32
    var holds: UInt32
    var isGuard: Bool
    /// Buffers of pending unbinds, in order.
    var pending: [UInt64]

    static let nothing = PageState(
        state: 0, boID: 0, start: 0, size: 0, offset: 0, pins: 0, holds: 0, isGuard: false, pending: [])
}

/// One VMA of the model.
private final class ModelVMA {
    let handle: OpaquePointer
    let boID: UInt64
    let start: UInt64
    let size: UInt64
    let guardSize: UInt64
    var bindFence: OpaquePointer?
    var isBound = false
    var pins: UInt32 = 0
    var holds: [OpaquePointer] = []

    init(handle: OpaquePointer, boID: UInt64, start: UInt64, size: UInt64, guardSize: UInt64) {
        (self.handle, self.boID, self.start, self.size, self.guardSize) = (handle, boID, start, size, guardSize)
    }

    func covers(_ address: UInt64) -> Bool { start <= address && address < start + size }
    func reserves(_ address: UInt64) -> Bool {
        start - guardSize <= address && address < start + size + guardSize
    }
    func conflicts(with other: ModelVMA) -> Bool {
        start - guardSize < other.start + other.size + other.guardSize
            && other.start - other.guardSize < start + size + guardSize
    }
}

private final class LookupWorld {
    static let pageCount: UInt64 = 48
    static let page: UInt64 = 0x1000
    static let base: UInt64 = 0x10_0000

    let log = BindingLog()
    let gpu: DirectedGPU
    let space: OpaquePointer
    var random: SimulationRandom
    var vmas: [ModelVMA] = []
    /// Unbinds whose fences may not have signalled, in the order in which they were scheduled.
    var unbinds: [(vma: ModelVMA, fence: OpaquePointer)] = []
    var users: [OpaquePointer] = []
    var lonelyHolds: [OpaquePointer] = []
    /// What lookups saw after so many events: the owner of each page and the number of pending unbinds over it.
    var sights: [(number: Int, pages: [(owner: UInt64, pending: Int)])] = []

    init(seed: UInt64) {
        random = SimulationRandom(seed: seed)
        gpu = DirectedGPU(cost: seed % 3 == 0 ? LookupWorld.cost() : nil, bindings: log)
        space = gpu.makeSpace()
        for _ in 0..<14 {
            let size = UInt64(1 + random.below(6)) * LookupWorld.page
            let start = LookupWorld.base + UInt64(2 + random.below(40)) * LookupWorld.page
            let guardSize = random.chance(20) ? LookupWorld.page : 0
            let buffer = gpu.makeBuffer(size)
            var options = makeHeaderStruct(unbind_vma_options())
            options.flags = UInt32(UNBIND_VMA_FIXED)
            options.address = start
            options.guard = guardSize
            var vma: OpaquePointer?
            #expect(unbind_vma_create(space, buffer, &options, &vma) == 0)
            vmas.append(
                ModelVMA(
                    handle: vma!, boID: unbind_bo_id(buffer), start: start, size: size, guardSize: guardSize))
        }
    }

    private static func cost() -> unbind_cost_model {
        var cost = makeHeaderStruct(unbind_cost_model())
        (cost.pte_ps, cost.tlb_flush_ns) = (2000, 20_000)
        return cost
    }

    func step() throws {
        let vma = random.pick(vmas)
        switch random.below(10) {
        case 0, 1, 2: try bind(vma)
        case 3, 4: try unbind(vma)
        case 5: if vma.isBound { users.append(gpu.makeUser(of: vma.handle)) }
        case 6: if !users.isEmpty { gpu.signal(users.remove(at: random.below(users.count))) }
        case 7: #expect(unbind_device_run(gpu.device, UInt32(1 + random.below(4)), nil) == 0)
        case 8: try hold(vma)
        default: try pin(vma)
        }
    }

    private func bind(_ vma: ModelVMA) throws {
        var fence: OpaquePointer?
        let status = unbind_vma_bind_async(vma.handle, 0, &fence)
        if vma.isBound {
            try require(status == 0, "binding what is bound: \(status)")
            unbind_fence_unref(fence)
            return
        }
        let isFree = !vmas.contains { $0.isBound && $0.conflicts(with: vma) }
        try require(status == (isFree ? 0 : -ENOSPC), "bind: \(status), free: \(isFree)")
        if status != 0 { return }
        vma.isBound = true
        vma.bindFence = fence
    }

    private func unbind(_ vma: ModelVMA) throws {
        var fence: OpaquePointer?
        let stats = spaceStats(space)
        let status = unbind_vma_unbind_async(vma.handle, 0, &fence)
        if vma.isBound, vma.pins > 0 {
            try require(status == -EAGAIN, "unbind of what is pinned: \(status)")
            return
        }
        try require(status == 0, "unbind: \(status)")
        guard vma.isBound else {
            unbind_fence_unref(fence)
            return
        }
        vma.isBound = false
        unbind_fence_unref(vma.bindFence)
        vma.bindFence = nil
        lonelyHolds += vma.holds
        vma.holds = []
        // One that is done but for holds is in nobody's way.
        if spaceStats(space).unbinds_immediate > stats.unbinds_immediate {
            unbind_fence_unref(fence)
        } else {
            unbinds.append((vma, fence!))
        }
    }

    private func hold(_ vma: ModelVMA) throws {
        if random.chance(50), !lonelyHolds.isEmpty {
            unbind_hold_unref(lonelyHolds.remove(at: random.below(lonelyHolds.count)))
            return
        }
        if !vma.holds.isEmpty, random.chance(60) { return unbind_hold_unref(vma.holds.removeLast()) }
        var hold: OpaquePointer?
        let status = unbind_vma_hold(vma.handle, &hold)
        try require(status == (vma.isBound ? 0 : -EINVAL), "hold: \(status)")
        if let hold { vma.holds.append(hold) }
    }

    private func pin(_ vma: ModelVMA) throws {
        if vma.pins > 0 {
            try require(unbind_vma_unpin(vma.handle) == 0, "unpin")
            vma.pins -= 1
        } else if vma.isBound {
            // Of what is bound already: nothing moves.
            var options = makeHeaderStruct(unbind_pin_options())
            var fence: OpaquePointer?
            let status = withUnsafeMutablePointer(to: &fence) { fence in
                options.flags = UInt32(UNBIND_PIN_ASYNC)
                options.out_fence = fence
                return unbind_vma_pin(vma.handle, &options)
            }
            try require(status == 0, "pin: \(status)")
            unbind_fence_unref(fence)
            vma.pins += 1
        }
    }

    // MARK: Comparing

    private func expected(at address: UInt64) -> PageState {
        var page = PageState.nothing
        if let vma = vmas.first(where: { $0.isBound && $0.reserves(address) }) {
            if vma.covers(address) {
                let isBinding = vma.bindFence.map { !gpu.isSignalled($0) } ?? false
                page.state = UInt32(isBinding ? UNBIND_VMA_BINDING : UNBIND_VMA_BOUND)
                (page.boID, page.start, page.size) = (vma.boID, vma.start, vma.size)
                page.offset = address - vma.start
                (page.pins, page.holds) = (vma.pins, UInt32(vma.holds.count))
            } else {
                page.isGuard = true
            }
        }
        page.pending = unbinds.filter { $0.vma.covers(address) }.map { $0.vma.boID }
        return page
    }

    private func seen(at address: UInt64) throws -> (PageState, number: Int) {
        var lookup = makeHeaderStruct(unbind_lookup())
        var unbinds = [unbind_pending_unbind](repeating: unbind_pending_unbind(), count: 64)
        let status = unbinds.withUnsafeMutableBufferPointer { buffer in
            lookup.unbinds = buffer.baseAddress
            lookup.unbind_capacity = UInt32(buffer.count)
            return unbind_vm_lookup(space, address, &lookup)
        }
        try require(status == 0 && lookup.unbind_count <= 64, "lookup: \(status), \(lookup.unbind_count) unbinds")
        let pending = unbinds.prefix(Int(lookup.unbind_count)).sorted { $0.order < $1.order }
        let page = PageState(
            state: lookup.state, boID: lookup.bo_id, start: lookup.start, size: lookup.size,
            offset: lookup.bo_offset, pins: lookup.pins, holds: lookup.holds,
            isGuard: lookup.flags & UInt32(UNBIND_LOOKUP_GUARD) != 0, pending: pending.map(\.bo_id))
        return (page, Int(lookup.event_count))
    }

    func compare() throws {
        let ended = unbinds.filter { gpu.isSignalled($0.fence) }
        unbinds.removeAll { gpu.isSignalled($0.fence) }
        for entry in ended { unbind_fence_unref(entry.fence) }
        var pages: [(owner: UInt64, pending: Int)] = []
        var number = 0
        for index in 0..<LookupWorld.pageCount {
            let address = LookupWorld.base + index * LookupWorld.page + UInt64(random.below(0x1000))
            let (page, count) = try seen(at: address)
            let model = expected(at: address)
            try require(page == model, "at \(address): \(page), the model says \(model)")
            pages.append((page.boID, page.pending.count))
            number = count
        }
        sights.append((number, pages))
    }

    /// Every event in turn; what lookups saw is compared where they saw it.
    func replay() throws {
        var owners = [UInt64](repeating: 0, count: Int(LookupWorld.pageCount))
        var pending = [Int](repeating: 0, count: Int(LookupWorld.pageCount))
        var next = 0
        for applied in 0...log.all.count {
            while next < sights.count, sights[next].number == applied {
                for (index, page) in sights[next].pages.enumerated() {
                    try require(
                        page.owner == owners[index] && page.pending == pending[index],
                        "page \(index) after \(applied) events: \(page), replayed \(owners[index]), \(pending[index])")
                }
                next += 1
            }
            if applied == log.all.count { break }
            try apply(log.all[applied], number: UInt64(applied + 1), &owners, &pending)
        }
        let late = sights.count - next
        try require(late == 0, "\(late) of \(sights.count) lookups saw events that never came")
        try require(owners.allSatisfy { $0 == 0 } && pending.allSatisfy { $0 == 0 }, "something is left at the end")
    }

    private func apply(
        _ event: unbind_binding_event, number: UInt64, _ owners: inout [UInt64], _ pending: inout [Int]
    ) throws {
        try require(event.number == number, "event \(event.number) came as number \(number)")
        let first = Int((event.address - LookupWorld.base) / LookupWorld.page)
        for index in first..<first + Int(event.size / LookupWorld.page) {
            switch event.type {
            case UInt32(UNBIND_EVENT_BIND):
                try require(owners[index] == 0, "a bind over a bind")
                owners[index] = event.bo_id
            case UInt32(UNBIND_EVENT_UNBIND):
                try require(owners[index] == event.bo_id, "an unbind of what is not bound")
                owners[index] = 0
                if event.flags & UInt32(UNBIND_EVENT_PENDING) != 0 { pending[index] += 1 }
            case UInt32(UNBIND_EVENT_UNBIND_DONE): pending[index] -= 1
            default: break
            }
        }
    }

    func close() {
        for hold in lonelyHolds + vmas.flatMap(\.holds) { unbind_hold_unref(hold) }
        for user in users { gpu.signal(user) }
        for vma in vmas {
            unbind_fence_unref(vma.bindFence)
            unbind_vma_unref(vma.handle)
        }
        for entry in unbinds { unbind_fence_unref(entry.fence) }
        gpu.close()
    }
}

@Suite struct LookupModelTests {
    @Test("lookups agree with a naive model, and the replayed events with the lookups", arguments: 0..<(isSanitized ? 2 : 20))
    func agreesWithModel(block: Int) throws {
        for seed in UInt64(block) * 25..<UInt64(block + 1) * 25 {
            let world = LookupWorld(seed: seed)
            var failure: String?
            do {
                for _ in 0..<200 {
                    try world.step()
                    if world.random.chance(25) { try world.compare() }
                }
            } catch let error as SimulationFailure {
                failure = error.description
            }
            world.close()
            if failure == nil {
                do { try world.replay() } catch let error as SimulationFailure { failure = error.description }
            }
            #expect(failure == nil, "seed \(seed): \(failure ?? "")")
            if failure != nil { return }
        }
    }
}
