// GPUNodes: which DRM nodes belong to which GPU. Nothing is opened, so no permission is needed.
//
// libdrm lists the nodes, but knows 16 bits of a PCI domain and leaves out devices that need more (2.4.114); for GPUs
// that it does not name, sysfs is asked.

import CLibDRM
import CPCIAccess
import CSystem

enum GPUNodes {
    /// Enters the nodes of all GPUs. A machine without DRM has none.
    static func tie(
        _ gpus: UnsafeMutableBufferPointer<GPU>, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) {
        try tieWithLibrary(gpus, memory: memory)
        for index in gpus.indices where gpus[index].primaryNumber == 0 && gpus[index].renderNumber == 0 {
            enterFromSysfs(gpus.baseAddress! + index)
        }
    }

    private static func tieWithLibrary(
        _ gpus: UnsafeMutableBufferPointer<GPU>, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) {
        let count = drmGetDevices2(0, nil, 0)
        if count <= 0 { return }
        // Devices may appear between the two calls; libdrm counts more than it fills in.
        let capacity = Int(count) + 8
        guard let devices = memory.allocateArray(of: drmDevicePtr?.self, count: capacity) else { throw .noMemory }
        defer { memory.deallocateArray(devices, count: capacity) }
        devices.initialize(repeating: nil, count: capacity)
        let found = min(drmGetDevices2(0, devices, Int32(capacity)), Int32(capacity))
        if found <= 0 { return }
        defer { drmFreeDevices(devices, found) }
        for index in 0..<Int(found) {
            guard let device = devices[index], device.pointee.bustype == DRM_BUS_PCI else { continue }
            enter(device, in: gpus)
        }
    }

    private static func enter(_ device: drmDevicePtr, in gpus: UnsafeMutableBufferPointer<GPU>) {
        let primary = path(of: DRM_NODE_PRIMARY, of: device)
        let render = path(of: DRM_NODE_RENDER, of: device)
        let primaryNumber = number(of: primary)
        let renderNumber = number(of: render)
        let (address, domainBits) = address(of: device, node: renderNumber != 0 ? renderNumber : primaryNumber)
        for index in gpus.indices where gpus[index].pci.address.masked(domainBits: domainBits) == address {
            gpus[index].primaryNode = primary
            gpus[index].primaryNumber = primaryNumber
            gpus[index].renderNode = render
            gpus[index].renderNumber = renderNumber
        }
    }

    /// The device's directory `drm` has an entry for each node that the kernel made; /dev/dri may lack it all the same.
    private static func enterFromSysfs(_ gpu: UnsafeMutablePointer<GPU>) {
        let path = Sysfs.path(gpu.pointee.pci.address, "drm")
        guard let directory = path.withCString({ $0.flatMap { opendir($0) } }) else { return }
        defer { closedir(directory) }
        while let name = cpci_next_name(directory) {
            var node = FixedText()
            node.append("/dev/dri/")
            node.append(TextSlice(cString: name))
            let number = number(of: node)
            if number == 0 { continue }
            var cursor = TextCursor(TextSlice(cString: name))
            if cursor.take("renderD") {
                gpu.pointee.renderNode = node
                gpu.pointee.renderNumber = number
            } else if cursor.take("card") {
                gpu.pointee.primaryNode = node
                gpu.pointee.primaryNumber = number
            }
        }
    }

    private static func path(of type: Int32, of device: drmDevicePtr) -> FixedText {
        guard device.pointee.available_nodes & (1 << type) != 0, let node = device.pointee.nodes[Int(type)] else {
            return FixedText()
        }
        let path = FixedText(copying: node)
        return path.isWhole ? path : FixedText()
    }

    private static func number(of path: FixedText) -> UInt64 {
        path.withCString { $0.map { cpci_node_number($0) } ?? 0 }
    }

    /// The device's address and which bits of its domain are known: libdrm keeps 16, the node itself knows all.
    private static func address(of device: drmDevicePtr, node: UInt64) -> (PCIAddress, domainBits: UInt32) {
        if node != 0, let address = Sysfs.pciAddress(ofNode: node) { return (address, .max) }
        let bus = device.pointee.businfo.pci.pointee
        return (PCIAddress(domain: UInt32(bus.domain), bus: bus.bus, device: bus.dev, function: bus.func), 0xffff)
    }
}

extension PCIAddress {
    fileprivate func masked(domainBits: UInt32) -> PCIAddress {
        PCIAddress(domain: domain & domainBits, bus: bus, device: device, function: function)
    }
}
