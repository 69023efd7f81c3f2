import Testing

@testable import UnbindCore

/// The leaves of a binding by the rule as it is stated, one page after the other.
private func naiveLeaves(_ binding: Binding, _ pageSizes: UInt64) -> [(UInt64, PageLeaf, entries: UInt64)] {
    var leaves: [(UInt64, PageLeaf, entries: UInt64)] = []
    var offset: UInt64 = 0
    while offset < binding.size {
        let address = binding.start + offset
        let physical = binding.physical + offset
        var size = PageSize.small
        for candidate in [PageSize.large, PageSize.medium]
        where pageSizes & candidate != 0 && address % candidate == 0 && physical % candidate == 0
            && binding.size - offset >= candidate
        {
            size = candidate
            break
        }
        var raw = physical | 1 | (binding.isReadOnly ? 0 : 2) | (binding.isLocal ? 1 << 11 : 0)
        if size == PageSize.large { raw |= 1 << 7 }
        if size == PageSize.medium { raw |= 1 << 8 }
        let leaf = PageLeaf(entry: PageTableEntry(raw: raw), size: size)
        leaves.append((address, leaf, size == PageSize.medium ? 16 : 1))
        offset += size
    }
    return leaves
}

/// What the owner of a space does: bindings that overlap only while the older one is on its way out.
private struct OwnerModel {
    struct Item {
        var binding: Binding
        var isWritten = false
        var isLeaving = false
    }

    var items: [Int: Item] = [:]
    var nextKey = 0
    var leaves: [UInt64: PageLeaf] = [:]
    var entries: UInt64 = 0

    func overlaps(_ a: Binding, _ b: Binding) -> Bool { a.start < b.end && b.start < a.end }

    func olderOverlap(_ key: Int) -> Bool {
        items.contains { $0.key < key && overlaps($0.value.binding, items[key]!.binding) }
    }
}

private let interestingAddresses: [UInt64] = [
    0, 0x20_0000, 0x3FE0_0000, 0x4000_0000, 0x7FFF_FE00_0000, 0x80_0000_0000, 0x7F_FFE0_0000, 0xFFFF_FFC0_0000,
]

@Suite struct PageTableModelTests {
    @Test("the page tables hold what a page by page model says, under random overlapping lives", arguments: 0..<35)
    func agreesWithModel(seed: Int) {
        let test = TestGPU(uncached: seed % 7 == 0)
        var random = RandomSource(seed: UInt64(seed) &* 977 &+ 5)
        let pageSizes = [
            PageSize.all, PageSize.small, PageSize.small | PageSize.large, PageSize.small | PageSize.medium,
            PageSize.medium | PageSize.large, PageSize.medium, PageSize.all,
        ][seed % 7]
        let space = test.space(pageSizes: pageSizes)
        var model = OwnerModel()
        for step in 0..<250 {
            switch random.next(below: 8) {
            case 0, 1, 2: reserve(&model, space, &random)
            case 3, 4: write(&model, space, &random)
            case 5:
                if let key = pick(model.items.filter { !$0.value.isLeaving }.keys, &random) {
                    model.items[key]!.isLeaving = true
                }
            case 6: leave(&model, space, &random)
            default:
                test.gpu.invalidate(space, start: 0, size: .max)
                space.freeRetired()
            }
            if step % 50 == 0 { check(model, space) }
        }
        check(model, space)
        while !model.items.isEmpty {
            for key in model.items.keys { model.items[key]!.isLeaving = true }
            write(&model, space, &random)
            leave(&model, space, &random)
        }
        check(model, space)
        #expect(space.findPage(endingAfter: 0) == nil)
        test.gpu.invalidate(space, start: 0, size: .max)
        space.freeRetired()
        #expect(test.gpu.pointee.tables.liveCount == 1, "only the root is left")
        #expect(
            test.gpu.totals.written == test.gpu.totals.cleared)
        test.gpu.freeSpace(space)
    }

    private func pick(_ keys: some Collection<Int>, _ random: inout RandomSource) -> Int? {
        keys.isEmpty ? nil : keys.sorted()[random.next(below: keys.count)]
    }

    private func reserve(_ model: inout OwnerModel, _ space: SoftwareSpacePointer, _ random: inout RandomSource) {
        let unit = space.pointee.pageSizes & (~space.pointee.pageSizes + 1)
        var start = interestingAddresses[random.next(below: interestingAddresses.count)]
        // Everything near the places of interest, on both sides of them, and often exactly there.
        let offsets: [UInt64] = [0, 0, 0x20_0000, UInt64(random.next(below: 1024)) * unit, 0x1F_0000]
        start += offsets[random.next(below: offsets.count)]
        if start >= PageTableLevel.addressLimit { return }
        let sizes: [UInt64] = [
            unit, 0x1_0000, 0x20_0000, 0x40_0000, UInt64(random.next(below: 1200) + 1) * unit,
            space.pointee.pageSizes & PageSize.large != 0 ? 0x4060_0000 : 0x60_0000,
        ]
        let size = min(sizes[random.next(below: sizes.count)], PageTableLevel.addressLimit - start)
        // The same alignment modulo 2 MiB, 64 KiB, or neither.
        let skews: [UInt64] = [0, 0, UInt64(random.next(below: 32)) << 16, UInt64(random.next(below: 512)) * unit]
        let physical = 0x10_0000_0000 + start % 0x20_0000 + skews[random.next(below: skews.count)]
        let binding = Binding(
            start: start, size: size, physical: physical, isLocal: false, isReadOnly: random.next(below: 4) == 0)
        if model.items.values.contains(where: { !$0.isLeaving && model.overlaps($0.binding, binding) }) { return }
        try! space.reserve(binding)
        model.items[model.nextKey] = OwnerModel.Item(binding: binding)
        model.nextKey += 1
    }

    private func write(_ model: inout OwnerModel, _ space: SoftwareSpacePointer, _ random: inout RandomSource) {
        let ready = model.items.filter { !$0.value.isWritten && !model.olderOverlap($0.key) }.keys
        guard let key = pick(ready, &random) else { return }
        var entries: UInt64 = 0
        for (address, leaf, count) in naiveLeaves(model.items[key]!.binding, space.pointee.pageSizes) {
            model.leaves[address] = leaf
            entries += count
        }
        #expect(space.write(model.items[key]!.binding) == entries)
        model.items[key]!.isWritten = true
    }

    private func leave(_ model: inout OwnerModel, _ space: SoftwareSpacePointer, _ random: inout RandomSource) {
        guard let key = pick(model.items.filter { $0.value.isLeaving }.keys, &random) else { return }
        let item = model.items.removeValue(forKey: key)!
        if item.isWritten {
            var entries: UInt64 = 0
            for (address, _, count) in naiveLeaves(item.binding, space.pointee.pageSizes) {
                model.leaves[address] = nil
                entries += count
            }
            #expect(space.clear(item.binding) == entries)
        } else {
            space.cancel(item.binding)
        }
    }

    private func check(_ model: OwnerModel, _ space: SoftwareSpacePointer) {
        space.checkInvariants()
        var found: [UInt64: PageLeaf] = [:]
        var address: UInt64 = 0
        while let page = space.findPage(endingAfter: address) {
            found[page.address] = page.leaf
            address = page.address + page.leaf.size
            if space.walk(page.address + page.leaf.size - 1) != page.leaf { Issue.record("the end of a page differs") }
        }
        #expect(found == model.leaves)
    }
}
