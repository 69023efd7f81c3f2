// W6: the interval index alone.
//
// One operation: take a random node of 256 bytes out, give it a random range, look up what overlaps that, put it in.

import CSystem

private struct Node {
    /// First: a pointer to it is a pointer to the Node.
    var interval = IntervalNode()
    /// The rest of the 256 bytes.
    var filling = InlineArray<31, UInt64>(repeating: 0)
}

private struct Rig {
    let count: UInt64
    let index: UnsafeMutablePointer<IntervalIndex>
    let nodes: UnsafeMutablePointer<Node>
    let memory: UnsafeMutablePointer<Memory>
    var random = BenchRandom()
    var hits: UInt64 = 0

    @inline(__always)
    mutating func randomInterval() -> (start: UInt64, last: UInt64) {
        let start = (random.next() % (1 << 36)) << 12
        return (start, start + (4096 << (random.next() % 10)) - 1)
    }

    @inline(__always)
    func interval(_ number: UInt64) -> IntervalNodePointer {
        UnsafeMutableRawPointer(nodes + Int(number)).assumingMemoryBound(to: IntervalNode.self)
    }
}

@_cdecl("bench_w6_open")
public func benchW6Open(_ count: UInt64, _ variant: UInt32) -> UnsafeMutableRawPointer {
    invariant(MemoryLayout<Node>.stride == 256, "a node is not of the size it is to be measured with")
    var rig = Rig(
        count: count, index: benchArray(of: IntervalIndex.self, count: 1),
        nodes: benchArray(of: Node.self, count: Int(count)), memory: benchArray(of: Memory.self, count: 1))
    rig.memory.initialize(to: Memory())
    rig.index.initialize(to: IntervalIndex(memory: rig.memory))
    for number in 0..<count {
        let (start, last) = rig.randomInterval()
        let node = rig.interval(number)
        node.initialize(to: IntervalNode())
        invariant(rig.index.reserve(), "there is not enough memory for the benchmark")
        rig.index.insert(node, start: start, last: last)
    }
    return benchBox(rig)
}

@_cdecl("bench_w6_round")
public func benchW6Round(_ box: UnsafeMutableRawPointer, _ operations: UInt64) -> UInt64 {
    let box = box.assumingMemoryBound(to: Rig.self)
    var rig = box.pointee
    let index = rig.index
    let began = csys_monotonic_ns()
    for _ in 0..<operations {
        let node = rig.interval(rig.random.next() % rig.count)
        index.remove(node)
        let (start, last) = rig.randomInterval()
        index.forEachOverlap(start: start, last: last) { _, _ in
            rig.hits &+= 1
            return true
        }
        index.insert(node, start: start, last: last)
    }
    let spent = csys_monotonic_ns() - began
    box.pointee = rig
    return spent
}

@_cdecl("bench_w6_close")
public func benchW6Close(_ box: UnsafeMutableRawPointer) {
    let box = box.assumingMemoryBound(to: Rig.self)
    let rig = box.pointee
    for number in 0..<rig.count { rig.index.remove(rig.interval(number)) }
    rig.index.dispose()
    rig.index.deinitialize(count: 1)
    benchFree(rig.index)
    benchFree(rig.nodes)
    benchFree(rig.memory)
    benchFree(box)
}
