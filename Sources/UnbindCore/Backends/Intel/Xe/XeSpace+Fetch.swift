// XeSpace: asking the kernel to have memory where it belongs (PREFETCH): local memory that it has taken away comes
// back, pages of the program's own memory are taken now. The kernel does the same before the next job in the space.
//
// One operation for each binding: some kernels take the region for the first mapping of a range only. On the space's
// default bind queue, without an out-fence: nobody waits. Any thread, also while an update is under way; the kernel
// finds nothing to do where nothing is mapped any more.

import CLibDRM
import CSystem
import CUnbind

extension UnsafeMutablePointer where Pointee == XeSpace {
    /// As few calls as the kernel allows.
    /// - Failure: noMemory, also for want of room in local memory; others as the kernel has them.
    func fetch(_ ranges: UnsafePointer<unbind_backend_range>, count: Int, isLocal: Bool) throws(Status) {
        let backend = pointee.backend
        let (memory, configuration) = (backend.pointee.memory, backend.pointee.configuration)
        let region = isLocal ? configuration.local : configuration.system
        var most = min(count, XeSpace.mostRanges)
        let capacity = most
        guard let operations = memory.allocateArray(of: unbind_drm_xe_vm_bind_op.self, count: capacity) else {
            throw Status.noMemory
        }
        defer { memory.deallocateArray(operations, count: capacity) }
        var done = 0
        while done < count {
            let part = min(most, count - done)
            for index in 0..<part {
                var operation = unbind_drm_xe_vm_bind_op()
                operation.op = UNBIND_DRM_XE_VM_BIND_OP_PREFETCH
                operation.addr = ranges[done + index].address
                operation.range = ranges[done + index].size
                operation.prefetch_mem_region_instance = region.instance
                (operations + index).initialize(to: operation)
            }
            do throws(Status) {
                try bind(operations, count: part, on: 0, after: .none, signalling: nil)
                done += part
            } catch {
                // Too many at once.
                if error != .noBuffers || part == 1 { throw error == .noSpace ? Status.noMemory : error }
                most = part / 2
            }
        }
    }
}
