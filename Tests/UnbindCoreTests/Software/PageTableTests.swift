import CSystem
import Testing

@testable import UnbindCore

@Suite struct PageTableTests {
    private static let bindings: [(Binding, UInt64)] = {
        let physical: UInt64 = 0x10_0000_0000
        let ranges: [(UInt64, UInt64, UInt64)] = [
            // start, size, entries
            (0x1FF000, 0x2000, 2),  // across 2 MiB
            (0x1F0000, 0x20000, 32),  // two pages of 64 KiB across 2 MiB
            (0x3FE0_0000, 0x40_0000, 2),  // two of 2 MiB across 1 GiB
            (0x3FFF_F000, 0x2000, 2),  // across 1 GiB
            (0x7F_FFFF_F000, 0x2000, 2),  // across 512 GiB
            (0x7F_FFE0_0000, 0x40_0000, 2),
            (0, 0x1000, 1),
            (0xFFFF_FFFF_F000, 0x1000, 1),  // the last page
            (0xFFFF_FFE0_0000, 0x20_0000, 1),
            (0xFFFF_FFDF_F000, 0x20_1000, 2),
            (0x100_0000, 0x20_0000 + 0x1_1000, 1 + 17),  // 2 MiB, 64 KiB and 4 KiB in one binding
        ]
        return ranges.map {
            (
                Binding(
                    start: $0.0, size: $0.1, physical: physical + $0.0 % 0x20_0000, isLocal: false, isReadOnly: false),
                $0.2
            )
        }
    }()

    @Test("a binding across the border of a table is written, found and cleared", arguments: 0..<bindings.count)
    func borders(index: Int) {
        let (binding, entries) = PageTableTests.bindings[index]
        let test = TestGPU()
        let space = test.space()
        try! space.reserve(binding)
        #expect(space.findPage(endingAfter: 0) == nil, "a reservation maps nothing")
        #expect(space.write(binding) == entries)
        space.checkInvariants()
        #expect(space.findPage(endingAfter: 0)?.address == binding.start)
        #expect(space.findPage(endingAfter: binding.end) == nil)
        #expect(space.findPage(endingAfter: binding.end - 1) != nil)
        #expect(binding.start == 0 || space.walk(binding.start - 1) == nil)
        #expect(space.walk(binding.end) == nil)
        #expect(space.clear(binding) == entries)
        #expect(space.findPage(endingAfter: 0) == nil)
        test.gpu.invalidate(space, start: binding.start, size: binding.size)
        space.freeRetired()
        #expect(test.gpu.pointee.tables.liveCount == 1)
        test.gpu.freeSpace(space)
    }

    @Test("selftest 28: a reservation fails for memory at each step, and leaves all as it was", arguments: 0..<4)
    func reserveFails(kind: Int) {
        let test = TestGPU(uncached: true)
        let space = test.space()
        let neighbour = test.bind(space, at: 0x7F_BFA0_0000, size: 0x1000, to: 0x10_0000_0000)
        let binding = [
            Binding(start: 0x7F_FFFF_F000, size: 0x2000, physical: 0x20_0000_1000, isLocal: false, isReadOnly: false),
            Binding(
                start: 0x7F_FFC0_2000, size: 0x60_0000, physical: 0x20_0000_1000, isLocal: false, isReadOnly: false),
            Binding(
                start: 0x7F_BFC0_0000, size: 0x8080_0000, physical: 0x20_0000_0000, isLocal: false, isReadOnly: false),
            Binding(start: 0x1_0000, size: 0x4060_0000, physical: 0x20_0000_0000, isLocal: false, isReadOnly: true),
        ][kind]
        let tables = test.gpu.pointee.tables.liveCount
        let bytes = test.memory.bytes
        var failures = 0
        while true {
            test.memory.countdown.pointee = failures
            do throws(Status) {
                try space.reserve(binding)
                break
            } catch {
                #expect(error == .noMemory)
            }
            failures += 1
            #expect(test.gpu.pointee.tables.liveCount == tables && test.memory.bytes == bytes)
            #expect(space.pointee.retired == nil)
            space.checkInvariants()
        }
        test.memory.countdown.pointee = 0
        #expect(failures >= 2)
        #expect(space.write(binding) > 0, "a write allocates nothing")
        _ = space.clear(binding)
        test.gpu.invalidate(space, start: binding.start, size: binding.size)
        space.freeRetired()
        #expect(test.gpu.pointee.tables.liveCount == tables && test.memory.bytes == bytes)
        test.unbind(space, neighbour)
        test.gpu.freeSpace(space)
    }

    @Test("making a GPU, a space, an engine or a job fails cleanly at each allocation")
    func makingFails() {
        let test = TestGPU(uncached: true)
        let bytes = test.memory.bytes
        let fence = makeTestFence()
        var steps = 0
        while true {
            test.memory.countdown.pointee = steps
            do throws(Status) {
                let space = try test.gpu.makeSpace(id: 1, pageSizes: PageSize.all)
                defer { test.gpu.freeSpace(space) }
                let engine = try test.gpu.makeEngine(space: space, id: 1, timeline: 1)
                defer { engine.free() }
                let job = try test.gpu.makeJob(for: engine, commandCount: 2)
                defer { job.discard() }
                try job.add(Command(kind: .wait, fence: fence))
                try job.await(fence)
                break
            } catch { #expect(error == .noMemory) }
            #expect(test.memory.bytes == bytes)
            steps += 1
        }
        test.memory.countdown.pointee = -1
        #expect(steps == 11 && test.memory.bytes == bytes)
        fence.drop()
    }

    @Test("a newer binding is reserved while the older one of the same addresses is still mapped, in every page size")
    func overlapsPendingClear() {
        let test = TestGPU()
        let space = test.space()
        let skews: [UInt64] = [0, 0x1_0000, 0x1000]
        var older: Binding?
        for round in 0..<12 {
            let binding = Binding(
                start: 0x20_0000, size: 0x40_0000,
                physical: 0x10_0000_0000 + UInt64(round) << 30 + skews[(round * 5 + round / 3) % 3], isLocal: false,
                isReadOnly: false)
            try! space.reserve(binding)
            space.checkInvariants()
            if let older { test.unbind(space, older) }
            _ = space.write(binding)
            space.checkInvariants()
            older = binding
        }
        test.unbind(space, older!)
        #expect(test.gpu.pointee.tables.liveCount == 1)
        test.gpu.freeSpace(space)
    }

    @Test("a large leaf is written where a later binding has only reserved a table, left over from an earlier one")
    func largeLeafOverReservedTable() {
        let test = TestGPU()
        let space = test.space()
        let small = test.bind(space, at: 0x20_0000, size: 0x1000, to: 0x10_0000_1000)
        let large = Binding(
            start: 0x20_0000, size: 0x20_0000, physical: 0x10_0000_0000, isLocal: false, isReadOnly: false)
        let last = Binding(start: 0x20_3000, size: 0x1000, physical: 0x10_0000_1000, isLocal: false, isReadOnly: false)
        try! space.reserve(large)
        try! space.reserve(last)
        test.unbind(space, small)
        #expect(space.write(large) == 1)
        space.checkInvariants()
        test.unbind(space, large)
        #expect(space.write(last) == 1)
        space.checkInvariants()
        test.unbind(space, last)
        #expect(test.gpu.pointee.tables.liveCount == 1)
        test.gpu.freeSpace(space)
    }

    @Test("tables that engines may read stay until an invalidation that began after they were unlinked")
    func retiredTables() {
        let test = TestGPU()
        let space = test.space()
        let binding = test.bind(space, at: 0, size: 0x1000, to: 0x10_0000_0000)
        let covered = space.beginInvalidation()
        _ = space.clear(binding)
        #expect(space.pointee.retired != nil)
        space.acknowledge(covered)
        space.freeRetired()
        #expect(space.pointee.retired != nil && test.gpu.pointee.tables.liveCount == 4)
        test.gpu.invalidate(space, start: 0, size: 0x1000)
        space.freeRetired()
        #expect(space.pointee.retired == nil && test.gpu.pointee.tables.liveCount == 1)
        test.gpu.freeSpace(space)
    }

    @Test("clearing, invalidating and freeing allocate nothing and may run in a signalling section")
    func signallingSection() {
        let test = TestGPU(uncached: true)
        let space = test.space()
        let binding = test.bind(space, at: 0x1F_F000, size: 0x40_2000, to: 0x10_0000_0000)
        let other = Binding(start: 0x80_0000, size: 0x1000, physical: 0x1000, isLocal: false, isReadOnly: false)
        try! space.reserve(other)
        let allocations = test.memory.pointer.pointee.allocations.load(ordering: .relaxed)
        SignallingSection.begin()
        test.unbind(space, binding)
        space.cancel(other)
        SignallingSection.end()
        #expect(test.memory.pointer.pointee.allocations.load(ordering: .relaxed) == allocations)
        test.gpu.invalidate(space, start: 0, size: .max)
        space.freeRetired()
        #expect(test.gpu.pointee.tables.liveCount == 1)
        test.gpu.freeSpace(space)
    }

    @Test("an abandoned space keeps its entries, takes no reservation, and frees everything at its end")
    func abandoned() {
        let test = TestGPU()
        let space = test.space()
        let first = test.bind(space, at: 0, size: 0x1000, to: 0x10_0000_0000)
        let second = test.bind(space, at: 0x1000, size: 0x1000, to: 0x10_0000_0000)
        let third = Binding(start: 0x1000, size: 0x1000, physical: 0x1000, isLocal: false, isReadOnly: false)
        try! space.reserve(third)
        space.pointee.lock.acquire()
        space.skipLocked(first)
        space.pointee.lock.release()
        #expect(space.walk(0) != nil)
        do throws(Status) {
            try space.reserve(first)
            Issue.record("an abandoned space took a reservation")
        } catch { #expect(error == .closed) }
        #expect(space.clear(second) == 0 && space.write(third) == 0)
        space.cancel(third)
        space.checkInvariants()
        test.gpu.freeSpace(space)
        #expect(test.gpu.pointee.tables.liveCount == 0)
    }

    @Test("costs are rounded up to nanoseconds and saturate")
    func costs() {
        let costs = CostModel.simulatedDefault
        #expect(costs.entries(0) == 0 && costs.entries(3) == 6)
        #expect(costs.bytes(1) == 1 && costs.bytes(50) == 1 && costs.bytes(51) == 2)
        #expect(costs.bytes(.max) == UInt64.max / 1000 + 1)
        #expect(CostModel.zero.bytes(.max) == 0)
    }
}
