// Exports of <unbind/intel.h>.

import CUnbind

@implementation @_cdecl("unbind_device_open_intel")
public func unbind_device_open_intel(
    _ selector: UnsafePointer<CChar>!, _ intel: UnsafePointer<unbind_intel_options>!,
    _ options: UnsafePointer<unbind_device_options>!, _ outDevice: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let out = try required(outDevice)
        let checkedIntel = try checkedIntelOptions(intel, selector: selector)
        guard let options else {
            out.pointee = OpaquePointer(
                try IntelDevice.open(
                    checkedIntel, DeviceOptions(), limitsLocal: false, memory: Memory(), backendMemory: Memory()))
            return
        }
        let read = try read(options, zero: unbind_device_options())
        out.pointee = OpaquePointer(
            try IntelDevice.open(
                checkedIntel, try checkedDeviceOptions(read), limitsLocal: read.local_memory_bytes != 0,
                memory: try checkedAllocator(read.allocator), backendMemory: try checkedAllocator(read.allocator)))
    }
}

private func checkedIntelOptions(
    _ pointer: UnsafePointer<unbind_intel_options>?, selector: UnsafePointer<CChar>?
) throws(Status) -> IntelOptions {
    var checked = IntelOptions()
    if let pointer {
        let options = try read(pointer, zero: unbind_intel_options())
        try check(
            options.flags,
            allowed: UNBIND_INTEL_SCRATCH | UNBIND_INTEL_LAZY_UNBIND | UNBIND_INTEL_LONG_RUNNING
                | UNBIND_INTEL_FAULT_MODE)
        guard options.reserved == 0, options.fd >= -1, options.fd < 0 || selector == nil else { throw Status.invalid }
        checked.usesScratch = options.flags & UNBIND_INTEL_SCRATCH != 0
        checked.unbindsLazily = options.flags & UNBIND_INTEL_LAZY_UNBIND != 0
        checked.isLongRunning = options.flags & UNBIND_INTEL_LONG_RUNNING != 0
        checked.servesFaults = options.flags & UNBIND_INTEL_FAULT_MODE != 0
        checked.file = options.fd
    }
    if let selector {
        var offset = 0
        checked.selector = try .parse(selector, errorAt: &offset)
    }
    return checked
}

@implementation @_cdecl("unbind_device_get_intel_info")
public func unbind_device_get_intel_info(
    _ handle: OpaquePointer!, _ info: UnsafeMutablePointer<unbind_intel_info>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(handle)
        let out = try required(info)
        let link = try device.kernelLink()
        let gpu = link.gpu.gpu
        var info = unbind_intel_info()
        info.flags = link.flags
        info.kernel_driver = gpu.driver.rawValue
        info.va_bits = gpu.vaBits
        info.device_id = gpu.pci.device
        info.graphics_major = gpu.versionMajor
        info.graphics_minor = gpu.versionMinor
        gpu.pci.address.text.withSlice { copy($0, to: &info.pci_address) }
        try write(info, to: out)
    }
}

// MARK: Fences

@implementation @_cdecl("unbind_fence_export_syncobj")
public func unbind_fence_export_syncobj(_ handle: OpaquePointer!, _ outFD: UnsafeMutablePointer<Int32>!) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        let out = try required(outFD)
        out.pointee = try fence.exportSyncobj()
    }
}

@implementation @_cdecl("unbind_fence_signal_syncobj")
public func unbind_fence_signal_syncobj(_ handle: OpaquePointer!, _ descriptor: Int32, _ point: UInt64) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        try fence.signal(syncobj: descriptor, point: point)
    }
}

@implementation @_cdecl("unbind_fence_import_syncobj")
public func unbind_fence_import_syncobj(
    _ deviceHandle: OpaquePointer!, _ descriptor: Int32, _ point: UInt64,
    _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outFence)
        handOut(try device.importFence(syncobj: descriptor, point: point), to: out)
    }
}

@implementation @_cdecl("unbind_fence_export_sync_file")
public func unbind_fence_export_sync_file(_ handle: OpaquePointer!, _ outFD: UnsafeMutablePointer<Int32>!) -> Int32 {
    cStatus { () throws(Status) in
        let fence: FencePointer = try object(handle)
        let out = try required(outFD)
        out.pointee = try fence.exportSyncFile()
    }
}

@implementation @_cdecl("unbind_fence_import_sync_file")
public func unbind_fence_import_sync_file(
    _ deviceHandle: OpaquePointer!, _ descriptor: Int32, _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outFence)
        handOut(try device.importFence(syncFile: descriptor), to: out)
    }
}

// MARK: Buffers

@implementation @_cdecl("unbind_bo_export_dma_buf")
public func unbind_bo_export_dma_buf(_ handle: OpaquePointer!, _ outFD: UnsafeMutablePointer<Int32>!) -> Int32 {
    cStatus { () throws(Status) in
        let bo: BufferObjectPointer = try object(handle)
        let out = try required(outFD)
        out.pointee = try bo.exportDMABuf()
    }
}

@implementation @_cdecl("unbind_bo_import_dma_buf")
public func unbind_bo_import_dma_buf(
    _ deviceHandle: OpaquePointer!, _ descriptor: Int32, _ outBO: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let device: DevicePointer = try object(deviceHandle)
        let out = try required(outBO)
        let bo = try BufferObjectPointer.make(device: device) { () throws(Status) in
            try PageListPointer.makeImported(device: device, dmaBuf: descriptor)
        }
        out.pointee = OpaquePointer(bo)
    }
}
