// PCIDevice: the Intel GPUs among the machine's PCI devices.
//
// libpciaccess has one table for the whole process, no lock and no count of its users. So: one lock around it; a host
// program that has it open keeps it as it is and lends it; else it is open only while the devices are copied. (A host
// that closes it on another thread at that moment is beyond help.) It gives up when a single device is unreadable:
// then the devices are read from sysfs one by one, and the unreadable are left out.

import CPCIAccess
import CSystem
import Synchronization

struct PCIDevice: BitwiseCopyable {
    static var intel: UInt16 { 0x8086 }

    let address: PCIAddress
    let vendor: UInt16
    let device: UInt16
    let subvendor: UInt16
    let subdevice: UInt16
    /// 24 bits: class, subclass, interface.
    let classCode: UInt32
    let revision: UInt8

    /// Display devices, and those that are no display device but known for a GPU.
    var isIntelGPU: Bool { vendor == Self.intel && (classCode >> 16 == 3 || Platform.find(device) != nil) }
}

private let libpciaccess = FutexLock(.pciAccess)

extension PCIDevice {
    /// All Intel GPUs, in the order of their addresses. None if the machine has no PCI.
    static func list(memory: UnsafeMutablePointer<Memory>) throws(Status) -> GrowingArray<PCIDevice> {
        var list = GrowingArray<PCIDevice>(memory: memory)
        if try !listWithLibrary(&list) { try listFromSysfs(&list) }
        sort(&list)
        return list
    }

    /// False if the library knows of no PCI device at all.
    private static func listWithLibrary(_ list: inout GrowingArray<PCIDevice>) throws(Status) -> Bool {
        libpciaccess.acquire()
        defer { libpciaccess.release() }
        var iterator = pci_slot_match_iterator_create(nil)
        let isHostOwned = iterator != nil
        // Also after a failure: it leaves things behind.
        defer { if !isHostOwned { pci_system_cleanup() } }
        if !isHostOwned, pci_system_init() == 0 { iterator = pci_slot_match_iterator_create(nil) }
        guard let iterator else { return false }
        defer { pci_iterator_destroy(iterator) }
        var hasDevices = false
        while let device = pci_device_next(iterator) {
            hasDevices = true
            let copy = PCIDevice(device.pointee)
            if copy.isIntelGPU { try list.append(copy) }
        }
        return hasDevices
    }

    private init(_ device: pci_device) {
        address = PCIAddress(domain: device.domain, bus: device.bus, device: device.dev, function: device.func)
        vendor = device.vendor_id
        self.device = device.device_id
        subvendor = device.subvendor_id
        subdevice = device.subdevice_id
        classCode = device.device_class & 0xff_ffff
        revision = device.revision
    }

    private static func listFromSysfs(_ list: inout GrowingArray<PCIDevice>) throws(Status) {
        guard let directory = opendir("/sys/bus/pci/devices") else { return }
        defer { closedir(directory) }
        while let name = cpci_next_name(directory) {
            var cursor = TextCursor(TextSlice(cString: name))
            guard let address = cursor.pciAddress(), cursor.isAtEnd else { continue }
            if let device = PCIDevice(sysfs: address), device.isIntelGPU { try list.append(device) }
        }
    }

    private init?(sysfs address: PCIAddress) {
        guard let vendor = Sysfs.number(address, "vendor"), let device = Sysfs.number(address, "device"),
            let classCode = Sysfs.number(address, "class")
        else { return nil }
        self.address = address
        self.vendor = UInt16(truncatingIfNeeded: vendor)
        self.device = UInt16(truncatingIfNeeded: device)
        subvendor = UInt16(truncatingIfNeeded: Sysfs.number(address, "subsystem_vendor") ?? 0)
        subdevice = UInt16(truncatingIfNeeded: Sysfs.number(address, "subsystem_device") ?? 0)
        self.classCode = UInt32(truncatingIfNeeded: classCode) & 0xff_ffff
        revision = UInt8(truncatingIfNeeded: Sysfs.number(address, "revision") ?? 0)
    }

    /// A machine has few of them.
    private static func sort(_ list: inout GrowingArray<PCIDevice>) {
        if list.count < 2 { return }
        let devices = list.elements
        for end in 1..<list.count {
            let device = devices[end]
            var index = end
            while index > 0, device.address.precedes(devices[index - 1].address) {
                devices[index] = devices[index - 1]
                index -= 1
            }
            devices[index] = device
        }
    }
}
