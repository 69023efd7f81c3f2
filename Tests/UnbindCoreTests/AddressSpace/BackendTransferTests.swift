// BackendTransfer: where its parts are, and the order in which it lists bindings.

import Synchronization
import Testing

@testable import UnbindCore

@Suite struct BackendTransferTests {
    @Test("a transfer finds its word where the offset says")
    func places() throws {
        let device = try DevicePointer.open(DeviceOptions(), memory: Memory())
        let transfer = try BackendTransferPointer.make(.suspend, capacity: 3, memory: device.pointee.memory)
        let word = memberPointer(of: transfer, at: BackendTransfer.wordOffset, as: Atomic<UInt32>.self)
        #expect(transfer.pointee.word.load(ordering: .relaxed) == 0)
        word.pointee.store(77, ordering: .relaxed)
        #expect(transfer.pointee.word.load(ordering: .relaxed) == 77)
        transfer.free()
        device.dropHandle()
    }

    @Test("bindings are gathered in order of addresses, as many as fit, whatever the order in which they came")
    func order() throws {
        let device = try DevicePointer.open(DeviceOptions(), memory: Memory())
        let vm = try VMPointer.make(device: device, options: AddressSpaceOptions())
        let pages = try PageListPointer.makeSystem(device: device, size: 4096)
        for seed in 1...50 as ClosedRange<UInt64> {
            var random = RandomSource(seed: seed)
            let starts = random.shuffled(1..<100).prefix(Int(seed) * 7 % 40).map { UInt64($0) * 8192 }
            let transfer = try BackendTransferPointer.make(.suspend, capacity: 40, memory: device.pointee.memory)
            let resources = starts.map { start in
                let binding = Binding(start: start, size: 4096, physical: 0, isLocal: false, isReadOnly: false)
                return ResourcePointer.initialize(
                    device.cache(.resource).take()!, vm: vm, pages: pages, binding: binding, boID: 1,
                    timelineAwait: nil)
            }
            for resource in resources { transfer.add(resource, MappingFlags()) }
            transfer.sort()
            let batch = RangeBatchPointer.make(mergesMaps: false, memory: device.pointee.memory)!
            batch.pointee.limit = 1 + Int(seed) % 9
            var gathered: [UInt64] = []
            while true {
                transfer.gather(into: batch)
                if batch.isEmpty { break }
                #expect(batch.pointee.count <= batch.pointee.limit)
                gathered += (0..<batch.pointee.count).map { batch.pointee.ranges[$0].address }
                transfer.pointee.place = transfer.pointee.end
            }
            #expect(gathered == starts.sorted())
            batch.free(memory: device.pointee.memory)
            transfer.dropEntries()
            transfer.free()
            for resource in resources { resource.fence.drop() }
        }
        pages.drop()
        vm.dropHandle()
        device.dropHandle()
    }
}
