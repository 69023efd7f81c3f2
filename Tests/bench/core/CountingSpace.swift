// The back end of the benchmarks: what stands in for SoftwareSpace+Bindings.swift in their build.
//
// The peer's bind and unbind functions count their calls and do nothing else, so that a cycle's cost is that of the
// dependency tracking. So do these. Everything else in that build is the library's own source: the drain, the TLB
// invalidation (of a GPU without engines), time-stamps, history, statistics. The benchmark of the C functions runs on
// the shipped library, page tables and all.

import Synchronization

extension SoftwareSpace {
    struct Placed {
        let entries: UInt64
        let generation: UInt64
    }
}

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    func reserve(_ binding: Binding) throws(Status) {}

    func place(_ binding: Binding) throws(Status) -> SoftwareSpace.Placed { writeReserved(binding) }

    func writeReserved(_ binding: Binding) -> SoftwareSpace.Placed {
        SoftwareSpace.Placed(entries: write(binding), generation: pointee.generation)
    }

    func write(_ binding: Binding) -> UInt64 { writeLocked(binding) }

    func writeLocked(_ binding: Binding) -> UInt64 {
        pointee.counters.written.add(1)
        return 1
    }

    func makeWritableLocked(_ binding: Binding) -> UInt64 { writeLocked(binding) }

    func clearLocked(_ binding: Binding) -> UInt64 {
        pointee.counters.cleared.add(1)
        return 1
    }

    func clearLocked(_ binding: Binding, near leaf: inout PageTablePointer?) -> UInt64 { clearLocked(binding) }

    var needsInvalidation: Bool { false }

    func cancel(_ binding: Binding) {}

    func cancelLocked(_ binding: Binding) {}

    func skipLocked(_ binding: Binding) { _ = clearLocked(binding) }
}
