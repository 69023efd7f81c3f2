// The ranges of an update, against a page-by-page account of what they cover.

import CUnbind
import Testing

@testable import UnbindCore

@Suite struct RangeBatchTests {
    static func withBatch(mergesMaps: Bool, _ body: (RangeBatchPointer) -> Void) {
        let memory = TestMemory()
        let batch = RangeBatchPointer.make(mergesMaps: mergesMaps, memory: memory.pointer)!
        body(batch)
        batch.free(memory: memory.pointer)
    }

    static func binding(_ page: UInt64, _ pages: UInt64, offset: UInt64 = 0, isReadOnly: Bool = false) -> Binding {
        Binding(
            start: page * 4096, size: pages * 4096, physical: offset * 4096, isLocal: false, isReadOnly: isReadOnly)
    }

    static func ranges(_ batch: RangeBatchPointer) -> [unbind_backend_range] {
        (0..<batch.pointee.count).map { batch.pointee.ranges[$0] }
    }

    @Test func neighbouringUnmapsBecomeOneAndOthersDoNot() {
        Self.withBatch(mergesMaps: false) { batch in
            for page: UInt64 in [1, 2, 3, 5, 6, 9] { #expect(batch.add(.unmap(Self.binding(page, 1)))) }
            #expect(Self.ranges(batch).map(\.address) == [0x1000, 0x5000, 0x9000])
            #expect(Self.ranges(batch).map(\.size) == [0x3000, 0x2000, 0x1000])
        }
    }

    @Test func theLastRangeOfAllDoesNotJoinTheFirst() {
        Self.withBatch(mergesMaps: true) { batch in
            // Its end is 0 in 64 bits.
            #expect(batch.add(.unmap(Binding(
                start: 0 &- 4096, size: 4096, physical: 0, isLocal: false, isReadOnly: false))))
            #expect(batch.add(.map(Self.binding(0, 1), of: nil)))
            #expect(batch.pointee.count == 2)
        }
    }

    @Test(arguments: [false, true]) func mapsBecomeOneOnlyWhereTheyAreOne(_ merges: Bool) {
        let buffer = UnsafeMutableRawPointer(bitPattern: 0x1000)
        let other = UnsafeMutableRawPointer(bitPattern: 0x2000)
        Self.withBatch(mergesMaps: merges) { batch in
            #expect(batch.add(.map(Self.binding(0, 2, offset: 7), of: buffer)))
            #expect(batch.add(.map(Self.binding(2, 2, offset: 9), of: buffer)))
            #expect(batch.pointee.count == (merges ? 1 : 2))
            let before = batch.pointee.count
            // Another place in the buffer, another buffer, other access, a hole.
            #expect(batch.add(.map(Self.binding(4, 1, offset: 12), of: buffer)))
            #expect(batch.add(.map(Self.binding(5, 1, offset: 13), of: other)))
            #expect(batch.add(.map(Self.binding(6, 1, offset: 14, isReadOnly: true), of: other)))
            #expect(batch.add(.map(Self.binding(8, 1, offset: 15, isReadOnly: true), of: other)))
            #expect(batch.pointee.count == before + 4)
            #expect(Self.ranges(batch).last!.flags == UNBIND_BACKEND_READ_ONLY)
        }
    }

    @Test(arguments: [false, true]) func nullMapsAndWhatABatchSaidOfAMappingReachTheBackend(_ merges: Bool) {
        let buffer = UnsafeMutableRawPointer(bitPattern: 0x1000)
        Self.withBatch(mergesMaps: merges) { batch in
            for page in 0..<2 as Range<UInt64> {
                #expect(
                    batch.add(
                        .map(
                            Binding(
                                start: page * 4096, size: 4096, physical: page * 4096, isLocal: false,
                                isReadOnly: false, isNull: true), of: buffer, MappingFlags(isNull: true))))
            }
            #expect(batch.pointee.count == (merges ? 1 : 2))
            #expect(Self.ranges(batch).allSatisfy { $0.op == UNBIND_BACKEND_MAP_NULL && $0.bo == nil && $0.offset == 0 })
            let count = batch.pointee.count
            #expect(batch.add(.map(Self.binding(2, 1, offset: 7), of: buffer, MappingFlags(flags: 2, cacheLevel: 3))))
            #expect(batch.add(.map(Self.binding(3, 1, offset: 8), of: buffer, MappingFlags(flags: 2, cacheLevel: 1))))
            #expect(batch.pointee.count == count + 2)
            #expect(Self.ranges(batch).last!.flags == UNBIND_BACKEND_CAPTURE)
            #expect(Self.ranges(batch).last!.cache_level == 1)
        }
    }

    @Test func aFullBatchTakesNothingButWhatJoinsItsLastRange() {
        Self.withBatch(mergesMaps: false) { batch in
            batch.pointee.limit = 2
            #expect(batch.add(.unmap(Self.binding(0, 1))))
            #expect(batch.add(.unmap(Self.binding(2, 1))))
            #expect(!batch.add(.unmap(Self.binding(4, 1))))
            #expect(batch.add(.unmap(Self.binding(3, 1))))
            #expect(Self.ranges(batch).map(\.size) == [0x1000, 0x2000])
        }
    }

    @Test func undoingTakesBackAlsoWhatJoinedARange() {
        Self.withBatch(mergesMaps: false) { batch in
            let start = batch.mark
            #expect(batch.add(.unmap(Self.binding(0, 1))))
            let mark = batch.mark
            #expect(batch.add(.unmap(Self.binding(1, 1))))
            #expect(batch.add(.unmap(Self.binding(5, 1))))
            batch.undo(to: mark)
            #expect(Self.ranges(batch).map(\.size) == [0x1000])
            batch.undo(to: start)
            #expect(batch.isEmpty)
        }
    }

    @Test(arguments: 0..<200) func aBatchCoversWhatWasAddedAndAsFewRangesAsThatNeeds(_ seed: UInt64) {
        var random = RandomSource(seed: seed)
        Self.withBatch(mergesMaps: false) { batch in
            var covered: [UInt64] = []
            var page: UInt64 = 0
            while covered.count < 300 {
                page += UInt64(random.next(below: 3))
                let pages = UInt64(1 + random.next(below: 4))
                if !batch.add(.unmap(Self.binding(page, pages))) { break }
                covered += page..<(page + pages)
                page += pages
            }
            let listed = Self.ranges(batch).flatMap { ($0.address / 4096)..<(($0.address + $0.size) / 4096) }
            #expect(listed == covered)
            let pieces = covered.indices.filter { $0 == 0 || covered[$0 - 1] + 1 != covered[$0] }.count
            #expect(batch.pointee.count == pieces)
        }
    }

    // MARK: Order

    struct Element: AddressOrdered {
        var key: UInt64
        var number: Int
        var following: UnsafeMutablePointer<Element>?

        static func address(of element: UnsafeMutablePointer<Element>) -> UInt64 { element.pointee.key }
        static func next(of element: UnsafeMutablePointer<Element>) -> UnsafeMutablePointer<Element>? {
            element.pointee.following
        }
        static func setNext(of element: UnsafeMutablePointer<Element>, to next: UnsafeMutablePointer<Element>?) {
            element.pointee.following = next
        }
    }

    static func sorted(_ keys: [UInt64]) -> [(UInt64, Int)] {
        let elements = UnsafeMutablePointer<Element>.allocate(capacity: keys.count + 1)
        defer { elements.deallocate() }
        for (number, key) in keys.enumerated() {
            let next = number + 1 < keys.count ? elements + number + 1 : nil
            (elements + number).initialize(to: Element(key: key, number: number, following: next))
        }
        var result: [(UInt64, Int)] = []
        var next = AddressOrder.sorted(keys.isEmpty ? nil : elements)
        while let element = next, result.count <= keys.count {
            result.append((element.pointee.key, element.pointee.number))
            next = element.pointee.following
        }
        return result
    }

    @Test func listsComeOutInOrderOfAddressesAndEqualOnesAsTheyWere() {
        var random = RandomSource(seed: 3)
        for count in Array(0...40) + [100, 1000, 4097] {
            for spread in [2, 10, 1_000_000] {
                let keys = (0..<count).map { _ in UInt64(random.next(below: spread)) }
                for keys in [keys, keys.sorted(), keys.sorted(by: >)] {
                    let expected = keys.enumerated().sorted { ($0.element, $0.offset) < ($1.element, $1.offset) }
                    let got = Self.sorted(keys)
                    #expect(got.map(\.1) == expected.map(\.offset))
                }
            }
        }
        #expect(Self.sorted([.max, 0, .max - 1]).map(\.0) == [0, .max - 1, .max])
    }

    // MARK: Layout

    @Test func embeddedPartsAreWhereTheyAreLookedFor() {
        var ops = unbind_backend_ops()
        ops.vm_create = { _, _, _, _, _, _ in 0 }
        ops.vm_destroy = { _, _ in }
        let device = try! DevicePointer.open(
            DeviceOptions(), memory: Memory(), backend: BackendDescription(ops: ops, context: nil))
        let space = try! device.pointee.backend!.makeSpace(id: 1, options: AddressSpaceOptions())
        withUnsafePointer(to: &space.pointee.item) { #expect(UnsafeRawPointer($0) == UnsafeRawPointer(space.item)) }
        withUnsafePointer(to: space.pointee.token) { #expect(UnsafeRawPointer($0) == UnsafeRawPointer(space.token)) }
        #expect(space.item.pointee.context == UnsafeMutableRawPointer(space))
        space.free()
        _ = try! device.close()
        device.dropHandle()
    }
}
