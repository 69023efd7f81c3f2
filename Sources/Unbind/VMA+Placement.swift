// Where a VMA goes and what it shows: bind flags, pins, views (<unbind/vma.h>).

import CUnbind

extension VMA {
    /// What a bind may do besides.
    public struct BindFlags: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// GPU writes fault, until a later bind without this adds write access.
        public static let readOnly = BindFlags(rawValue: UNBIND_BIND_READ_ONLY)
        /// If there is no room, VMAs that are neither pinned nor held make way.
        public static let evict = BindFlags(rawValue: UNBIND_BIND_EVICT)
        /// With `evict`: only those that no GPU work uses.
        public static let nonBlocking = BindFlags(rawValue: UNBIND_BIND_NONBLOCK)
    }

    // MARK: Pins

    /// What a pin asks for.
    public struct PinOptions: Sendable {
        /// Where a pin wants the VMA.
        public enum Place: Sendable {
            /// Where the VMA's own options put it.
            case anywhere
            case low
            case high
            /// At this address or above.
            case above(UInt64)
            case fixed(UInt64)
        }

        public var place: Place
        /// Wholly below the address space's mappable size.
        public var mappable: Bool
        /// Bytes of address space from its address on, at least.
        public var size: UInt64
        /// At least; 0 is the VMA's own.
        public var alignment: UInt64
        public var flags: BindFlags

        public init(
            _ place: Place = .anywhere, mappable: Bool = false, size: UInt64 = 0, alignment: UInt64 = 0,
            flags: BindFlags = []
        ) {
            self.place = place
            self.mappable = mappable
            self.size = size
            self.alignment = alignment
            self.flags = flags
        }

        var cValue: unbind_pin_options {
            var raw = unbind_pin_options()
            raw.struct_size = structSize(of: unbind_pin_options.self)
            // The bits of the bind flags are the same.
            raw.flags = flags.rawValue | (mappable ? UNBIND_PIN_MAPPABLE : 0)
            raw.size = size
            raw.alignment = alignment
            switch place {
            case .anywhere: break
            case .low: raw.flags |= UNBIND_PIN_LOW
            case .high: raw.flags |= UNBIND_PIN_HIGH
            case .above(let address):
                raw.flags |= UNBIND_PIN_BIAS
                raw.address = address
            case .fixed(let address):
                raw.flags |= UNBIND_PIN_FIXED
                raw.address = address
            }
            return raw
        }
    }

    /// Binds the VMA if it is not bound, moves it if it is misplaced, and keeps it there until `unpin`.
    public func pin(_ options: PinOptions = PinOptions(), interruptible: Bool = false) throws(UnbindError) {
        var raw = options.cValue
        if interruptible { raw.flags |= UNBIND_PIN_INTERRUPTIBLE }
        try UnbindError.check(unbind_vma_pin(handle, &raw))
    }

    /// As `pin`, without waiting; the fence signals when the VMA is bound.
    @discardableResult
    public func pinAsync(_ options: PinOptions = PinOptions()) throws(UnbindError) -> Fence {
        var raw = options.cValue
        raw.flags |= UNBIND_PIN_ASYNC
        let fence = try UnbindError.make { out in
            raw.out_fence = out
            return unbind_vma_pin(handle, &raw)
        }
        return Fence(adopting: fence, of: addressSpace.device)
    }

    /// Takes one pin back; the VMA stays bound.
    public func unpin() throws(UnbindError) { try UnbindError.check(unbind_vma_unpin(handle)) }

    /// How many pins there are.
    public var pinCount: Int { Int(unbind_vma_pin_count(handle)) }

    // MARK: Views

    /// Which pages of a buffer a VMA shows, and in what order.
    public enum View: Sendable {
        /// All of it as it is.
        case whole
        /// Bytes of it.
        case part(offset: UInt64, size: UInt64)
        /// Up to four rectangles of pages, each turned by a quarter.
        case rotated([Plane])
        /// Up to four rectangles of pages with another stride.
        case remapped([Plane])

        /// A rectangle; everything in pages of 4 KiB.
        public struct Plane: Hashable, Sendable {
            public var offset, width, height, sourceStride, targetStride: UInt32

            public init(offset: UInt32 = 0, width: UInt32, height: UInt32, sourceStride: UInt32, targetStride: UInt32) {
                self.offset = offset
                self.width = width
                self.height = height
                self.sourceStride = sourceStride
                self.targetStride = targetStride
            }
        }

        var cValue: unbind_view {
            var raw = unbind_view()
            raw.struct_size = structSize(of: unbind_view.self)
            switch self {
            case .whole: raw.type = UNBIND_VIEW_NORMAL
            case .part(let offset, let size):
                raw.type = UNBIND_VIEW_PARTIAL
                raw.offset = offset
                raw.size = size
            case .rotated(let planes):
                raw.type = UNBIND_VIEW_ROTATED
                raw.setPlanes(planes)
            case .remapped(let planes):
                raw.type = UNBIND_VIEW_REMAPPED
                raw.setPlanes(planes)
            }
            return raw
        }
    }
}

extension unbind_view {
    /// More than four are refused by the library.
    fileprivate mutating func setPlanes(_ list: [VMA.View.Plane]) {
        plane_count = UInt32(list.count)
        withUnsafeMutableBytes(of: &planes) { bytes in
            let slots = bytes.bindMemory(to: unbind_view_plane.self)
            for (slot, plane) in zip(slots.indices, list) {
                slots[slot] = unbind_view_plane(
                    offset: plane.offset, width: plane.width, height: plane.height, src_stride: plane.sourceStride,
                    dst_stride: plane.targetStride, reserved: 0)
            }
        }
    }
}
