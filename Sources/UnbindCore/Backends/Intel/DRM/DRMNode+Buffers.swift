// DRMNode: buffers, as far as they are the same for all drivers. A dma-buf is a descriptor that stands for a buffer in
// other processes and on other GPUs.

import CLibDRM

extension DRMNode {
    /// Ends a buffer's handle. What is mapped in an address space stays until it is unmapped.
    func closeBuffer(_ handle: UInt32) {
        Self.insist { clibdrm_gem_close(file, handle) }
    }

    /// A new dma-buf, for reading and writing, close-on-exec: the caller's to close.
    func exportBuffer(_ handle: UInt32) throws(Status) -> Int32 {
        var descriptor: Int32 = -1
        _ = try Self.checked(clibdrm_prime_to_fd(file, handle, &descriptor))
        return descriptor
    }

    /// Bytes of a dma-buf; 0 if the descriptor is none.
    static func bufferSize(_ descriptor: Int32) -> UInt64 { UInt64(max(0, clibdrm_buffer_size(descriptor))) }

    /// A buffer's handle. One that this file has already gives the handle that it has, without a further reference:
    /// whoever imports counts.
    func importBuffer(_ descriptor: Int32) throws(Status) -> UInt32 {
        var handle: UInt32 = 0
        _ = try Self.checked(clibdrm_prime_from_fd(file, descriptor, &handle))
        return handle
    }
}
