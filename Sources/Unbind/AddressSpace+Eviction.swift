// Taking the ranges of bound VMAs (<unbind/vm.h>).

import CUnbind

extension AddressSpace {
    /// How an eviction goes about it.
    public struct EvictionFlags: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// Unbinds asynchronously and does not wait.
        public static let asynchronous = EvictionFlags(rawValue: UNBIND_EVICT_ASYNC)
        /// Only VMAs that no GPU work uses.
        public static let nonBlocking = EvictionFlags(rawValue: UNBIND_EVICT_NONBLOCK)
        /// `evictSomething` only: as far up as the VMAs chosen allow.
        public static let high = EvictionFlags(rawValue: UNBIND_EVICT_HIGH)
    }

    /// Makes room of a size, unless there is some.
    public func evictSomething(
        size: UInt64, alignment: UInt64 = 0, from start: UInt64 = 0, to end: UInt64 = 0, color: UInt32 = 0,
        _ flags: EvictionFlags = []
    ) throws(UnbindError) {
        var raw = unbind_evict_request()
        raw.struct_size = structSize(of: unbind_evict_request.self)
        raw.flags = flags.rawValue
        raw.size = size
        raw.alignment = alignment
        raw.start = start
        raw.end = end
        raw.color = color
        try UnbindError.check(unbind_vm_evict_something(handle, &raw))
    }

    /// Evicts all that is in the way of a range.
    public func evict(
        from start: UInt64, size: UInt64, color: UInt32 = 0, _ flags: EvictionFlags = []
    ) throws(UnbindError) {
        try UnbindError.check(unbind_vm_evict_range(handle, start, size, color, flags.rawValue))
    }

    /// Evicts every VMA that may be evicted.
    public func evictAll(_ flags: EvictionFlags = []) throws(UnbindError) {
        try UnbindError.check(unbind_vm_evict_all(handle, flags.rawValue))
    }
}
