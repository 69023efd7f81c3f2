// VMA: one buffer at one place in one address space (<unbind/vma.h>).

import CUnbind

/// A buffer at one place in an address space. It lives on over any number of binds and unbinds;
/// one that is still bound when it goes is unbound asynchronously.
public final class VMA: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer
    /// Where it is bound.
    public let addressSpace: AddressSpace
    /// What is bound.
    public let buffer: BufferObject

    /// Where a VMA is bound.
    public enum Placement: Sendable {
        /// The library chooses; alignment nil is the largest page size that fits the buffer.
        case automatic(alignment: UInt64? = nil, fromTop: Bool = false)
        /// At this address or not at all.
        case fixed(UInt64)
    }

    /// How to make a VMA.
    public struct Options: Sendable {
        /// Where it goes.
        public var placement: Placement
        /// GPU writes fault.
        public var readOnly: Bool
        /// Only for an address space with cache colouring.
        public var color: UInt32
        /// Bytes of address space on both sides that belong to the binding and stay unmapped.
        public var guardSize: UInt64
        /// Which pages of the buffer it shows.
        public var view: View

        public init(
            _ placement: Placement = .automatic(), readOnly: Bool = false, color: UInt32 = 0, guardSize: UInt64 = 0,
            view: View = .whole
        ) {
            self.placement = placement
            self.readOnly = readOnly
            self.color = color
            self.guardSize = guardSize
            self.view = view
        }

        var cValue: unbind_vma_options {
            var raw = unbind_vma_options()
            raw.struct_size = structSize(of: unbind_vma_options.self)
            raw.flags = readOnly ? UNBIND_VMA_READ_ONLY : 0
            raw.color = color
            raw.guard = guardSize
            switch placement {
            case .automatic(let alignment, let fromTop):
                raw.alignment = alignment ?? 0
                if fromTop { raw.flags |= UNBIND_VMA_HIGH }
            case .fixed(let address):
                raw.flags |= UNBIND_VMA_FIXED
                raw.address = address
            }
            return raw
        }
    }

    /// What has become of a VMA.
    public enum State: Int32, Sendable {
        /// Has no range; unbinds of it may be pending.
        case unbound
        /// Has a range; its entries are not written yet.
        case binding
        /// Has a range; the GPU can use it.
        case bound
    }

    /// Makes an unbound VMA.
    public init(
        _ buffer: BufferObject, in addressSpace: AddressSpace, _ options: Options = Options()
    ) throws(UnbindError) {
        self.buffer = buffer
        self.addressSpace = addressSpace
        var raw = options.cValue
        var view = options.view.cValue
        handle = try UnbindError.make { out in
            withUnsafePointer(to: &view) { view in
                raw.view = view
                return unbind_vma_create(addressSpace.handle, buffer.handle, &raw, out)
            }
        }
    }

    deinit { unbind_vma_unref(handle) }

    /// Takes a range, waits for the pending unbinds that the policy names, writes the page tables.
    public func bind(_ flags: BindFlags = [], interruptible: Bool = false) throws(UnbindError) {
        try UnbindError.check(unbind_vma_bind(handle, flags.rawValue | waitFlags(interruptible: interruptible)))
    }

    /// As `bind`, but the entries are written later; the fence signals then.
    @discardableResult
    public func bindAsync(_ flags: BindFlags = []) throws(UnbindError) -> Fence {
        let raw = try UnbindError.make { unbind_vma_bind_async(handle, flags.rawValue, $0) }
        return Fence(adopting: raw, of: addressSpace.device)
    }

    /// Unbinds and waits until that is done.
    public func unbind(interruptible: Bool = false) throws(UnbindError) {
        try UnbindError.check(unbind_vma_unbind(handle, waitFlags(interruptible: interruptible)))
    }

    /// Unbinds without waiting: the range can be bound again when this returns. The fence signals
    /// after the GPU work attached to the VMA, the clearing and the TLB invalidation.
    @discardableResult
    public func unbindAsync() throws(UnbindError) -> Fence {
        let raw = try UnbindError.make { unbind_vma_unbind_async(handle, 0, $0) }
        return Fence(adopting: raw, of: addressSpace.device)
    }

    /// Attaches a fence to the present binding: an unbind waits for it.
    public func addUser(_ fence: Fence) throws(UnbindError) {
        try UnbindError.check(unbind_vma_add_user(handle, fence.handle))
    }

    /// The GPU virtual address; nil for a VMA that has none yet.
    public var address: UInt64? {
        let address = unbind_vma_address(handle)
        return address == .max ? nil : address
    }

    /// Bytes of address space that it takes.
    public var size: UInt64 { unbind_vma_size(handle) }

    /// Whether it is bound now.
    public var state: State { State(rawValue: unbind_vma_state(handle)) ?? .unbound }
}
