@testable import UnbindCore

/// The same in an array that is searched from end to end, in 128 bits, where nothing wraps.
struct NaiveRanges {
    struct Range {
        var start: UInt128
        var end: UInt128
        var color: UInt32
        var number: Int
    }

    let start: UInt128
    let end: UInt128
    let unit: UInt128
    let coloring: Bool
    private(set) var ranges: [Range] = []
    /// When each hole came to be, by its start.
    private var births: [UInt128: Int] = [:]
    private var birthCount = 0
    private var countsBirths = false

    init(start: UInt64, end: UInt64, unit: UInt64 = 1, coloring: Bool) {
        self.start = UInt128(start)
        self.end = UInt128(end)
        self.unit = UInt128(unit)
        self.coloring = coloring
    }

    struct Hole {
        var start: UInt128
        var end: UInt128
        var usableStart: UInt128
        var usableEnd: UInt128
    }

    func hole(before index: Int, for color: UInt32) -> Hole {
        let before = index > 0 ? ranges[index - 1] : nil
        let after = index < ranges.count ? ranges[index] : nil
        let holeStart = before?.end ?? start
        let holeEnd = after?.start ?? end
        let gapBefore: UInt128 = coloring && before != nil && before!.color != color ? 4096 : 0
        let gapAfter: UInt128 = coloring && after != nil && after!.color != color ? 4096 : 0
        return Hole(
            start: holeStart, end: holeEnd, usableStart: holeStart + gapBefore,
            usableEnd: holeEnd > gapAfter ? holeEnd - gapAfter : 0)
    }

    /// The address the request gets under the placement's rule, or none.
    func find(
        size: UInt64, alignment: UInt64, color: UInt32, placement: Placement, from lowest: UInt64, to limit: UInt64
    ) -> UInt64? {
        var found: (size: UInt128, age: Int, place: UInt128)?
        let mask = UInt128(alignment) - 1
        for index in 0...ranges.count {
            let hole = hole(before: index, for: color)
            let first = max(hole.usableStart, UInt128(lowest))
            let end = min(hole.usableEnd, UInt128(limit))
            if end < first + UInt128(size) { continue }
            let low = (first + mask) & ~mask
            let high = (end - UInt128(size)) & ~mask
            if low > high { continue }
            switch placement {
            case .low: return UInt64(low)
            case .high: found = (0, 0, high)
            case .best:
                let size = comparedSize(hole.end - hole.start)
                let isLarge = size / unit >= UInt128(HoleBins.count)
                let age = isLarge ? 0 : birthCount - births[hole.start, default: 0]
                if let best = found, best < (size, age, low) { continue }
                found = (size, age, low)
            }
        }
        return found.map { UInt64($0.place) }
    }

    func canReserve(start: UInt64, size: UInt64, color: UInt32) -> Bool {
        let hole = hole(before: firstIndex(above: UInt128(start)), for: color)
        return hole.usableStart <= UInt128(start) && UInt128(start) + UInt128(size) <= hole.usableEnd
    }

    mutating func add(_ number: Int, start: UInt64, size: UInt64, color: UInt32) {
        let range = Range(start: UInt128(start), end: UInt128(start) + UInt128(size), color: color, number: number)
        let index = firstIndex(above: range.start)
        let hole = hole(before: index, for: 0)
        ranges.insert(range, at: index)
        noteBirth(from: hole.start, to: range.start)
        // Of two that come to be at once, the higher one is later.
        noteBirth(from: range.end, to: hole.end)
    }

    mutating func remove(_ number: Int) {
        guard let index = ranges.firstIndex(where: { $0.number == number }) else { return }
        births[ranges[index].end] = nil
        ranges.remove(at: index)
        let hole = hole(before: index, for: 0)
        noteBirth(from: hole.start, to: hole.end)
    }

    /// From the first search by size on, holes have an age.
    mutating func startBirths() {
        if countsBirths { return }
        countsBirths = true
        for index in 0...ranges.count {
            let hole = hole(before: index, for: 0)
            noteBirth(from: hole.start, to: hole.end)
        }
    }

    private mutating func noteBirth(from start: UInt128, to end: UInt128) {
        if !countsBirths { return }
        birthCount += 1
        births[start] = start < end ? birthCount : nil
    }

    private func firstIndex(above start: UInt128) -> Int { ranges.firstIndex { $0.start > start } ?? ranges.count }

    /// Small holes are compared in whole units.
    private func comparedSize(_ size: UInt128) -> UInt128 {
        size / unit < UInt128(HoleBins.count) ? size / unit * unit : size
    }
}
