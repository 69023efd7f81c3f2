// The back end of the benchmarks: what stands in for SoftwareSpace+Bindings.swift in their build.
//
// The peer's bind and unbind functions count their calls and do nothing else, so that a cycle's cost is that of the
// dependency tracking. So do these. Everything else in that build is the library's own source: the drain, the TLB
// invalidation (of a GPU without engines), time-stamps, history, statistics. The benchmark of the C functions runs on
// the shipped library, page tables and all.

import Synchronization

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    func reserve(_ binding: Binding) throws(Status) {}

    func place(_ binding: Binding) throws(Status) -> UInt64 { write(binding) }

    func write(_ binding: Binding) -> UInt64 {
        pointee.counters.written.add(1)
        return 1
    }

    func clear(_ binding: Binding, invalidatesNext: Bool) -> (entries: UInt64, needsInvalidation: Bool) {
        pointee.counters.cleared.add(1)
        return (1, false)
    }

    func cancel(_ binding: Binding) {}

    func skip(_ binding: Binding) { _ = clear(binding, invalidatesNext: false) }
}
