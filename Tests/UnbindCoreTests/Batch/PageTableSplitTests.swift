import Testing

@testable import UnbindCore

/// What an engine finds at each 4 KiB of a range.
private func translations(_ space: SoftwareSpacePointer, _ start: UInt64, _ end: UInt64) -> [UInt64] {
    stride(from: start, to: end, by: 4096).map { address in
        guard let leaf = space.walk(address) else { return 0 }
        return (leaf.entry.raw & 0xFFF & ~PageTableEntry.large & ~PageTableEntry.medium)
            | (leaf.entry.address &+ (address & (leaf.size - 1)))
    }
}

@Suite struct PageTableSplitTests {
    private func part(_ binding: Binding, from start: UInt64, to end: UInt64) -> Binding {
        var part = binding
        part.start = start
        part.size = end - start
        part.physical = binding.physical + (start - binding.start)
        return part
    }

    private func split(_ space: SoftwareSpacePointer, _ whole: Binding, at cuts: [UInt64]) -> [Binding] {
        let ends = cuts + [whole.end]
        var start = whole.start
        var pieces: [Binding] = []
        for end in ends {
            pieces.append(part(whole, from: start, to: end))
            start = end
        }
        for piece in pieces { try! space.reserve(piece) }
        space.pointee.lock.acquire()
        _ = space.splitLocked(whole, into: pieces.count) { pieces[$0] }
        space.pointee.lock.release()
        return pieces
    }

    @Test("a binding that is split translates as before, piece by piece, until each is cleared", arguments: 0..<24)
    func keepsTranslations(seed: Int) {
        let test = TestGPU(uncached: seed % 2 == 0)
        var random = RandomSource(seed: UInt64(seed) &* 7919 &+ 3)
        let sizes = [
            PageSize.all, PageSize.small, PageSize.small | PageSize.large, PageSize.small | PageSize.medium,
            PageSize.medium | PageSize.large, PageSize.medium,
        ][seed % 6]
        let unit = sizes & (~sizes &+ 1)
        let space = test.space(pageSizes: sizes)
        for _ in 0..<12 {
            let start = 0x4000_0000 - 0x60_0000 + UInt64(random.next(below: 600)) * unit
            let count = UInt64(random.next(below: 1600) + 2)
            let skew = [0, 0, UInt64(random.next(below: 32)) << 16][random.next(below: 3)]
            let whole = Binding(
                start: start, size: count * unit, physical: 0x10_0000_0000 + start + skew, isLocal: false,
                isReadOnly: random.next(below: 2) == 0)
            try! space.reserve(whole)
            _ = space.write(whole)
            let before = translations(space, whole.start, whole.end)
            var cuts = Set<UInt64>()
            for _ in 0..<(random.next(below: 6) + 1) {
                var cut = start + UInt64(random.next(below: Int(count - 1)) + 1) * unit
                // Often where a large page begins.
                if random.next(below: 3) == 0 { cut = roundDown(cut, to: PageSize.large) }
                if cut > start { cuts.insert(cut) }
            }
            var pieces = split(space, whole, at: cuts.sorted())
            #expect(translations(space, whole.start, whole.end) == before)
            space.checkInvariants()
            if let index = pieces.firstIndex(where: { $0.size > unit }), random.next(below: 2) == 0 {
                let piece = pieces.remove(at: index)
                pieces += split(space, piece, at: [piece.start + unit])
                #expect(translations(space, whole.start, whole.end) == before)
            }
            var expected = before
            while !pieces.isEmpty {
                let piece = pieces.remove(at: random.next(below: pieces.count))
                _ = space.clear(piece)
                for index in Int((piece.start - start) / 4096)..<Int((piece.end - start) / 4096) { expected[index] = 0 }
                #expect(translations(space, whole.start, whole.end) == expected)
                space.checkInvariants()
                if random.next(below: 3) == 0 {
                    test.gpu.invalidate(space, start: 0, size: .max)
                    space.freeRetired()
                }
            }
        }
        test.gpu.invalidate(space, start: 0, size: .max)
        space.freeRetired()
        #expect(test.gpu.pointee.tables.liveCount == 1, "only the root is left")
        test.gpu.freeSpace(space)
    }

    @Test("a split writes anew only what was in a large page that it cuts")
    func writesLittle() {
        let test = TestGPU()
        let space = test.space(pageSizes: PageSize.all)
        let whole = Binding(
            start: 0x20_0000, size: 0x60_0000, physical: 0x10_0020_0000, isLocal: false, isReadOnly: false)
        try! space.reserve(whole)
        _ = space.write(whole)
        let written = test.gpu.totals.written
        var pieces = split(space, whole, at: [0x40_0000])
        #expect(test.gpu.totals.written == written, "at the end of a large page")
        pieces = split(space, pieces[1], at: [0x41_0000]) + [pieces[0]]
        #expect(test.gpu.totals.written == written + 512, "one table for the large page that is cut")
        pieces = split(space, pieces[1], at: [0x41_1000]) + [pieces[0], pieces[2]]
        #expect(test.gpu.totals.written == written + 512 + 16, "the marks of one page of 64 KiB")
        for piece in pieces { _ = space.clear(piece) }
        test.gpu.freeSpace(space)
    }

    @Test("bindings that are split and joined again have the entries of one that never was", arguments: 0..<24)
    func joinsAgain(seed: Int) {
        let test = TestGPU(uncached: seed % 2 == 0)
        var random = RandomSource(seed: UInt64(seed) &* 104_729 &+ 11)
        let sizes = [
            PageSize.all, PageSize.small, PageSize.small | PageSize.large, PageSize.small | PageSize.medium,
            PageSize.medium | PageSize.large, PageSize.medium,
        ][seed % 6]
        let unit = sizes & (~sizes &+ 1)
        let space = test.space(pageSizes: sizes)
        for _ in 0..<8 {
            let start = 0x4000_0000 - 0x60_0000 + UInt64(random.next(below: 600)) * unit
            let count = UInt64(random.next(below: 1600) + 2)
            let skew = [0, 0, UInt64(random.next(below: 32)) << 16][random.next(below: 3)]
            let whole = Binding(
                start: start, size: count * unit, physical: 0x10_0000_0000 + start + skew, isLocal: false,
                isReadOnly: false)
            try! space.reserve(whole)
            _ = space.write(whole)
            let (before, leaves) = (translations(space, whole.start, whole.end), leaves(space, whole))
            var cuts = Set<UInt64>()
            for _ in 0..<(random.next(below: 6) + 1) {
                cuts.insert(start + UInt64(random.next(below: Int(count - 1)) + 1) * unit)
            }
            var pieces = split(space, whole, at: cuts.sorted())
            while pieces.count > 1 {
                let first = random.next(below: pieces.count - 1)
                let joined = min(pieces.count - first, random.next(below: 3) + 2)
                var one = pieces[first]
                for piece in pieces[(first + 1)..<(first + joined)] { one.size += piece.size }
                try! space.reserve(one)
                space.pointee.lock.acquire()
                let parts = Array(pieces[first..<(first + joined)])
                let isJoined = space.joinLocked(one, from: joined) { parts[$0] }
                space.pointee.lock.release()
                #expect(isJoined)
                pieces.replaceSubrange(first..<(first + joined), with: [one])
                #expect(translations(space, whole.start, whole.end) == before)
                if random.next(below: 2) == 0 {
                    test.gpu.invalidate(space, start: 0, size: .max)
                    space.freeRetired()
                }
                space.checkInvariants()
            }
            #expect(self.leaves(space, whole) == leaves)
            _ = space.clear(whole)
            #expect(space.findPage(endingAfter: 0) == nil)
        }
        test.gpu.invalidate(space, start: 0, size: .max)
        space.freeRetired()
        #expect(test.gpu.pointee.tables.liveCount == 1, "only the root is left")
        test.gpu.freeSpace(space)
    }

    private func leaves(_ space: SoftwareSpacePointer, _ binding: Binding) -> [MappedPage] {
        var pages: [MappedPage] = []
        var address = binding.start
        while let page = space.findPage(endingAfter: address), page.address < binding.end {
            pages.append(page)
            address = page.address + page.leaf.size
        }
        return pages
    }

    @Test("a table that somebody else has reserved does not give way")
    func keepsReservedTable() {
        let test = TestGPU()
        let space = test.space(pageSizes: PageSize.all)
        let whole = Binding(
            start: 0x20_0000, size: 0x20_0000, physical: 0x10_0020_0000, isLocal: false, isReadOnly: false)
        try! space.reserve(whole)
        _ = space.write(whole)
        let pieces = split(space, whole, at: [0x30_0000])
        let other = part(whole, from: 0x20_1000, to: 0x20_2000)
        try! space.reserve(other)
        try! space.reserve(whole)
        space.pointee.lock.acquire()
        #expect(!space.joinLocked(whole, from: 2) { pieces[$0] })
        space.pointee.lock.release()
        space.checkInvariants()
        space.cancel(other)
        space.pointee.lock.acquire()
        #expect(space.joinLocked(whole, from: 2) { pieces[$0] })
        space.pointee.lock.release()
        #expect(space.walk(0x30_0000)?.size == PageSize.large)
        _ = space.clear(whole)
        test.gpu.freeSpace(space)
    }
}
