// TLB: the translations an engine remembers.
//
// Set-associative, one array for each page size, keyed by the space. As in hardware nothing is dropped when the page
// tables change, only when it is invalidated or its place is needed; the victim goes round, so that a run can be
// repeated. The engine compares every hit with the page tables: that is how the use of a stale translation is found.
//
// - Locking: belongs to its engine's lock.

import Synchronization

typealias TLBPointer = UnsafeMutablePointer<TLB>

struct TLB: ~Copyable {
    fileprivate struct Line {
        /// First address of the page, plus 1 so that 0 means empty.
        var tag: UInt64
        var space: UInt64
        /// The leaf, or the first of the sixteen of a 64 KiB page.
        var entry: UInt64
    }

    fileprivate let memory: UnsafeMutablePointer<Memory>
    fileprivate let lines: UnsafeMutablePointer<Line>
    /// Lines in use: an empty TLB is invalidated in no time.
    fileprivate var count = 0
    fileprivate var victim = 0

    fileprivate static var ways: Int { 4 }
    /// Sets for pages of 4 KiB, 64 KiB and 2 MiB, each a power of two.
    fileprivate static var smallSets: Int { 64 }
    fileprivate static var mediumSets: Int { 32 }
    fileprivate static var largeSets: Int { 16 }
    fileprivate static var lineCount: Int { (smallSets + mediumSets + largeSets) * ways }

    fileprivate init(memory: UnsafeMutablePointer<Memory>, lines: UnsafeMutablePointer<Line>) {
        self.memory = memory
        self.lines = lines
    }

    static func make(memory: UnsafeMutablePointer<Memory>) -> TLBPointer? {
        guard let tlb = memory.allocateApart(of: TLB.self) else { return nil }
        guard let lines = memory.allocateArray(of: Line.self, count: lineCount) else {
            memory.deallocateApart(tlb)
            return nil
        }
        lines.initialize(repeating: Line(tag: 0, space: 0, entry: 0), count: lineCount)
        tlb.initialize(to: TLB(memory: memory, lines: lines))
        return tlb
    }
}

extension UnsafeMutablePointer where Pointee == TLB {
    func free() {
        let memory = pointee.memory
        memory.deallocateArray(pointee.lines, count: TLB.lineCount)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    /// The translation remembered for the address, of any page size; nil if there is none.
    func lookUp(_ address: UInt64, space: UInt64) -> PageLeaf? {
        if let entry = find(address, PageSize.small, space) { return PageLeaf(entry: entry, size: PageSize.small) }
        if let entry = find(address, PageSize.medium, space) { return PageLeaf(entry: entry, size: PageSize.medium) }
        if let entry = find(address, PageSize.large, space) { return PageLeaf(entry: entry, size: PageSize.large) }
        return nil
    }

    /// Remembers a translation that was not found.
    func insert(_ leaf: PageLeaf, at address: UInt64, space: UInt64) {
        let set = firstLine(address, leaf.size)
        var way = pointee.victim & (TLB.ways - 1)
        pointee.victim &+= 1
        for candidate in 0..<TLB.ways where set[candidate].tag == 0 {
            way = candidate
            break
        }
        if set[way].tag == 0 { pointee.count &+= 1 }
        set[way] = TLB.Line(tag: roundDown(address, to: leaf.size) &+ 1, space: space, entry: leaf.entry.raw)
    }

    /// Forgets what overlaps the range in the space.
    func invalidate(start: UInt64, size: UInt64, space: UInt64) {
        if pointee.count == 0 { return }
        let end = start.addingSaturating(size)
        let lines = pointee.lines
        for index in 0..<TLB.lineCount where lines[index].tag != 0 && lines[index].space == space {
            let first = lines[index].tag &- 1
            if first < end && start < first &+ pageSize(ofLine: index) {
                lines[index].tag = 0
                pointee.count &-= 1
            }
        }
    }

    /// Translations remembered now.
    var count: Int { pointee.count }

    @inline(__always)
    private func find(_ address: UInt64, _ size: UInt64, _ space: UInt64) -> PageTableEntry? {
        let tag = roundDown(address, to: size) &+ 1
        let set = firstLine(address, size)
        for way in 0..<TLB.ways where set[way].tag == tag && set[way].space == space {
            return PageTableEntry(raw: set[way].entry)
        }
        return nil
    }

    @inline(__always)
    private func firstLine(_ address: UInt64, _ size: UInt64) -> UnsafeMutablePointer<TLB.Line> {
        let number = Int(truncatingIfNeeded: address &>> UInt64(truncatingIfNeeded: size.trailingZeroBitCount))
        let set: Int
        if size == PageSize.small {
            set = number & (TLB.smallSets - 1)
        } else if size == PageSize.medium {
            set = TLB.smallSets &+ (number & (TLB.mediumSets - 1))
        } else {
            set = TLB.smallSets &+ TLB.mediumSets &+ (number & (TLB.largeSets - 1))
        }
        return pointee.lines + set &* TLB.ways
    }

    private func pageSize(ofLine index: Int) -> UInt64 {
        let set = index / TLB.ways
        if set < TLB.smallSets { return PageSize.small }
        return set < TLB.smallSets + TLB.mediumSets ? PageSize.medium : PageSize.large
    }
}
