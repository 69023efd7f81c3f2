// BindRequest: what a bind asks for: where the VMA may go, how much room it takes, whether others may have to make way.
//
// A plain bind asks for what the VMA was made with; a pin may ask for more, and then a VMA that is bound elsewhere is
// misplaced (i915_vma_misplaced). The node in the RangeAllocator is the binding with its guards and its padding; limits
// are those of the node, fixed addresses those of the binding.

struct BindRequest {
    /// What a bind that finds no room may do to others.
    enum Eviction {
        case none
        /// Only what no GPU work uses.
        case idle
        case any
    }

    /// Bytes from the start of the binding to the end of its padding.
    var size: UInt64
    /// The VMA's own.
    var alignment: UInt64
    /// What a pin asks for beyond that; 1: nothing.
    var pinAlignment: UInt64 = 1
    var fixedAddress: UInt64?
    var lowest: UInt64 = 0
    var limit: UInt64
    var isHigh: Bool
    var avoidsPending: Bool
    var isReadOnly: Bool
    var color: UInt32
    /// Bytes on both sides that stay unmapped.
    var guardSize: UInt64
    var eviction = Eviction.none
    /// Counts a pin when it has succeeded.
    var pins = false

    /// What an automatic placement is aligned to.
    var placementAlignment: UInt64 { max(alignment, pinAlignment) }

    /// The guard as it is placed: so that the binding behind it is aligned as the node is.
    var placedGuard: UInt64 {
        if fixedAddress != nil || guardSize == 0 { return guardSize }
        return roundUp(guardSize, to: placementAlignment)
    }

    /// Bytes of the node; saturates.
    var nodeSize: UInt64 { size.addingSaturating(placedGuard).addingSaturating(placedGuard) }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// What a bind asks for by the VMA's own options.
    var plainRequest: BindRequest {
        let options = pointee.options
        return BindRequest(
            size: size, alignment: options.alignment, fixedAddress: options.fixedAddress,
            limit: pointee.vm.pointee.options.size, isHigh: options.isHigh, avoidsPending: options.avoidsPending,
            isReadOnly: options.isReadOnly, color: options.color, guardSize: options.guardSize)
    }

    /// Whether the present binding is not what the request asks for.
    /// - Locking: the VM's lock is held, and the VMA has a range.
    func isMisplaced(for request: BindRequest) -> Bool {
        guard request.pins, let resource = pointee.resource else { return false }
        let start = resource.pointee.start
        let guardSize = start &- node.pointee.start
        if node.pointee.end &- guardSize &- start < request.size || guardSize < request.guardSize { return true }
        if !isAligned(start, to: request.pinAlignment) { return true }
        if let fixed = request.fixedAddress, fixed != start { return true }
        return node.pointee.start < request.lowest || node.pointee.end > request.limit
    }
}
