// Reading the page tables: as an engine does, without a lock, and in order of address for unbind_vm_find_page.

import Synchronization

/// A mapped page: the entry that maps its beginning.
struct PageLeaf: Equatable {
    var entry: PageTableEntry
    var size: UInt64

    /// The same translation of the address, be it as part of a smaller or a larger page. That the other can be written,
    /// too, does not matter: write access is added while engines use what they remember.
    func agrees(with other: PageLeaf, at address: UInt64) -> Bool {
        if self == other { return true }
        let bits = PageTableEntry.local | PageTableEntry.null
        return entry.raw & bits == other.entry.raw & bits && (other.entry.isWritable || !entry.isWritable)
            && entry.address &+ (address & (size &- 1)) == other.entry.address &+ (address & (other.size &- 1))
    }
}

/// A mapped page and where it is.
struct MappedPage: Equatable {
    var address: UInt64
    var leaf: PageLeaf
}

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// The page that is mapped at the address, as hardware finds it; nil if none is.
    ///
    /// - Locking: the tables met on the way stay readable while the caller's engine lock, or `lock`, is held.
    @inline(__always)
    func walk(_ address: UInt64) -> PageLeaf? {
        if address >= PageTableLevel.addressLimit { return nil }
        var entries = pointee.root.pointee.entries
        var level: UInt64 = 3
        var raw: UInt64 = 0
        while level > 0 {
            raw = entries[PageTableLevel.index(address, level)].load(ordering: .acquiring)
            let entry = PageTableEntry(raw: raw)
            if !entry.isPresent { return nil }
            if level == 1 && entry.isLarge { return PageLeaf(entry: entry, size: PageSize.large) }
            entries = SoftwareSpace.entries(at: entry.address)
            level &-= 1
        }
        if pointee.hasTableModes { return walkLowest(entries, address, isMedium: raw & PageTableEntry.ips != 0) }
        let entry = PageTableEntry(raw: entries[PageTableLevel.index(address, 0)].load(ordering: .acquiring))
        if !entry.isPresent { return nil }
        if !entry.isMedium { return PageLeaf(entry: entry, size: PageSize.small) }
        // The other fifteen follow from this one: their addresses go up in step.
        let offset = address & (PageSize.medium &- PageSize.small)
        return PageLeaf(entry: PageTableEntry(raw: entry.raw &- offset), size: PageSize.medium)
    }

    /// The end of a walk where the table has one page size. In one of 64 KiB pages only every sixteenth entry is read.
    private func walkLowest(
        _ entries: UnsafeMutablePointer<Atomic<UInt64>>, _ address: UInt64, isMedium: Bool
    ) -> PageLeaf? {
        let index = PageTableLevel.index(address, 0) & (isMedium ? ~15 : ~0)
        let entry = PageTableEntry(raw: entries[index].load(ordering: .acquiring))
        if !entry.isPresent { return nil }
        if !isMedium { return PageLeaf(entry: entry, size: PageSize.small) }
        // A page of 4 KiB there would not be one of 64 KiB, whatever lies behind it.
        return entry.isMedium ? PageLeaf(entry: entry, size: PageSize.medium) : nil
    }

    /// The first mapped page that ends after the address, by what the entries say; nil if there is none.
    ///
    /// - Locking: takes `lock`.
    func findPage(endingAfter address: UInt64) -> MappedPage? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var address = address
        while address < PageTableLevel.addressLimit {
            if let leaf = walk(address) { return MappedPage(address: roundDown(address, to: leaf.size), leaf: leaf) }
            address = nextCandidate(address)
        }
        return nil
    }

    /// From an unmapped address to the next one that the entries do not show to be unmapped too.
    private func nextCandidate(_ address: UInt64) -> UInt64 {
        var entries = pointee.root.pointee.entries
        var level = PageTableLevel.root
        while level > 0 {
            let raw = entries[PageTableLevel.index(address, level)].load(ordering: .relaxed)
            if raw & PageTableEntry.present == 0 { break }
            entries = SoftwareSpace.entries(at: PageTableEntry(raw: raw).address)
            level &-= 1
        }
        var next = PageTableLevel.end(address, level)
        let tableEnd = PageTableLevel.end(address, level &+ 1)
        while next < tableEnd {
            let raw = entries[PageTableLevel.index(next, level)].load(ordering: .relaxed)
            if raw & PageTableEntry.present != 0 { break }
            next = PageTableLevel.end(next, level)
        }
        return next
    }
}

extension SoftwareSpace {
    /// SAFETY: `address` comes from an entry that links a table; tables are page-aligned arrays of 512 atomics.
    @inline(__always)
    fileprivate static func entries(at address: UInt64) -> UnsafeMutablePointer<Atomic<UInt64>> {
        UnsafeMutablePointer<Atomic<UInt64>>(bitPattern: UInt(truncatingIfNeeded: address)).unsafelyUnwrapped
    }
}
