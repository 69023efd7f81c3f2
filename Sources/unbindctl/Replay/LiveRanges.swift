// The ranges that are bound at one moment of a plan, in one address space.

/// Disjoint ranges in the order of their addresses, each with its slot.
struct LiveRanges {
    private var entries: [(start: UInt64, end: UInt64, slot: Int)] = []

    /// Index of the first range that ends after `address`.
    private func index(endingAfter address: UInt64) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].end <= address { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// The slot whose range contains an address.
    func slot(containing address: UInt64) -> Int? {
        let index = index(endingAfter: address)
        guard index < entries.count, entries[index].start <= address else { return nil }
        return entries[index].slot
    }

    /// The slots that overlap a range.
    func slots(overlapping start: UInt64, _ end: UInt64) -> [Int] {
        entries[index(endingAfter: start)...].prefix { $0.start < end }.map(\.slot)
    }

    /// Adds a range that overlaps none.
    mutating func insert(start: UInt64, end: UInt64, slot: Int) {
        entries.insert((start, end, slot), at: index(endingAfter: start))
    }

    /// Removes the range that begins at `start`.
    mutating func remove(start: UInt64) {
        let index = index(endingAfter: start)
        if index < entries.count, entries[index].start == start { entries.remove(at: index) }
    }
}
