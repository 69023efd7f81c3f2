// What a plan needs of a machine's memory.

extension Plan {
    /// Bytes of buffers at the time when there are most.
    var mostMemory: UInt64 {
        if hasBatches { return memorySizes.reduce(0, +) }
        var (now, most) = (UInt64(0), UInt64(0))
        var isMade = [Bool](repeating: false, count: slots.count)
        for operation in operations {
            switch operation.action {
            case .bind(let slot) where !isMade[slot]:
                isMade[slot] = true
                now += slots[slot].size
                most = max(most, now)
            case .unbind(let slot, drop: true) where isMade[slot]:
                isMade[slot] = false
                now -= slots[slot].size
            case .bind, .unbind, .use, .submit, .batch: break
            }
        }
        return most
    }

    /// Moves the memory that a page-table capture shows together, so that the buffers which stand for it have little more
    /// than that. What was contiguous stays so, and nothing else becomes it.
    mutating func compactMemory() {
        guard hasBatches else { return }
        let layouts = [true, false].map { isKnown in
            CompactLayout(
                operations.flatMap(\.action.changes).compactMap { change in
                    guard let place = change.place, place.isKnown == isKnown else { return nil }
                    return (place.offset, place.offset + change.size)
                })
        }
        operations = operations.map { operation in
            guard case .batch(let space, let changes) = operation.action else { return operation }
            let moved = changes.map { change in
                guard let place = change.place else { return change }
                let offset = layouts[place.isKnown ? 0 : 1].place(of: place.offset)
                return PageTableChange(
                    start: change.start, size: change.size, place: .init(isKnown: place.isKnown, offset: offset))
            }
            return Operation(time: operation.time, line: operation.line, action: .batch(space: space, changes: moved))
        }
        memorySizes = layouts.map(\.size)
    }
}

/// Where stretches of memory go when what lies between them is left out.
private struct CompactLayout {
    private var stretches: [(begin: UInt64, end: UInt64, place: UInt64)] = []
    /// Bytes of all of them; not 0.
    private(set) var size = Plan.pageSize

    /// Places keep their distance from multiples of it: large pages stay possible.
    private static let unit: UInt64 = 64 << 10

    init(_ ranges: [(begin: UInt64, end: UInt64)]) {
        for range in ranges.sorted(by: { $0.begin < $1.begin }) {
            if let last = stretches.last, range.begin <= last.end {
                stretches[stretches.count - 1].end = max(last.end, range.end)
            } else {
                stretches.append((range.begin, range.end, 0))
            }
        }
        var next: UInt64 = 0
        for index in stretches.indices {
            let phase = stretches[index].begin % CompactLayout.unit
            var place = next - next % CompactLayout.unit + phase
            if place < next { place += CompactLayout.unit }
            stretches[index].place = place
            size = place + stretches[index].end - stretches[index].begin
            // Not the neighbour of what comes next.
            next = size + Plan.pageSize
        }
    }

    /// The place of a byte of one of the ranges.
    func place(of offset: UInt64) -> UInt64 {
        var (low, high) = (0, stretches.count - 1)
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].end <= offset { low = middle + 1 } else { high = middle }
        }
        return stretches[low].place + offset - stretches[low].begin
    }
}
