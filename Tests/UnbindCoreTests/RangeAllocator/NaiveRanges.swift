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
    let coloring: Bool
    var ranges: [Range] = []

    init(start: UInt64, end: UInt64, coloring: Bool) {
        self.start = UInt128(start)
        self.end = UInt128(end)
        self.coloring = coloring
    }

    struct Hole {
        var start: UInt128
        var end: UInt128
        var usableStart: UInt128
        var usableEnd: UInt128
    }

    func holes(for color: UInt32) -> [Hole] {
        (0...ranges.count).map { index in
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
    }

    /// Every address the request may get under the placement's rule: one, or none.
    func find(
        size: UInt64, alignment: UInt64, color: UInt32, placement: Placement, from lowest: UInt64, to limit: UInt64
    ) -> UInt64? {
        var candidates: [(hole: UInt128, place: UInt128)] = []
        for hole in holes(for: color) {
            let first = max(hole.usableStart, UInt128(lowest))
            let end = min(hole.usableEnd, UInt128(limit))
            if end < first + UInt128(size) { continue }
            let alignment = UInt128(alignment)
            let low = (first + alignment - 1) / alignment * alignment
            let high = (end - UInt128(size)) / alignment * alignment
            if low > high { continue }
            candidates.append((hole.end - hole.start, placement == .high ? high : low))
        }
        let chosen: UInt128? =
            switch placement {
            case .best: candidates.min { ($0.hole, $0.place) < ($1.hole, $1.place) }?.place
            case .low: candidates.map(\.place).min()
            case .high: candidates.map(\.place).max()
            }
        return chosen.map { UInt64($0) }
    }

    func canReserve(start: UInt64, size: UInt64, color: UInt32) -> Bool {
        let first = UInt128(start)
        return holes(for: color).contains { $0.usableStart <= first && first + UInt128(size) <= $0.usableEnd }
    }

    mutating func add(_ number: Int, start: UInt64, size: UInt64, color: UInt32) {
        let range = Range(start: UInt128(start), end: UInt128(start) + UInt128(size), color: color, number: number)
        let index = ranges.firstIndex { $0.start > range.start } ?? ranges.count
        ranges.insert(range, at: index)
    }

    mutating func remove(_ number: Int) { ranges.removeAll { $0.number == number } }
}
