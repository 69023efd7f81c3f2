// PageTable: one table of a page-table tree: the page that engines read, and what the CPU side knows about it.
//
// Engines see `entries` only, without a lock, so every access is a 64-bit atomic. The rest belongs to the lock of the
// SoftwareSpace. A table counts two things: `users`, bindings that have reserved entries in it and tables below it,
// which keep it in existence, and `writers`, those among them that are in its entries. It is linked into its parent
// exactly while it has writers: a table that is merely reserved leaves its slot free, for instance for the 2 MiB leaf
// of an older binding whose unbind is pending. i915 keeps the same two facts apart as `used` and the preallocated stash
// (gt/intel_gtt.h).

import Synchronization

typealias PageTablePointer = UnsafeMutablePointer<PageTable>

struct PageTable: ~Copyable {
    /// 0 (the leaves of 4 KiB) to 3 (the root).
    let level: UInt64
    /// 512, on a page of their own.
    let entries: UnsafeMutablePointer<Atomic<UInt64>>
    /// 512, of the tables below, linked or not; nil on level 0.
    let children: UnsafeMutablePointer<PageTablePointer?>?
    /// Nil for the root, and its place there.
    var parent: PageTablePointer?
    var index = 0
    /// The first address it is for.
    var start: UInt64 = 0
    var users: UInt32 = 0
    var writers: UInt32 = 0
    /// Level 0, of a space whose tables have modes: see SoftwareSpace+TableMode. Writers with pages of 4 KiB; whether
    /// it holds 64 KiB pages, whether it is to, and whose decision that was.
    var smallWriters: UInt32 = 0
    var isMedium = false
    var wantsMedium = false
    var decision: UInt64 = 0
    /// A page of 2 MiB has taken its place, while its entries were in it: see SoftwareSpace+Join.
    var isReplaced = false
    /// It was linked at some time, so an engine may be reading it.
    var wasLinked = false
    /// When it was retired, in the space's count of retirements.
    var stamp: UInt64 = 0
    /// On the list of retired tables.
    var next: PageTablePointer?

    init(
        level: UInt64, entries: UnsafeMutablePointer<Atomic<UInt64>>,
        children: UnsafeMutablePointer<PageTablePointer?>?
    ) {
        self.level = level
        self.entries = entries
        self.children = children
    }
}

extension UnsafeMutablePointer where Pointee == PageTable {
    /// The address that the parent's entry holds.
    @inline(__always)
    var address: UInt64 { UInt64(UInt(bitPattern: pointee.entries)) }

    @inline(__always)
    func entry(_ index: Int) -> PageTableEntry {
        PageTableEntry(raw: pointee.entries[index].load(ordering: .acquiring))
    }

    @inline(__always)
    func child(_ index: Int) -> PageTablePointer? { pointee.children.unsafelyUnwrapped[index] }
}
