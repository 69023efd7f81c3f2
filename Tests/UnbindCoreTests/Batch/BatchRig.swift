@testable import UnbindCore

/// A device with an address space and two buffers.
struct BatchRig {
    let test: TestDevice
    let vm: VMPointer
    let bos: [BufferObjectPointer]

    var device: DevicePointer { test.pointer }

    init() throws {
        test = TestDevice(.manual)
        vm = try VMPointer.make(device: test.pointer, options: AddressSpaceOptions())
        let device = test.pointer
        bos = try (0..<2).map { _ in
            try BufferObjectPointer.make(device: device) { () throws(Status) in
                try PageListPointer.makeSystem(device: device, size: 64 * 4096)
            }
        }
    }

    func close() {
        for bo in bos { bo.dropHandle() }
        vm.dropHandle()
        test.close()
    }
}
