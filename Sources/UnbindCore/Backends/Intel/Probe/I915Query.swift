// I915Query: the questions for an i915 driver (GETPARAM, CONTEXT_GETPARAM, QUERY).

import CLibDRM
import CSystem

struct I915Query {
    let file: Int32
    let memory: UnsafeMutablePointer<Memory>

    func fill(_ gpu: UnsafeMutablePointer<GPU>) throws(Status) {
        do throws(Status) {
            Self.fillMemory(gpu, from: try ask(UNBIND_DRM_I915_QUERY_MEMORY_REGIONS))
        } catch {
            // Older kernels have no such list, and drive no GPU that would need it.
            if error != .invalid || gpu.pointee.type == .discrete { throw error }
        }
        gpu.pointee.vaBits = try addressBits()
        let tables = try parameter(UNBIND_I915_PARAM_HAS_ALIASING_PPGTT)
        let softpin = try parameter(UNBIND_I915_PARAM_HAS_EXEC_SOFTPIN)
        gpu.pointee.hasAddressSpaces = tables == Int32(UNBIND_I915_GEM_PPGTT_FULL) && softpin == 1
    }

    /// The size of the address space of the file's own context, as the power of two that fits in it.
    private func addressBits() throws(Status) -> UInt32 {
        var parameter = unbind_drm_i915_gem_context_param()
        parameter.param = UInt64(UNBIND_I915_CONTEXT_PARAM_GTT_SIZE)
        let status = clibdrm_ioctl(file, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &parameter)
        if status < 0 { throw Status(raw: status) }
        return parameter.value == 0 ? 0 : UInt32(63 - parameter.value.leadingZeroBitCount)
    }

    /// nil if this kernel does not know it.
    func parameter(_ id: UInt32) throws(Status) -> Int32? {
        var value: Int32 = 0
        let status = withUnsafeMutablePointer(to: &value) { pointer in
            var question = unbind_drm_i915_getparam(param: Int32(id), value: pointer)
            return clibdrm_ioctl(file, UNBIND_DRM_IOCTL_I915_GETPARAM, &question)
        }
        if status == -EINVAL { return nil }
        if status < 0 { throw Status(raw: status) }
        return value
    }

    private static func fillMemory(_ gpu: UnsafeMutablePointer<GPU>, from answer: borrowing QueryAnswer) {
        typealias Region = unbind_drm_i915_memory_region_info
        let header = MemoryLayout<unbind_drm_i915_query_memory_regions>.size
        let count = answer.entries(
            claimed: answer.load(UInt32.self, at: 0), header: header, stride: MemoryLayout<Region>.stride)
        for index in 0..<count {
            let region = answer.load(Region.self, at: header + index * MemoryLayout<Region>.stride)
            guard UInt32(region.region.memory_class) == UNBIND_I915_MEMORY_CLASS_DEVICE else { continue }
            gpu.pointee.localBytes = gpu.pointee.localBytes.addingSaturating(region.probed_size)
            // 0: a kernel that does not say, and does not run GPUs of which the CPU sees only a part.
            let visible = region.probed_cpu_visible_size != 0 ? region.probed_cpu_visible_size : region.probed_size
            gpu.pointee.localVisibleBytes = gpu.pointee.localVisibleBytes.addingSaturating(visible)
        }
    }

    /// Asks for the size of a list, then for the list.
    func ask(_ id: UInt32) throws(Status) -> QueryAnswer {
        var item = unbind_drm_i915_query_item()
        item.query_id = UInt64(id)
        try call(&item)
        let answer = try QueryAnswer(count: Int(item.length), memory: memory)
        item.data_ptr = UInt64(UInt(bitPattern: answer.bytes))
        try call(&item)
        return answer
    }

    /// An item's own error comes back as a negative length.
    private func call(_ item: inout unbind_drm_i915_query_item) throws(Status) {
        let status = withUnsafeMutablePointer(to: &item) { item in
            var query = unbind_drm_i915_query()
            query.num_items = 1
            query.items_ptr = UInt64(UInt(bitPattern: item))
            let status = clibdrm_ioctl(file, UNBIND_DRM_IOCTL_I915_QUERY, &query)
            return status < 0 ? status : min(item.pointee.length, 0)
        }
        if status < 0 { throw Status(raw: status) }
    }
}
