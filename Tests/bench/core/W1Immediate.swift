// W1: the life of a binding whose unbind has nothing to wait for.
//
// One operation: allocate a resource; lock the VM; look for pending unbinds in the way (none); initialise; bind;
// unlock; lock; unbind at once; unlock; signal; drop. More than the peer: two more records of history, statistics, a
// TLB invalidation of a GPU without engines, and three time-stamps for the peer's one.

import CSystem

private struct Rig {
    let space: BenchVM
    var random = BenchRandom()
}

@_cdecl("bench_w1_open")
public func benchW1Open(_ count: UInt64, _ variant: UInt32) -> UnsafeMutableRawPointer {
    benchBox(Rig(space: BenchVM(workers: 0)))
}

@_cdecl("bench_w1_round")
public func benchW1Round(_ rig: UnsafeMutableRawPointer, _ operations: UInt64) -> UInt64 {
    let rig = rig.assumingMemoryBound(to: Rig.self)
    let space = rig.pointee.space
    var random = rig.pointee.random
    let began = csys_monotonic_ns()
    for _ in 0..<operations {
        let number = random.next()
        let resource = space.bind(start: (number & 0xFFFF) << 21, size: 4096 << ((number >> 50) % 10))
        space.unbind(resource, after: nil)
    }
    let spent = csys_monotonic_ns() - began
    rig.pointee.random = random
    return spent
}

@_cdecl("bench_w1_close")
public func benchW1Close(_ rig: UnsafeMutableRawPointer) {
    let rig = rig.assumingMemoryBound(to: Rig.self)
    rig.pointee.space.close()
    benchFree(rig)
}
