// What a pending unbind is made of: where its parts are, and how many bytes of memory there are for a million of them.

import Testing

@testable import UnbindCore

@Suite struct ResourceLayoutTests {
    @Test("a pending unbind takes a resource of 120 bytes and an edge of 32")
    func sizes() {
        #expect(MemoryLayout<Fence>.size == 40)
        #expect(MemoryLayout<VMAResource>.size == 120)
        #expect(MemoryLayout<Await>.size == 32)
    }

    @Test("a resource finds its parts and its address space where the offsets say")
    func places() throws {
        let device = try DevicePointer.open(DeviceOptions(), memory: Memory())
        let vm = try VMPointer.make(device: device, options: AddressSpaceOptions())
        let home = vm.unbindHome.pointee
        #expect(home.owner == UnsafeMutableRawPointer(device) && home.isOwnWork && !home.isOrdered)
        #expect(VMPointer(ofUnbindHome: vm.unbindHome) == vm)

        let pages = try PageListPointer.makeSystem(device: device, size: 8192)
        let binding = Binding(
            start: 0x5000, size: 8192, physical: pages.pointee.physical, isLocal: false, isReadOnly: true, decision: 77)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: MemoryLayout<VMAResource>.size, alignment: 8)
        let resource = ResourcePointer.initialize(
            memory, vm: vm, pages: pages, binding: binding, boID: 3, timelineAwait: nil)
        resource.node.pointee.place = 0x1234
        #expect(resource.pointee.node.place == 0x1234)
        resource.node.pointee.place = 0
        #expect(ResourcePointer(containing: resource.node) == resource)
        #expect(resource.pointee.vm == vm && resource.fence.device == device)
        #expect(resource.pointee.binding == binding)
        for flag in [VMAResource.Flag.isPublished, .isScheduled, .holdsPower, .isUpgraded, .keepsPages] {
            resource.set(flag)
        }
        resource.set(.isReadOnly, false)
        #expect(resource.pointee.isPublished && resource.pointee.isScheduled && resource.pointee.holdsPower)
        #expect(resource.pointee.isUpgraded && resource.pointee.keepsPages && !resource.pointee.isReadOnly)
        #expect(resource.pointee.binding.decision == 77)
        resource.deinitialize(count: 1)
        memory.deallocate()
        vm.pointee.resourcesMade -= 1
        pages.drop()
        vm.dropHandle()
        device.dropHandle()
    }
}
