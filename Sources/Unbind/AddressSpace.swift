// AddressSpace: one GPU virtual address space (<unbind/vm.h>).

import CUnbind

/// Hands out address ranges, knows which unbinds are pending, and makes each bind wait for the
/// pending unbinds it overlaps.
public final class AddressSpace: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer
    /// The device it belongs to.
    public let device: Device

    /// What a bind waits for. The results are the same under every policy.
    public enum Policy: UInt32, Sendable, CaseIterable {
        /// The pending unbinds that overlap its range.
        case ranges
        /// All pending unbinds, as with one timeline per address space.
        case timeline
        /// Nothing: every unbind waits for its own end instead.
        case sync
    }

    /// How to make an address space.
    public struct Options: Sendable {
        /// What binds wait for.
        public var policy: Policy
        /// Bytes, a multiple of 4 KiB; nil is all that the device has, at most 2^48.
        public var size: UInt64?
        /// A subset of the device's page sizes; empty means all of them.
        public var pageSizes: PageSizes
        /// Keeps neighbours of different colour one page apart.
        public var cacheColoring: Bool
        /// One that the whole device sees: see `Device.Power`.
        public var isGlobal: Bool
        /// 64 KiB pages are a mode of whole page tables, as on gen9 to gen12.
        public var tableModes: Bool
        /// What lies below is mappable: see `VMA.PinOptions`. Nil: everything.
        public var mappableSize: UInt64?
        /// Bytes kept unmapped on both sides of every binding.
        public var guardSize: UInt64
        /// Operations that lookups, faults and dumps remember; nil is 4096, 0 none.
        public var historyRecords: UInt32?

        public init(
            policy: Policy = .ranges, size: UInt64? = nil, pageSizes: PageSizes = [], cacheColoring: Bool = false,
            isGlobal: Bool = false, tableModes: Bool = false, mappableSize: UInt64? = nil, guardSize: UInt64 = 0,
            historyRecords: UInt32? = nil
        ) {
            self.policy = policy
            self.size = size
            self.pageSizes = pageSizes
            self.cacheColoring = cacheColoring
            self.isGlobal = isGlobal
            self.tableModes = tableModes
            self.mappableSize = mappableSize
            self.guardSize = guardSize
            self.historyRecords = historyRecords
        }
    }

    /// Makes an address space from 0 to `options.size`.
    public init(of device: Device, _ options: Options = Options()) throws(UnbindError) {
        self.device = device
        var raw = unbind_vm_options()
        raw.struct_size = structSize(of: unbind_vm_options.self)
        if options.cacheColoring { raw.flags |= UNBIND_VM_CACHE_COLORING }
        if options.isGlobal { raw.flags |= UNBIND_VM_GLOBAL }
        if options.tableModes { raw.flags |= UNBIND_VM_IPS }
        raw.policy = options.policy.rawValue
        raw.size = options.size ?? 0
        raw.page_sizes = options.pageSizes.rawValue
        raw.mappable_size = options.mappableSize ?? 0
        raw.guard = options.guardSize
        if options.historyRecords == 0 { raw.flags |= UNBIND_VM_NO_HISTORY }
        raw.history_records = options.historyRecords ?? 0
        handle = try UnbindError.make { unbind_vm_create(device.handle, &raw, $0) }
    }

    deinit { unbind_vm_unref(handle) }

    /// Unbinds everything asynchronously; later binds and submits fail with `.closed`.
    public func close() throws(UnbindError) { try UnbindError.check(unbind_vm_close(handle)) }

    /// Empties the page tables and TLBs; everything that is bound stays bound, and submits fail with `.notYet` until
    /// `resume`. Fails with `.busy` while a job is in flight.
    public func suspend() throws(UnbindError) { try UnbindError.check(unbind_vm_suspend(handle)) }

    /// Ends a suspend: writes the entries of all that is bound. Needs no memory, but on a backend, where it waits.
    public func resume() throws(UnbindError) { try UnbindError.check(unbind_vm_resume(handle)) }

    /// The number that names the address space in faults and dumps.
    public var id: UInt64 { unbind_vm_id(handle) }

    /// Bytes of it, from address 0 on.
    public var size: UInt64 { unbind_vm_size(handle) }

    /// The address space's counters.
    public func statistics() throws(UnbindError) -> Statistics {
        var raw = unbind_vm_stats()
        raw.struct_size = structSize(of: unbind_vm_stats.self)
        try UnbindError.check(unbind_vm_get_stats(handle, &raw))
        return Statistics(raw)
    }

    /// The first mapped page that ends after `address`, nil if there is none.
    public func page(at address: UInt64) throws(UnbindError) -> Page? {
        var raw = unbind_page()
        raw.struct_size = structSize(of: unbind_page.self)
        let status = unbind_vm_find_page(handle, address, &raw)
        if status == UnbindError.closed.status { return nil }
        try UnbindError.check(status)
        return Page(raw)
    }

    /// The state of the address space as text for a human.
    public func dump() throws(UnbindError) -> String {
        let text = TextCollector()
        try UnbindError.check(unbind_vm_dump(handle, TextCollector.write, text.pointer))
        return text.string
    }
}
