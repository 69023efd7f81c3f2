// The two searches of an index node, each with what the processor has best and without: both against a loop.

import CSystem
import Testing

@testable import UnbindCore

struct IndexNodeSearchTests {
    /// 16-byte aligned, as in a node.
    private func withWords(_ body: (UnsafeMutablePointer<UInt64>, UnsafeMutablePointer<UInt64>) -> Void) {
        let node = UnsafeMutableRawPointer.allocate(byteCount: IndexNode.bytes, alignment: IndexNode.alignment)
        defer { node.deallocate() }
        body(
            (node + IndexNode.startsOffset).bindMemory(to: UInt64.self, capacity: IndexNode.slots),
            (node + IndexNode.lastsOffset).bindMemory(to: UInt64.self, capacity: IndexNode.slots))
    }

    /// Few different values, the least and the greatest among them, so that equal ones meet.
    private func word(_ random: inout RandomSource, among values: Int) -> UInt64 {
        switch random.next(below: 8) {
        case 0: 0
        case 1: UInt64(Int64.max)
        case 2: IndexWords.word(page: IndexWords.lastPage)
        default: UInt64(random.next(below: values)) << 26 | UInt64(random.next(below: 3))
        }
    }

    @Test("both searches find what a loop finds, whatever the words", arguments: [2, 40, 1 << 30])
    func searches(values: Int) {
        var random = RandomSource(seed: UInt64(values))
        withWords { starts, lasts in
            for _ in 0..<4_000 {
                for slot in 0..<IndexNode.slots {
                    starts[slot] = word(&random, among: values)
                    lasts[slot] = word(&random, among: values)
                }
                let (below, from) = (word(&random, among: values), word(&random, among: values))
                var overlaps: UInt32 = 0
                var count: UInt32 = 0
                for slot in 0..<IndexNode.slots {
                    if starts[slot] < below, lasts[slot] >= from { overlaps |= 1 << UInt32(slot) }
                    if starts[slot] < below { count += 1 }
                }
                let isSame =
                    csys_overlaps_30(starts, lasts, below, from) == overlaps
                    && csys_overlaps_30_plain(starts, lasts, below, from) == overlaps
                    && csys_count_below_30(starts, below) == count && csys_count_below_30_plain(starts, below) == count
                #expect(isSame)
                if !isSame { return }
            }
        }
    }
}
