// PageTableEntry: the 64 bits of a page-table entry, in the format of gen8 and later.
//
// The same layout on every level. An entry above level 0 points to the table below, or, on level 1 with `large` set,
// maps 2 MiB itself. A 64 KiB page is sixteen entries of a level 0 table, all marked `medium`, each with the address
// of its own 4 KiB: the scheme of DG2 and later, under which pages of 4 and 64 KiB share a table.
//
// Addresses in system memory are host addresses; those marked `local` are offsets in the device's local memory.

struct PageTableEntry: Equatable {
    var raw: UInt64

    @inline(__always) init(raw: UInt64) { self.raw = raw }

    static var present: UInt64 { 1 << 0 }
    static var writable: UInt64 { 1 << 1 }
    /// On level 1: a leaf of 2 MiB (PS).
    static var large: UInt64 { 1 << 7 }
    /// On level 0: one of the sixteen entries of a 64 KiB page (PS64).
    static var medium: UInt64 { 1 << 8 }
    /// A leaf with nothing behind it: reads give zero, writes vanish. Its address means nothing.
    static var null: UInt64 { 1 << 9 }
    /// A leaf whose address is in local memory (DM).
    static var local: UInt64 { 1 << 11 }
    /// In a link to a table of level 0, of a space whose tables have modes: it holds 64 KiB pages (IPS).
    static var ips: UInt64 { 1 << 11 }
    /// Bits 51:12.
    static var addressMask: UInt64 { 0x000F_FFFF_FFFF_F000 }

    @inline(__always) var isPresent: Bool { raw & PageTableEntry.present != 0 }
    @inline(__always) var isWritable: Bool { raw & PageTableEntry.writable != 0 }
    @inline(__always) var isLarge: Bool { raw & PageTableEntry.large != 0 }
    @inline(__always) var isMedium: Bool { raw & PageTableEntry.medium != 0 }
    @inline(__always) var isLocal: Bool { raw & PageTableEntry.local != 0 }
    @inline(__always) var isNull: Bool { raw & PageTableEntry.null != 0 }
    @inline(__always) var address: UInt64 { raw & PageTableEntry.addressMask }

    /// What a parent holds for a table whose entries are at `address`.
    @inline(__always)
    static func table(at address: UInt64) -> UInt64 { address | present | writable }
}

/// The page sizes the software GPU knows. The value of each is the size, so that they form a mask.
enum PageSize {
    static var small: UInt64 { 0x1000 }
    static var medium: UInt64 { 0x1_0000 }
    static var large: UInt64 { 0x20_0000 }
    static var all: UInt64 { small | medium | large }
}

/// Address bits: 48 in four levels of 512 entries. Level 0 holds 4 KiB slots, level 3 is the root.
enum PageTableLevel {
    static var root: UInt64 { 3 }
    static var addressLimit: UInt64 { 1 << 48 }
    static var entryCount: Int { 512 }

    /// log2 of the bytes that one entry of a level covers: 12, 21, 30, 39.
    @inline(__always)
    static func shift(_ level: UInt64) -> UInt64 { 12 &+ 9 &* level }

    /// The entry of a table of that level which covers the address.
    @inline(__always)
    static func index(_ address: UInt64, _ level: UInt64) -> Int {
        Int(truncatingIfNeeded: (address &>> shift(level)) & 511)
    }

    /// The first address that the entry covering `address` does not cover. Addresses are below 2^48: no overflow.
    @inline(__always)
    static func end(_ address: UInt64, _ level: UInt64) -> UInt64 {
        ((address &>> shift(level)) &+ 1) &<< shift(level)
    }
}
