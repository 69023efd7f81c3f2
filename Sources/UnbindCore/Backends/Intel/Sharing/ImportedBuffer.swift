// Buffers whose memory is a dma-buf's: a PageList around what the backend has made of it. Such memory is somebody
// else's to account for, but the device's limit holds for it as well.

import CUnbind

extension UnsafeMutablePointer where Pointee == PageList {
    /// - Failure: unsupported, closed, lost, noMemory, and whatever the kernel says.
    static func makeImported(device: DevicePointer, dmaBuf descriptor: Int32) throws(Status) -> PageListPointer {
        let link = try device.kernelLink()
        let backend = device.pointee.backend!
        try backend.checkNotLost()
        guard let object = device.cache(.pageList).take() else { throw Status.noMemory }
        var (buffer, cpu): (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) = (nil, nil)
        var size: UInt64 = 0
        let context = backend.pointee.context
        var status = link.importBuffer(context, descriptor, &buffer, &cpu, &size)
        if status == 0, !device.chargeSystemMemory(size) {
            backend.pointee.ops.bo_destroy(context, buffer)
            status = Status.noMemory.raw
        }
        guard status == 0, let cpu else {
            device.cache(.pageList).give(object)
            throw Status(raw: status)
        }
        let list = object.bindMemory(to: PageList.self, capacity: 1)
        list.initialize(
            to: PageList(source: .backend, device: device, size: size, memory: cpu, physical: 0, mapping: buffer))
        list.share()
        return list
    }
}

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// - Failure: unsupported, also for the caller's own memory; closed; what the kernel said.
    func exportDMABuf() throws(Status) -> Int32 {
        let device = pointee.device
        let link = try device.kernelLink()
        // From here on it does not move: its pages stay as long as the object.
        let buffer = withPages { pages in
            pages.share()
            return pages.backendBuffer
        }
        return try DRMNode.checked(link.exportBuffer(device.pointee.backend!.pointee.context, buffer))
    }
}
