// The page tables as the GPU walks them, entry by entry: what the entries say, not what the library says of them.

import CUnbind

@testable import UnbindCore

/// Where memory is, as page-table entries have it.
struct BatchPlace: Equatable {
    var address: UInt64 = 0
    var isLocal = false

    init() {}
    init(of memory: UnsafeMutableRawPointer) { address = UInt64(UInt(bitPattern: memory)) }

    init(ofBuffer handle: OpaquePointer) {
        address = BufferObjectPointer(handle).pages.physical(of: 0)
        isLocal = unbind_bo_region(handle) == UNBIND_REGION_LOCAL
    }
}

/// What an access of the GPU to one page meets.
struct BatchEntry: Equatable, CustomStringConvertible {
    var place = BatchPlace()
    var isThere = false
    var isNull = false
    var isWritable = false
    /// Of the page that it is a part of.
    var size: UInt64 = 0

    var description: String {
        !isThere ? "nothing" : isNull ? "null" : "\(place), size \(size)\(isWritable ? "" : ", read-only")"
    }
}

/// The page tables of one address space.
struct BatchTables {
    private let vm: VMPointer
    private let space: UnsafeMutablePointer<SoftwareSpace>

    /// - Parameter handle: an address space, open for as long as this is used.
    init(of handle: OpaquePointer) {
        vm = VMPointer(handle)
        space = vm.pointee.space
    }

    /// Of the tables, and of who has which addresses.
    func checkInvariants() {
        space.checkInvariants()
        vm.pointee.ranges.checkInvariants()
    }

    func entry(at address: UInt64) -> BatchEntry {
        guard let leaf = space.walk(address) else { return BatchEntry() }
        var entry = BatchEntry(isThere: true, size: leaf.size)
        entry.isWritable = leaf.entry.isWritable
        entry.isNull = leaf.entry.isNull
        if entry.isNull { return entry }
        entry.place.address = leaf.entry.address &+ (address & (leaf.size &- 1))
        entry.place.isLocal = leaf.entry.isLocal
        return entry
    }
}
