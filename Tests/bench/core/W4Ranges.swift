// W4: the range allocator alone.
//
// One operation: give a random one of n ranges back and take another of a random size with its node, in a space of
// 48 bits that 8n such steps have fragmented. Sizes are powers of two from 4 KiB to 2 MiB, or 1 to 512 pages.

import CSystem

private struct Rig {
    let count: UInt64
    let memory: UnsafeMutablePointer<Memory>
    let cache: UnsafeMutablePointer<SlabCache>
    let ranges: UnsafeMutablePointer<RangeAllocator>
    let nodes: RangeNodePointer
    let placement: Placement
    let anyPageCount: Bool
    var random = BenchRandom()

    @inline(__always)
    func insert(_ node: RangeNodePointer, _ number: UInt64) {
        let size = anyPageCount ? 4096 &* (1 &+ number % 512) : 4096 &<< (number % 10)
        do throws(Status) {
            try ranges.insert(
                node, size: size, alignment: 4096, color: 0, placement: placement, from: 0, to: .max)
        } catch {
            panic("a benchmark found no room for a range")
        }
    }

    @inline(__always)
    mutating func step() {
        let number = random.next()
        let node = nodes + Int(truncatingIfNeeded: number % count)
        ranges.remove(node)
        insert(node, number >> 40)
    }
}

/// - variant: bit 0 for the lowest place instead of the smallest hole, bit 1 for any number of pages.
@_cdecl("bench_w4_open")
public func benchW4Open(_ count: UInt64, _ variant: UInt32) -> UnsafeMutableRawPointer {
    let memory = benchArray(of: Memory.self, count: 1)
    let cache = benchArray(of: SlabCache.self, count: 1)
    var rig = Rig(
        count: count, memory: memory, cache: cache, ranges: benchArray(of: RangeAllocator.self, count: 1),
        nodes: benchArray(of: RangeNode.self, count: Int(count)), placement: variant & 1 == 0 ? .best : .low,
        anyPageCount: variant & 2 != 0)
    memory.initialize(to: Memory())
    cache.initialize(to: SlabCache(for: RangeBranch.self, memory: memory, uncached: false))
    rig.ranges.initialize(
        to: RangeAllocator(start: 0, size: 1 << 48, unit: pageSize, coloring: false, cache: cache))
    for number in 0..<Int(count) {
        (rig.nodes + number).initialize(to: RangeNode())
        rig.insert(rig.nodes + number, rig.random.next())
    }
    for _ in 0..<8 * count { rig.step() }
    return benchBox(rig)
}

@_cdecl("bench_w4_round")
public func benchW4Round(_ box: UnsafeMutableRawPointer, _ operations: UInt64) -> UInt64 {
    let box = box.assumingMemoryBound(to: Rig.self)
    var rig = box.pointee
    let began = csys_monotonic_ns()
    for _ in 0..<operations { rig.step() }
    let spent = csys_monotonic_ns() - began
    box.pointee = rig
    return spent
}

@_cdecl("bench_w4_close")
public func benchW4Close(_ box: UnsafeMutableRawPointer) {
    let box = box.assumingMemoryBound(to: Rig.self)
    let rig = box.pointee
    for number in 0..<Int(rig.count) { rig.ranges.remove(rig.nodes + number) }
    rig.cache.dispose()
    rig.ranges.deinitialize(count: 1)
    rig.cache.deinitialize(count: 1)
    rig.memory.deinitialize(count: 1)
    benchFree(rig.nodes)
    benchFree(rig.ranges)
    benchFree(rig.cache)
    benchFree(rig.memory)
    benchFree(box)
}
