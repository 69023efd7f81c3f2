import Synchronization

@testable import UnbindCore

/// An index, the nodes for it, and beside it the tree that it has to agree with. Intervals are given in pages.
final class IntervalIndexFixture {
    let memory = UnsafeMutablePointer<Memory>.allocate(capacity: 1)
    /// While true, there is no more memory.
    let isExhausted = UnsafeMutablePointer<Bool>.allocate(capacity: 1)
    let index = UnsafeMutablePointer<IntervalIndex>.allocate(capacity: 1)
    let nodes: IntervalNodePointer
    let tree = UnsafeMutablePointer<IntervalTree>.allocate(capacity: 1)
    let treeNodes: TreeIntervalPointer
    let capacity: Int
    private(set) var inside: [Int] = []
    /// Where in `inside` a number is.
    private var positions: [Int]

    init(capacity: Int) {
        self.capacity = capacity
        isExhausted.initialize(to: false)
        memory.initialize(
            to: Memory(userData: UnsafeMutableRawPointer(isExhausted)) { isExhausted, size, alignment in
                if isExhausted!.assumingMemoryBound(to: Bool.self).pointee { return nil }
                return mallocAllocate(nil, size, alignment)
            })
        index.initialize(to: IntervalIndex(memory: memory))
        tree.initialize(to: IntervalTree())
        nodes = .allocate(capacity: max(capacity, 1))
        nodes.initialize(repeating: IntervalNode(), count: capacity)
        treeNodes = .allocate(capacity: max(capacity, 1))
        treeNodes.initialize(repeating: TreeInterval(), count: capacity)
        positions = Array(repeating: -1, count: capacity)
    }

    convenience init(_ intervals: [(UInt64, UInt64)]) {
        self.init(capacity: intervals.count)
        for (number, interval) in intervals.enumerated() { insert(number, interval.0, interval.1) }
    }

    deinit {
        while let number = inside.last { remove(number) }
        index.dispose()
        index.deinitialize(count: 1)
        index.deallocate()
        nodes.deallocate()
        tree.deinitialize(count: 1)
        tree.deallocate()
        treeNodes.deallocate()
        precondition(bytesHeld == 0, "an interval index leaked memory")
        memory.deinitialize(count: 1)
        memory.deallocate()
        isExhausted.deallocate()
    }

    var bytesHeld: Int { memory.pointee.bytes.load(ordering: .relaxed) }

    func isInside(_ number: Int) -> Bool { positions[number] >= 0 }

    func insert(_ number: Int, _ firstPage: UInt64, _ lastPage: UInt64) {
        precondition(index.reserve())
        let (start, last) = (firstPage * pageSize, lastPage * pageSize + (pageSize - 1))
        index.insert(nodes + number, start: start, last: last)
        treeNodes[number] = TreeInterval(start: start, last: last)
        tree.insert(treeNodes + number)
        positions[number] = inside.count
        inside.append(number)
    }

    func remove(_ number: Int) {
        index.remove(nodes + number)
        index.unreserve()
        tree.remove(treeNodes + number)
        let last = inside.removeLast()
        if last != number {
            inside[positions[number]] = last
            positions[last] = positions[number]
        }
        positions[number] = -1
    }

    /// In ascending order.
    func overlaps(_ firstPage: UInt64, _ lastPage: UInt64) -> [Int] {
        overlaps(fromAddress: firstPage * pageSize, to: lastPage * pageSize + (pageSize - 1))
    }

    func overlaps(fromAddress start: UInt64, to last: UInt64) -> [Int] {
        var found: [Int] = []
        index.forEachOverlap(start: start, last: last) { node, covers in
            found.append(node - nodes)
            let interval = treeNodes[node - nodes]
            precondition(covers == (interval.start <= start && interval.last >= min(last, (1 << 48) - 1)))
            return true
        }
        return found.sorted()
    }

    /// Stops the test run where the index and the tree differ.
    func compare(_ firstPage: UInt64, _ lastPage: UInt64) {
        var expected: [Int] = []
        tree.forEachOverlap(start: firstPage * pageSize, last: lastPage * pageSize) {
            expected.append($0 - treeNodes)
            return true
        }
        precondition(
            overlaps(firstPage, lastPage) == expected.sorted(), "the overlaps of \(firstPage)...\(lastPage) are wrong")
    }

    func check() {
        index.checkInvariants()
        tree.checkInvariants()
        precondition(index.count == inside.count && tree.count == inside.count)
    }
}
