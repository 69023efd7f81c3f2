import Testing

@testable import UnbindCore

@Suite struct TimerHeapTests {
    @Test("timers leave in the order of their times, and of their submission at equal times, or whenever they are taken back", arguments: 0..<64)
    func agreesWithSorting(seed: Int) {
        var random = RandomSource(seed: UInt64(seed))
        let items = UnsafeMutablePointer<WorkItem>.allocate(capacity: 300)
        defer { items.deallocate() }
        var root: WorkItemPointer?
        var oracle: [(due: UInt64, sequence: UInt64)] = []
        var free = Array(0..<300)
        var used: [Int] = []
        let span = [1, 3, 50, 1_000_000][seed % 4]
        for sequence in 0..<2000 {
            // Grows and shrinks in waves.
            let growing = sequence / 250 % 2 == 0
            if !free.isEmpty, random.next(below: 4) < (growing ? 3 : 1) {
                used.append(free.removeLast())
                let item = items + used.last!
                item.initialize(to: WorkItem(label: 0, context: items) { _, _ in })
                item.pointee.due = random.next(below: 50) == 0 ? .max : UInt64(random.next(below: span))
                item.pointee.sequence = UInt64(sequence)
                root = TimerHeap.inserting(item, into: root)
                oracle.append((item.pointee.due, item.pointee.sequence))
            } else if let first = root, random.next(below: 3) == 0 {
                // Any of them, the first one too.
                let index = used.remove(at: random.next(below: used.count))
                let item = items + index
                root = TimerHeap.removing(item, from: first)
                #expect(item.pointee.child == nil && item.pointee.next == nil && item.pointee.previous == nil)
                #expect(root?.pointee.previous == nil)
                oracle.removeAll { $0 == (item.pointee.due, item.pointee.sequence) }
                free.append(index)
            } else if let first = root {
                root = TimerHeap.removingFirst(of: first)
                let expected = oracle.indices.min { oracle[$0] < oracle[$1] }!
                #expect(oracle[expected] == (first.pointee.due, first.pointee.sequence))
                #expect(first.pointee.child == nil)
                oracle.remove(at: expected)
                used.removeAll { $0 == items.distance(to: first) }
                free.append(items.distance(to: first))
            }
        }
        while let first = root {
            root = TimerHeap.removingFirst(of: first)
            oracle.removeAll { $0 == (first.pointee.due, first.pointee.sequence) }
        }
        #expect(oracle.isEmpty)
    }
}
