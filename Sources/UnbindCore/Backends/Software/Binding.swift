// Binding: what the page tables must know of one bound VMA. A snapshot: the same value goes to reserve, write and
// clear.
//
// Which page sizes a binding uses is decided by one rule, every time anew: at each address the largest size that the
// space allows, that the GPU address and the physical address are both aligned to, and that still fits. So nothing
// needs to be remembered between a write and its clear.

struct Binding: Equatable {
    /// GPU virtual address and bytes: multiples of the smallest page size of the space.
    var start: UInt64
    var size: UInt64
    /// Host address, or offset in local memory; aligned as `start` is.
    var physical: UInt64
    var isLocal: Bool
    var isReadOnly: Bool
    /// Nothing is behind it: reads give zero, writes vanish. `physical` is `start` then.
    var isNull = false
    /// The number under which it decided the modes of tables; 0 where tables have none.
    var decision: UInt64 = 0

    @inline(__always) var end: UInt64 { start &+ size }

    @inline(__always)
    func covers(_ address: UInt64) -> Bool { address >= start && address &- start < size }
}

/// The rule, worked out for one binding in one space.
struct BindingPlan {
    let start: UInt64
    let end: UInt64
    /// physical = GPU address + delta.
    let delta: UInt64
    /// Whole 2 MiB blocks are leaves of level 1.
    let usesLarge: Bool
    /// Whole 64 KiB blocks are marked as one page.
    let usesMedium: Bool
    /// Of a 4 KiB leaf.
    let flags: UInt64
    let decision: UInt64

    /// All entries are in one table of level 0.
    let isInOneLeaf: Bool

    @inline(__always)
    init(_ binding: Binding, pageSizes: UInt64) {
        start = binding.start
        end = binding.end
        delta = binding.physical &- binding.start
        decision = binding.decision
        usesLarge = pageSizes & PageSize.large != 0 && isAligned(delta, to: PageSize.large)
        usesMedium = pageSizes & PageSize.medium != 0 && isAligned(delta, to: PageSize.medium)
        flags =
            PageTableEntry.present
            | (binding.isReadOnly ? 0 : PageTableEntry.writable)
            | (binding.isLocal ? PageTableEntry.local : 0)
            | (binding.isNull ? PageTableEntry.null : 0)
        isInOneLeaf =
            start &>> PageTableLevel.shift(1) == (end &- 1) &>> PageTableLevel.shift(1)
            && !(usesLarge && binding.size == PageSize.large)
    }
}
