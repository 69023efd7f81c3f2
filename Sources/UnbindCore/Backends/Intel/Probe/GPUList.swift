// GPUList: the machine's Intel GPUs at one moment, and finding one of them.
//
// Made, used and freed within one call; nothing is remembered between calls but libpciaccess's own.

import CPCIAccess

struct GPUList: ~Copyable {
    let gpus: UnsafeMutableBufferPointer<GPU>
    private let memory: UnsafeMutablePointer<Memory>

    /// All GPUs in the order of their PCI addresses, none of them opened.
    static func read(memory: UnsafeMutablePointer<Memory>) throws(Status) -> GPUList {
        let devices = try PCIDevice.list(memory: memory)
        let list = try GPUList(of: devices, memory: memory)
        if !list.gpus.isEmpty { try GPUNodes.tie(list.gpus, memory: memory) }
        return list
    }

    private init(
        of devices: borrowing GrowingArray<PCIDevice>, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) {
        guard let start = memory.allocateArray(of: GPU.self, count: devices.count) else { throw .noMemory }
        self.memory = memory
        gpus = UnsafeMutableBufferPointer(start: start, count: devices.count)
        for index in gpus.indices { (start + index).initialize(to: GPU(devices.elements[index])) }
    }

    deinit { memory.deallocateArray(gpus.baseAddress!, count: gpus.count) }

    func pointer(at index: Int) -> UnsafeMutablePointer<GPU> { gpus.baseAddress! + index }

    /// The GPU that a device node belongs to.
    func first(withNode number: UInt64) -> UnsafeMutablePointer<GPU>? {
        for index in gpus.indices where gpus[index].renderNumber == number || gpus[index].primaryNumber == number {
            return pointer(at: index)
        }
        return nil
    }

    /// The GPU that a selection string means.
    /// - Parameter asks: whether drivers may be asked, which some GPUs' type needs.
    func find(_ selector: DeviceSelector, asks: Bool) throws(Status) -> UnsafeMutablePointer<GPU> {
        var skip: UInt32 = 0
        if case .ids(_, _, let card) = selector { skip = card }
        var node: UInt64 = 0
        if case .node(let path) = selector { node = cpci_node_number(path) }
        for index in gpus.indices {
            let gpu = pointer(at: index)
            if case .type = selector, gpu.pointee.type == .unknown, asks { gpu.query(memory: memory) }
            guard gpu.pointee.matches(selector, node: node) else { continue }
            if skip == 0 { return gpu }
            skip -= 1
        }
        throw .noDevice
    }
}

extension GPU {
    fileprivate func matches(_ selector: DeviceSelector, node: UInt64) -> Bool {
        switch selector {
        case .any: true
        case .address(let address): address == pci.address
        case .node: node != 0 && (node == renderNumber || node == primaryNumber)
        case .ids(let vendor, let device, _):
            (vendor ?? pci.vendor) == pci.vendor && (device ?? pci.device) == pci.device
        case .type(let type): type == self.type
        }
    }
}
