// XeQuery: the questions for an xe driver (DRM_IOCTL_XE_DEVICE_QUERY).

import CLibDRM
import CSystem

struct XeQuery {
    let file: Int32
    let memory: UnsafeMutablePointer<Memory>

    /// Every list begins with its length in 32 bits, and 32 bits of nothing.
    static let header = 8

    func fill(_ gpu: UnsafeMutablePointer<GPU>) throws(Status) {
        try fillConfiguration(gpu)
        try fillMemory(gpu)
        try fillVersion(gpu)
        // Each file has address spaces of its own, in which it chooses the addresses.
        gpu.pointee.hasAddressSpaces = true
    }

    private func fillConfiguration(_ gpu: UnsafeMutablePointer<GPU>) throws(Status) {
        let answer = try ask(UNBIND_DRM_XE_DEVICE_QUERY_CONFIG)
        let count = answer.entries(
            claimed: answer.load(UInt32.self, at: 0), header: Self.header, stride: MemoryLayout<UInt64>.size)
        let index = Int(UNBIND_DRM_XE_QUERY_CONFIG_VA_BITS)
        guard index < count else { throw Status(raw: -EIO) }
        let bits = answer.load(UInt64.self, at: Self.header + index * MemoryLayout<UInt64>.size)
        guard bits <= 64 else { throw Status(raw: -EIO) }
        gpu.pointee.vaBits = UInt32(bits)
    }

    private func fillMemory(_ gpu: UnsafeMutablePointer<GPU>) throws(Status) {
        typealias Region = unbind_drm_xe_mem_region
        let answer = try ask(UNBIND_DRM_XE_DEVICE_QUERY_MEM_REGIONS)
        let count = answer.entries(
            claimed: answer.load(UInt32.self, at: 0), header: Self.header, stride: MemoryLayout<Region>.stride)
        for index in 0..<count {
            let region = answer.load(Region.self, at: Self.header + index * MemoryLayout<Region>.stride)
            guard UInt32(region.mem_class) == UNBIND_DRM_XE_MEM_REGION_CLASS_VRAM else { continue }
            gpu.pointee.localBytes = gpu.pointee.localBytes.addingSaturating(region.total_size)
            gpu.pointee.localVisibleBytes = gpu.pointee.localVisibleBytes.addingSaturating(region.cpu_visible_size)
        }
    }

    /// The version that the hardware has, of the GT that renders. The first kernels left it 0.
    private func fillVersion(_ gpu: UnsafeMutablePointer<GPU>) throws(Status) {
        typealias GT = unbind_drm_xe_gt
        let answer = try ask(UNBIND_DRM_XE_DEVICE_QUERY_GT_LIST)
        let count = answer.entries(
            claimed: answer.load(UInt32.self, at: 0), header: Self.header, stride: MemoryLayout<GT>.stride)
        for index in 0..<count {
            let gt = answer.load(GT.self, at: Self.header + index * MemoryLayout<GT>.stride)
            guard UInt32(gt.type) == UNBIND_DRM_XE_QUERY_GT_TYPE_MAIN, gt.ip_ver_major != 0 else { continue }
            gpu.pointee.versionMajor = gt.ip_ver_major
            gpu.pointee.versionMinor = gt.ip_ver_minor
            return
        }
    }

    /// Asks for the size of the answer, then for the answer.
    func ask(_ id: UInt32) throws(Status) -> QueryAnswer {
        var query = unbind_drm_xe_device_query()
        query.query = id
        try call(&query)
        let answer = try QueryAnswer(count: Int(query.size), memory: memory)
        query.data = UInt64(UInt(bitPattern: answer.bytes))
        try call(&query)
        return answer
    }

    private func call(_ query: inout unbind_drm_xe_device_query) throws(Status) {
        let status = clibdrm_ioctl(file, UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, &query)
        if status < 0 { throw Status(raw: status) }
    }
}
