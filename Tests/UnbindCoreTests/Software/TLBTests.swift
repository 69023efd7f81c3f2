import Testing

@testable import UnbindCore

@Suite struct TLBTests {
    private func leaf(_ address: UInt64, _ size: UInt64) -> PageLeaf {
        PageLeaf(entry: PageTableEntry(raw: address | 3), size: size)
    }

    @Test("the TLB finds the page of each size that holds an address, in its own space only")
    func finds() {
        let memory = TestMemory()
        let tlb = TLB.make(memory: memory.pointer)!
        tlb.insert(leaf(0x1000, PageSize.small), at: 0x5FFF, space: 1)
        tlb.insert(leaf(0x2_0000, PageSize.medium), at: 0x1_8000, space: 1)
        tlb.insert(leaf(0x40_0000, PageSize.large), at: 0x3F_FFFF, space: 1)
        tlb.insert(leaf(0, PageSize.small), at: 0, space: 1)
        #expect(tlb.lookUp(0x5000, space: 1) == leaf(0x1000, PageSize.small))
        #expect(tlb.lookUp(0x4FFF, space: 1) == nil && tlb.lookUp(0x6000, space: 1) == nil)
        #expect(tlb.lookUp(0x1_FFFF, space: 1) == leaf(0x2_0000, PageSize.medium))
        #expect(tlb.lookUp(0x20_0000, space: 1) == leaf(0x40_0000, PageSize.large))
        #expect(tlb.lookUp(0, space: 1) != nil)
        #expect(tlb.lookUp(0x20_0000, space: 2) == nil)
        #expect(tlb.count == 4)
        tlb.free()
    }

    @Test("invalidation drops exactly what overlaps the range in the space")
    func invalidates() {
        let memory = TestMemory()
        let tlb = TLB.make(memory: memory.pointer)!
        for page in 0..<8 { tlb.insert(leaf(0, PageSize.small), at: UInt64(page) * 0x1000, space: 1) }
        tlb.insert(leaf(0, PageSize.small), at: 0x2000, space: 2)
        tlb.insert(leaf(0, PageSize.large), at: 0x20_0000, space: 1)
        tlb.invalidate(start: 0x2000, size: 0x2000, space: 1)
        for page in 0..<8 {
            #expect((tlb.lookUp(UInt64(page) * 0x1000, space: 1) == nil) == (page == 2 || page == 3))
        }
        #expect(tlb.lookUp(0x2000, space: 2) != nil)
        tlb.invalidate(start: 0x3F_F000, size: 0x1000, space: 1)
        #expect(tlb.lookUp(0x20_0000, space: 1) == nil)
        tlb.invalidate(start: 0x1000, size: .max, space: 1)
        #expect(tlb.count == 2)
        tlb.free()
    }

    @Test("a full set gives up one of its lines, never more")
    func evicts() {
        let memory = TestMemory()
        let tlb = TLB.make(memory: memory.pointer)!
        for round in 0..<100 {
            tlb.insert(leaf(0, PageSize.small), at: UInt64(round) << 18, space: 1)
            #expect(tlb.lookUp(UInt64(round) << 18, space: 1) != nil)
        }
        #expect(tlb.count == 4)
        tlb.free()
    }
}
