// Pins (i915_vma_pin_ww, i915_vma_unpin): a pinned VMA stays where it is until it is unpinned.
//
// A pin is a bind that asks for more (BindRequest) and is counted when it has succeeded. No unbind that somebody asks
// for takes a pinned VMA's range; what ends it does: the last reference, the close of its VM or device.

import Synchronization

extension UnsafeMutablePointer where Pointee == VMA {
    /// - Failure: invalid if it is not pinned; closed if its pins went with its VM.
    func unpin() throws(Status) {
        let vm = pointee.vm
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        if pointee.pinCount == 0 { throw vm.isClosed ? Status.closed : Status.invalid }
        pointee.pinCount = pointee.pinCount &- 1
    }

    /// How many pins there are.
    var pinCount: UInt32 {
        let vm = pointee.vm
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        return pointee.pinCount
    }
}
