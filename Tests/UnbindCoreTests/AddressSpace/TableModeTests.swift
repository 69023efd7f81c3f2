// Page-table hazards where 64 KiB pages are a mode of whole tables (kernel semantics P9, M11, R7; xe's range fences).

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct TableModeTests {
    private static var ips: UInt32 { UInt32(UNBIND_VM_IPS) }
    private static var block: UInt64 { 0x20_0000 }

    /// A pending unbind of one binding in a table, and a bind of another, disjoint one.
    private struct Case: CustomTestStringConvertible {
        let name: String
        let old: (address: UInt64, size: UInt64)
        let new: (address: UInt64, size: UInt64)
        let waits: Bool
        /// The page size at the end of the new binding.
        let page: UInt64
        var testDescription: String { name }
    }

    private static var cases: [Case] {
        [
            Case(name: "64K after 4K", old: (0x3000, 0x1000), new: (0x1_0000, 0x1_0000), waits: true, page: 0x1_0000),
            Case(name: "64K before 4K", old: (0x1F_F000, 0x1000), new: (0, 0x10_0000), waits: true, page: 0x1_0000),
            Case(
                name: "2M and a tail of 64K", old: (block + 0x10_1000, 0x1000), new: (0, block + 0x1_0000), waits: true,
                page: 0x1_0000),
            Case(
                name: "a head of 64K and 2M", old: (0, 0x1000), new: (block - 0x1_0000, block + 0x1_0000), waits: true,
                page: 0x1_0000),
            Case(name: "4K after 64K", old: (0x1_0000, 0x1_0000), new: (0x3000, 0x1000), waits: true, page: 0x1000),
            Case(
                name: "4K after a tail of 64K", old: (0, block + 0x1_0000), new: (block + 0x10_0000, 0x1000), waits: true,
                page: 0x1000),
            Case(name: "4K after 4K", old: (0x3000, 0x1000), new: (0x1_0000, 0x1000), waits: false, page: 0x1000),
            Case(
                name: "64K after 64K", old: (0, 0x1_0000), new: (0x1_0000, 0x1_0000), waits: false, page: 0x1_0000),
            Case(
                name: "64K in another table", old: (0x3000, 0x1000), new: (block, 0x1_0000), waits: false,
                page: 0x1_0000),
            Case(name: "2M beside 4K", old: (0x3000, 0x1000), new: (block, block), waits: false, page: block),
        ]
    }

    @Test(
        "P9: a bind that changes a table's mode waits for unbinds of disjoint addresses in it, one that does not never does",
        arguments: cases.indices)
    func bothOrders(index: Int) {
        let item = Self.cases[index]
        for hasModes in [true, false] {
            let gpu = DirectedGPU()
            let space = gpu.makeSpace(flags: hasModes ? Self.ips : 0)
            let queue = gpu.makeQueue(space)
            let buffer = gpu.makeBuffer(item.old.size)
            let old = gpu.makeVMA(space, at: item.old.address, buffer: buffer)
            let new = gpu.makeVMA(space, at: item.new.address, size: item.new.size)
            gpu.bind(old)
            let gate = gpu.makeFence()
            // GPU work that goes on using the old pages, first and last.
            let last = item.old.address + item.old.size - 8
            let job = gpu.store(queue, 7, at: [item.old.address, last], using: [old], after: [gate])
            let unbind = gpu.unbindAsync(old)
            let bind = gpu.bindAsync(new)
            gpu.run()
            let waits = item.waits && hasModes
            #expect(gpu.isSignalled(bind) != waits && !gpu.isSignalled(unbind), "\(item.name), modes \(hasModes)")
            #expect(spaceStats(space).awaited == (waits ? 1 : 0) && spaceStats(space).awaited_not_overlapping == 0)
            #expect(gpu.page(space, at: last) != nil)
            gpu.signal(gate)
            gpu.run()
            var error: Int32 = 1
            #expect(unbind_fence_get_error(job, &error) == 0 && error == 0, "\(item.name): the job faulted")
            #expect(gpu.word(buffer) == 7 && gpu.word(buffer, at: Int(item.old.size) - 8) == 7)
            #expect(gpu.isSignalled(unbind) && gpu.isSignalled(bind))
            #expect(gpu.page(space, at: item.new.address + item.new.size - 1)?.size == item.page, "\(item.name)")
            Flaws.checkPageTables(space)
            gpu.close()
        }
    }

    @Test("P9: a synchronous bind waits in the same way, and every policy ends the same", arguments: [0, 1, 2])
    func synchronous(policy: Int) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(policy: policy, flags: Self.ips)
        let queue = gpu.makeQueue(space)
        let old = gpu.makeVMA(space, at: 0x3000, isKept: false)
        let new = gpu.makeVMA(space, at: 0x1_0000, size: 0x1_0000)
        gpu.bind(old)
        let job = gpu.store(queue, 7, at: [0x3000], using: [old])
        // Dropping never waits, whatever the policy.
        unbind_vma_unref(old)
        gpu.bind(new)
        #expect(gpu.isSignalled(job) && spaceStats(space).pending == 0)
        #expect(gpu.page(space, at: 0x1_0000)?.size == 0x1_0000 && gpu.faultCount == 0)
        gpu.close()
    }

    @Test("a table of 64 KiB pages is broken down for a bind of 4 KiB, under jobs that use it, and built up again")
    func breakDown() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(flags: Self.ips)
        let queue = gpu.makeQueue(space)
        let buffer = gpu.makeBuffer(0x2_0000)
        let medium = gpu.makeVMA(space, at: 0x10_0000, buffer: buffer)
        let small = gpu.makeVMA(space, at: 0x1000)
        let other = gpu.makeVMA(space, at: 0x4_0000, size: 0x1_0000)
        gpu.bind(medium)
        #expect(gpu.page(space, at: 0x10_0000)?.size == 0x1_0000)
        // The TLB knows the page of 64 KiB; the job's second half comes when it is no more.
        let addresses: [UInt64] = [0x10_0000, 0x11_5008]
        _ = gpu.store(queue, 1, at: addresses, using: [medium])
        gpu.run()
        gpu.bind(small)
        #expect(gpu.page(space, at: 0x10_0000)?.size == 0x1000 && gpu.page(space, at: 0x1000) != nil)
        _ = gpu.store(queue, 2, at: addresses + [0x1000], using: [medium, small])
        gpu.run()
        #expect(gpu.faultCount == 0 && gpu.word(buffer) == 2 && gpu.word(buffer, at: 0x1_5008) == 2)
        #expect(unbind_vma_unbind(small, 0) == 0)
        #expect(gpu.page(space, at: 0x10_0000)?.size == 0x1000, "nobody asked for more")
        gpu.bind(other)
        #expect(gpu.page(space, at: 0x10_0000)?.size == 0x1_0000 && gpu.page(space, at: 0x4_0000)?.size == 0x1_0000)
        _ = gpu.store(queue, 3, at: addresses, using: [medium])
        gpu.run()
        #expect(gpu.faultCount == 0 && gpu.word(buffer) == 3)
        Flaws.checkPageTables(space)
        gpu.close()
    }

    @Test("an earlier bind that is still under way keeps to what a later one has decided")
    func decisionsInOrder() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(flags: Self.ips)
        let first = gpu.makeVMA(space, at: 0x10_0000, size: 0x1_0000)
        let medium = gpu.makeVMA(space, at: 0x10_0000, size: 0x2_0000)
        let small = gpu.makeVMA(space, at: 0x1000)
        gpu.bind(first)
        let user = gpu.makeUser(of: first)
        _ = gpu.unbindAsync(first)
        let bind = gpu.bindAsync(medium)
        // Decided after it, and waits for the same unbind, because it breaks the table down.
        let smallBind = gpu.bindAsync(small)
        gpu.run()
        #expect(!gpu.isSignalled(bind) && !gpu.isSignalled(smallBind))
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(bind) && gpu.isSignalled(smallBind))
        #expect(gpu.page(space, at: 0x10_0000)?.size == 0x1000 && gpu.page(space, at: 0x1000)?.size == 0x1000)
        Flaws.checkPageTables(space)
        gpu.close()
    }

    @Test("P9: a bind that evicts a 4 KiB page, and so changes the mode, waits for other pending ones in the table")
    func evicting() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(flags: Self.ips)
        let pending = gpu.makeVMA(space, at: 0x3000)
        let evicted = gpu.makeVMA(space, at: 0x1_1000)
        let new = gpu.makeVMA(space, at: 0x1_0000, size: 0x1_0000)
        gpu.bind(pending)
        gpu.bind(evicted)
        let user = gpu.makeUser(of: pending)
        let unbind = gpu.unbindAsync(pending)
        var bind: OpaquePointer?
        #expect(unbind_vma_bind_async(new, UInt32(UNBIND_BIND_EVICT), &bind) == 0)
        gpu.run()
        #expect(gpu.isUnbound(evicted) && !gpu.isSignalled(bind!) && !gpu.isSignalled(unbind))
        gpu.signal(user)
        gpu.run()
        #expect(gpu.isSignalled(bind!) && gpu.page(space, at: 0x1_0000)?.size == 0x1_0000)
        unbind_fence_unref(bind)
        gpu.close()
    }

    @Test("the modes come back after a suspend")
    func suspended() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(flags: Self.ips)
        let small = gpu.makeVMA(space, at: 0x1000)
        for (address, size) in [(0x10_0000, 0x1_0000), (Self.block, 0x3_0000), (4 * Self.block, 3 * Self.block)] {
            gpu.bind(gpu.makeVMA(space, at: address, size: size))
        }
        gpu.bind(small)
        let before = walkPages(space)
        #expect(unbind_vm_suspend(space) == 0 && unbind_vm_resume(space) == 0)
        #expect(walkPages(space) == before && before?.isEmpty == false)
        #expect(unbind_vm_suspend(space) == 0 && unbind_vma_unbind(small, 0) == 0 && unbind_vm_resume(space) == 0)
        #expect(gpu.page(space, at: 0x10_0000)?.size == 0x1000)
        Flaws.checkPageTables(space)
        gpu.close()
    }

    @Test("P9: with the search not rounded out, the library finds the old pages in the table and stops")
    func unroundedSearchIsFound() async {
        await #expect(processExitsWith: .signal(SIGABRT)) {
            let gpu = DirectedGPU()
            let space = gpu.makeSpace(flags: UInt32(UNBIND_VM_IPS))
            Flaws.searchOwnRangeOnly(space)
            let old = gpu.makeVMA(space, at: 0x3000)
            gpu.bind(old)
            _ = gpu.makeUser(of: old)
            _ = gpu.unbindAsync(old)
            _ = gpu.bindAsync(gpu.makeVMA(space, at: 0x1_0000, size: 0x1_0000))
        }
    }

    // MARK: Random programs

    /// What a random program did, and what the page sizes follow from: the naive form of the rule.
    private final class Program {
        struct Bound {
            let vma: OpaquePointer
            let start: UInt64
            let size: UInt64
            var end: UInt64 { start + size }
            func overlaps(_ from: UInt64, _ to: UInt64) -> Bool { start < to && from < end }
            /// All of it that is in the block consists of aligned 64 KiB pieces. Memory of that size begins at one.
            func allows(_ block: UInt64) -> Bool {
                start % 0x1_0000 == 0 && min(end, block + 0x20_0000) % 0x1_0000 == 0
            }
        }

        let gpu = DirectedGPU()
        let space: OpaquePointer
        let queue: OpaquePointer
        var random: SimulationRandom
        var vmas: [(handle: OpaquePointer, start: UInt64, size: UInt64)] = []
        var bound: [Bound] = []
        /// With users of the caller's that were not signalled.
        var waiting: [(binding: Bound, wasBound: Bool, fence: OpaquePointer)] = []
        var users: [OpaquePointer] = []
        var usersOf: [OpaquePointer: Int] = [:]
        /// By block: the page size decided by the last bind into it.
        var isMedium: [UInt64: Bool] = [:]

        init(seed: UInt64, policy: Int) {
            random = SimulationRandom(seed: seed)
            space = gpu.makeSpace(policy: policy, flags: UInt32(UNBIND_VM_IPS))
            queue = gpu.makeQueue(space)
            let sizes: [UInt64] = [0x1000, 0x3000, 0x1_0000, 0x1_0000, 0x2_0000, 0x8_0000, 0x20_0000, 0x21_0000, 0x40_0000]
            for _ in 0..<24 {
                let size = random.pick(sizes)
                let unit: UInt64 = random.chance(70) ? 0x1_0000 : 0x1000
                let start = UInt64(random.below(3)) * 0x20_0000 + UInt64(random.below(32)) * unit
                vmas.append((gpu.makeVMA(space, at: start, size: size), start, size))
            }
        }

        func bind() {
            let vma = random.pick(vmas)
            if bound.contains(where: { $0.vma == vma.handle || $0.overlaps(vma.start, vma.start + vma.size) }) { return }
            _ = gpu.bindAsync(vma.handle)
            let binding = Bound(vma: vma.handle, start: vma.start, size: vma.size)
            bound.append(binding)
            for block in stride(from: vma.start / 0x20_0000 * 0x20_0000, to: binding.end, by: 0x20_0000) {
                isMedium[block] = bound.allSatisfy { !$0.overlaps(block, block + 0x20_0000) || $0.allows(block) }
            }
        }

        func unbind() {
            guard !bound.isEmpty else { return }
            let binding = bound.remove(at: random.below(bound.count))
            let wasBound = gpu.isBound(binding.vma)
            waiting.append((binding, wasBound, gpu.unbindAsync(binding.vma)))
        }

        func use() {
            guard let binding = random.pickOptional(bound) else { return }
            if random.chance(50) {
                users.append(gpu.makeUser(of: binding.vma))
                return
            }
            let gate = gpu.makeFence()
            users.append(gate)
            _ = gpu.store(queue, 1, at: [binding.start, binding.end - 8], using: [binding.vma], after: [gate])
        }

        func step() {
            switch random.below(10) {
            case 0..<4: bind()
            case 4..<6: unbind()
            case 6..<8: use()
            case 8:
                if !users.isEmpty { gpu.signal(users.remove(at: random.below(users.count))) }
            default: gpu.run()
            }
        }

        /// What holds at any time: a table has one page size, and what a pending unbind covers stays mapped, all of it.
        func check() {
            Flaws.checkPageTables(space)
            let pages = walkPages(space) ?? []
            var sizes: [UInt64: Set<UInt64>] = [:]
            for page in pages where page.size < 0x20_0000 {
                sizes[page.address / 0x20_0000, default: []].insert(page.size)
            }
            #expect(sizes.values.allSatisfy { $0.count == 1 })
            waiting.removeAll { gpu.isSignalled($0.fence) }
            for unbind in waiting where unbind.wasBound {
                let bytes = pages.reduce(0) { $0 + (unbind.binding.overlaps($1.address, $1.address + 1) ? $1.size : 0) }
                #expect(bytes == unbind.binding.size, "a pending unbind lost pages")
            }
            #expect(gpu.faultCount == 0)
        }

        func settle() {
            for user in users { gpu.signal(user) }
            users = []
            gpu.run()
            check()
            #expect(waiting.isEmpty && bound.allSatisfy { gpu.isBound($0.vma) })
            for page in walkPages(space) ?? [] where page.size < 0x20_0000 {
                let expected: UInt64 = isMedium[page.address / 0x20_0000 * 0x20_0000]! ? 0x1_0000 : 0x1000
                if page.size != expected { Issue.record("\(page.size) at \(String(page.address, radix: 16))") }
            }
        }
    }

    @Test("M11: random binds over pending unbinds leave every table in the mode that what is bound asks for", arguments: 0..<80)
    func randomPrograms(seed: Int) {
        let program = Program(seed: UInt64(seed), policy: seed % 4 == 3 ? Int(UNBIND_POLICY_TIMELINE) : 0)
        for _ in 0..<3 {
            for _ in 0..<40 {
                program.step()
                program.check()
            }
            program.settle()
        }
        program.gpu.close()
    }

    @Test("P9: random programs find a search that is not rounded out")
    func randomProgramsFindIt() async {
        await #expect(processExitsWith: .signal(SIGABRT)) {
            for seed in 0..<40 {
                let program = Program(seed: UInt64(seed), policy: 0)
                Flaws.searchOwnRangeOnly(program.space)
                for _ in 0..<120 { program.step() }
                program.settle()
            }
        }
    }
}
