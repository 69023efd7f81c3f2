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
    /// When each hole came to be, by its bounds.
    private var births: [[UInt128]: Int] = [:]
    private var birthCount = 0
    private var countsBirths = false

    init(start: UInt64, end: UInt64, unit: UInt64 = 1, coloring: Bool) {
        self.start = UInt128(start)
        self.end = UInt128(end)
        self.unit = UInt128(unit)
        self.coloring = coloring
        noteBirths()
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
        var candidates: [(size: UInt128, age: Int, place: UInt128)] = []
        for hole in holes(for: color) {
            let first = max(hole.usableStart, UInt128(lowest))
            let end = min(hole.usableEnd, UInt128(limit))
            if end < first + UInt128(size) { continue }
            let alignment = UInt128(alignment)
            let low = (first + alignment - 1) / alignment * alignment
            let high = (end - UInt128(size)) / alignment * alignment
            if low > high { continue }
            let size = comparedSize(hole.end - hole.start)
            let isLarge = size / unit >= UInt128(HoleBins.count)
            let age = isLarge ? 0 : birthCount - births[[hole.start, hole.end]]!
            candidates.append((size, age, placement == .high ? high : low))
        }
        let chosen: UInt128? =
            switch placement {
            case .best: candidates.min { ($0.size, $0.age, $0.place) < ($1.size, $1.age, $1.place) }?.place
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
        noteBirths()
    }

    mutating func remove(_ number: Int) {
        ranges.removeAll { $0.number == number }
        noteBirths()
    }

    /// From the first search by size on, holes have an age.
    mutating func startBirths() {
        if countsBirths { return }
        countsBirths = true
        births = [:]
        noteBirths()
    }

    /// Small holes are compared in whole units.
    private func comparedSize(_ size: UInt128) -> UInt128 {
        size / unit < UInt128(HoleBins.count) ? size / unit * unit : size
    }

    /// Of two that come to be at once, the higher one is later.
    private mutating func noteBirths() {
        var births: [[UInt128]: Int] = [:]
        for hole in holes(for: 0) where hole.end > hole.start {
            let bounds = [hole.start, hole.end]
            if let birth = self.births[bounds] {
                births[bounds] = birth
            } else {
                birthCount += 1
                births[bounds] = birthCount
            }
        }
        self.births = births
    }
}
