// Hold: a binding that somebody looks at (<unbind/hold.h>).

import CUnbind

/// Keeps what is bound at an address as it is, to be looked at: its memory stays, and if it is
/// unbound meanwhile the unbind fence signals only when the last hold has gone.
///
/// The hold ends with this object.
public final class Hold: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer
    /// The device it belongs to.
    public let device: Device

    /// What is held.
    public struct Info: Sendable {
        /// GPU virtual address of the binding.
        public let address: UInt64
        /// Bytes.
        public let size: UInt64
        /// `BufferObject.id` of the buffer.
        public let bufferID: UInt64
        /// The unbind has been scheduled, its fence has not signalled.
        public let isUnbinding: Bool
        /// The memory is in the device's local memory.
        public let isLocal: Bool
        /// Bound for reading.
        public let isReadOnly: Bool
        /// The device was closed: the memory can still be read, the unbind fence has signalled.
        public let isBroken: Bool

        init(_ raw: unbind_hold_info) {
            address = raw.address
            size = raw.size
            bufferID = raw.bo_id
            isUnbinding = raw.flags & UNBIND_HOLD_UNBINDING != 0
            isLocal = raw.flags & UNBIND_HOLD_LOCAL != 0
            isReadOnly = raw.flags & UNBIND_HOLD_READ_ONLY != 0
            isBroken = raw.flags & UNBIND_HOLD_BROKEN != 0
        }
    }

    /// Holds the present binding of a VMA.
    public init(of vma: VMA) throws(UnbindError) {
        device = vma.addressSpace.device
        handle = try UnbindError.make { unbind_vma_hold(vma.handle, $0) }
    }

    /// Holds what the GPU finds at an address; throws `.closed` if nothing is there.
    public init(at address: UInt64, in addressSpace: AddressSpace) throws(UnbindError) {
        device = addressSpace.device
        handle = try UnbindError.make { unbind_vm_hold(addressSpace.handle, address, $0) }
    }

    deinit { unbind_hold_unref(handle) }

    /// What is held, as it is now.
    public func info() throws(UnbindError) -> Info {
        var raw = unbind_hold_info()
        raw.struct_size = structSize(of: unbind_hold_info.self)
        try UnbindError.check(unbind_hold_get_info(handle, &raw))
        return Info(raw)
    }

    /// Copies memory of the binding, from `offset` on, until `buffer` is full.
    public func read(at offset: UInt64 = 0, into buffer: UnsafeMutableRawBufferPointer) throws(UnbindError) {
        try UnbindError.check(unbind_hold_read(handle, offset, buffer.baseAddress, UInt64(buffer.count)))
    }

    /// So many bytes of the binding, from `offset` on.
    public func bytes(at offset: UInt64 = 0, count: Int) throws(UnbindError) -> [UInt8] {
        var status: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            status = unbind_hold_read(handle, offset, buffer.baseAddress, UInt64(count))
            initialized = status < 0 ? 0 : count
        }
        try UnbindError.check(status)
        return bytes
    }
}
