// GPU: what the probe knows about one device.
//
// Filled in three steps, each of which may find nothing: what PCI and the platform table say; the DRM nodes
// (GPUNodes); and, once its node has been opened, what the kernel driver answers (GPUQuery).

import CSystem

enum KernelDriver: UInt32 {
    case none = 0
    case i915
    case xe
    case other

    init(named name: borrowing FixedText) {
        self = name.withSlice { name in
            if name.count == 0 { return .none }
            if name.equals("i915") { return .i915 }
            return name.equals("xe") ? .xe : .other
        }
    }
}

struct GPU: BitwiseCopyable {
    let pci: PCIDevice
    let platform: Platform?
    var type: GPUType
    var versionMajor: UInt16
    var versionMinor: UInt16
    let regions: InlineArray<6, PCIRegion>

    var driverName: FixedText
    var driver: KernelDriver

    /// Paths, and the device numbers that they lead to; empty and 0 if there is no such node.
    var renderNode = FixedText()
    var primaryNode = FixedText()
    var renderNumber: UInt64 = 0
    var primaryNumber: UInt64 = 0

    /// 0 or a negative errno, each: opening the render node, asking its driver. 1: not tried.
    var openStatus: Int32 = 1
    var queryStatus: Int32 = 1

    // Known when queryStatus is 0.
    var driverVersion = InlineArray<3, Int32>(repeating: 0)
    var vaBits: UInt32 = 0
    var hasAddressSpaces = false
    var localBytes: UInt64 = 0
    var localVisibleBytes: UInt64 = 0

    init(_ device: PCIDevice) {
        pci = device
        platform = Platform.find(device.device)
        type = platform?.type ?? .unknown
        versionMajor = platform?.versionMajor ?? 0
        versionMinor = platform?.versionMinor ?? 0
        regions = Sysfs.regions(device.address)
        driverName = Sysfs.driver(device.address)
        driver = KernelDriver(named: driverName)
    }

    /// What a region is; what the platform does not tell stays `other`.
    func kind(ofRegion index: Int) -> RegionKind {
        if regions[index].size == 0 { return .none }
        if regions[index].isPorts { return .ports }
        return (platform?.regions ?? .unknown).kind(of: index)
    }
}
