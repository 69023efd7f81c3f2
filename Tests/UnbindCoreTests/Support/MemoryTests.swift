import CUnbind
import Testing

@testable import UnbindCore

@Suite struct MemoryTests {
    private static let apart = 128

    @Test("what lasts has its cache lines, and those that are fetched with them, to itself")
    func linesOfTheirOwn() {
        let memory = TestMemory()
        var owners: [Int: Int] = [:]
        var free: [() -> Void] = []
        for number in 0..<200 {
            let count = number % 7 * 61 + 1
            if number % 2 == 0 {
                let objects = memory.pointer.allocateApart(of: UInt8.self, count: count)!
                #expect(Int(bitPattern: objects) % Self.apart == 0)
                take(objects, count, number)
                free.append { memory.pointer.deallocateApart(objects, count: count) }
            } else {
                let bytes = memory.pointer.allocateArray(of: UInt8.self, count: count)!
                take(bytes, count, number)
                free.append { memory.pointer.deallocateArray(bytes, count: count) }
            }
        }
        free.forEach { $0() }

        /// Lines with an object of its own in them are nobody else's.
        func take(_ start: UnsafeMutablePointer<UInt8>, _ count: Int, _ number: Int) {
            let first = Int(bitPattern: start)
            for line in first / Self.apart...(first + count - 1) / Self.apart {
                let owner = owners.updateValue(number, forKey: line) ?? number
                #expect(owner == number || owner % 2 == 1 && number % 2 == 1, "\(owner) and \(number)")
            }
        }
    }

    @Test("two threads with a device or an address space each write to no cache line of the other's")
    func partsOfDevices() {
        let gpu = DirectedGPU()
        let device = gpu.makeSpace().vm.pointee.device
        for space in [gpu.makeSpace(), gpu.makeSpace()] {
            let vm = space.vm
            let parts = [
                UnsafeMutableRawPointer(vm), UnsafeMutableRawPointer(vm.pointee.ranges),
                UnsafeMutableRawPointer(vm.pointee.pending), UnsafeMutableRawPointer(vm.pointee.stats),
                UnsafeMutableRawPointer(vm.pointee.drain), UnsafeMutableRawPointer(vm.pointee.space),
                UnsafeMutableRawPointer(vm.pointee.history), UnsafeMutableRawPointer(device),
                UnsafeMutableRawPointer(device.pointee.executor),
            ]
            for part in parts { #expect(Int(bitPattern: part) % Self.apart == 0) }
        }
        gpu.close()
    }
}

extension OpaquePointer {
    fileprivate var vm: VMPointer { VMPointer(self) }
}
