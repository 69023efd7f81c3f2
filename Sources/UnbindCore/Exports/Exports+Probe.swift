// Exports of <unbind/probe.h>.

import CSystem
import CUnbind

@implementation @_cdecl("unbind_probe")
public func unbind_probe(
    _ flags: UInt32, _ infos: UnsafeMutablePointer<unbind_gpu_info>!, _ capacity: UInt32,
    _ outCount: UnsafeMutablePointer<UInt32>!
) -> Int32 {
    cStatus { () throws(Status) in
        try check(flags, allowed: UNBIND_PROBE_NO_OPEN)
        let count = try required(outCount)
        var stride = 0
        if capacity != 0 { stride = Int(try read(UnsafePointer(required(infos)), zero: unbind_gpu_info()).struct_size) }
        var memory = Memory()
        try withUnsafeMutablePointer(to: &memory) { memory throws(Status) in
            let list = try GPUList.read(memory: memory)
            let filled = min(list.gpus.count, Int(capacity))
            for index in 0..<filled where flags & UNBIND_PROBE_NO_OPEN == 0 {
                list.pointer(at: index).query(memory: memory)
            }
            for index in 0..<filled {
                list.gpus[index].write(to: UnsafeMutableRawPointer(infos!) + index * stride, size: stride)
            }
            count.pointee = UInt32(truncatingIfNeeded: list.gpus.count)
        }
    }
}

@implementation @_cdecl("unbind_probe_find")
public func unbind_probe_find(
    _ selector: UnsafePointer<CChar>!, _ flags: UInt32, _ info: UnsafeMutablePointer<unbind_gpu_info>!,
    _ errorOffset: UnsafeMutablePointer<UInt32>!
) -> Int32 {
    cStatus { () throws(Status) in
        try check(flags, allowed: UNBIND_PROBE_NO_OPEN)
        let size = Int(try read(UnsafePointer(required(info)), zero: unbind_gpu_info()).struct_size)
        let wanted = try checkedSelector(selector, errorOffset)
        let asks = flags & UNBIND_PROBE_NO_OPEN == 0
        var memory = Memory()
        try withUnsafeMutablePointer(to: &memory) { memory throws(Status) in
            let list = try GPUList.read(memory: memory)
            let gpu = try list.find(wanted, asks: asks)
            if asks { gpu.query(memory: memory) }
            gpu.pointee.write(to: UnsafeMutableRawPointer(info!), size: size)
        }
    }
}

private func checkedSelector(
    _ text: UnsafePointer<CChar>?, _ errorOffset: UnsafeMutablePointer<UInt32>?
) throws(Status) -> DeviceSelector {
    guard let text else { return .any }
    var offset = 0
    do throws(Status) {
        return try .parse(text, errorAt: &offset)
    } catch {
        errorOffset?.pointee = UInt32(truncatingIfNeeded: offset)
        throw error
    }
}

// MARK: The struct

extension GPU {
    /// Fills the caller's struct as far as the caller knows it, and clears what only the caller knows.
    fileprivate func write(to memory: UnsafeMutableRawPointer, size: Int) {
        var info = cValue
        info.struct_size = UInt32(size)
        withUnsafeBytes(of: &info) { bytes in
            let known = min(size, bytes.count)
            _ = memcpy(memory, bytes.baseAddress!, known)
            _ = memset(memory + known, 0, size - known)
        }
    }

    private var cValue: unbind_gpu_info {
        var info = unbind_gpu_info()
        if platform != nil { info.flags |= UNBIND_GPU_KNOWN }
        if hasAddressSpaces { info.flags |= UNBIND_GPU_ADDRESS_SPACES }
        info.pci_domain = pci.address.domain
        info.pci_bus = pci.address.bus
        info.pci_device = pci.address.device
        info.pci_function = pci.address.function
        info.revision = pci.revision
        info.vendor_id = pci.vendor
        info.device_id = pci.device
        info.subvendor_id = pci.subvendor
        info.subdevice_id = pci.subdevice
        info.pci_class = pci.classCode
        info.type = type.rawValue
        info.graphics_major = versionMajor
        info.graphics_minor = versionMinor
        info.kernel_driver = driver.rawValue
        info.open_status = openStatus
        info.query_status = queryStatus
        info.driver_major = driverVersion[0]
        info.driver_minor = driverVersion[1]
        info.driver_patch = driverVersion[2]
        info.va_bits = vaBits
        info.local_memory_bytes = localBytes
        info.local_visible_bytes = localVisibleBytes
        fillRegions(of: &info)
        fillTexts(of: &info)
        return info
    }

    private func fillRegions(of info: inout unbind_gpu_info) {
        withUnsafeMutableBytes(of: &info.bar_sizes) { bytes in
            let sizes = bytes.assumingMemoryBound(to: UInt64.self)
            for index in 0..<6 { sizes[index] = regions[index].size }
        }
        withUnsafeMutableBytes(of: &info.bar_kinds) { bytes in
            let kinds = bytes.assumingMemoryBound(to: UInt32.self)
            for index in 0..<6 { kinds[index] = kind(ofRegion: index).rawValue }
        }
    }

    private func fillTexts(of info: inout unbind_gpu_info) {
        pci.address.text.withSlice { copy($0, to: &info.pci_address) }
        if let platform {
            copy(platform.name, to: &info.platform)
            copy(platform.codename, to: &info.codename)
            copy(platform.family, to: &info.family)
            copy(platform.product, to: &info.name)
        }
        driverName.withSlice { copy($0, to: &info.driver_name) }
        renderNode.withSlice { copy($0, to: &info.render_node) }
        primaryNode.withSlice { copy($0, to: &info.primary_node) }
    }
}

/// A text into an array of characters, which is all zero; what is too long is left out.
func copy<T>(_ text: TextSlice, to array: inout T) {
    withUnsafeMutableBytes(of: &array) { bytes in
        if text.count < bytes.count { _ = memcpy(bytes.baseAddress!, text.start, text.count) }
    }
}
