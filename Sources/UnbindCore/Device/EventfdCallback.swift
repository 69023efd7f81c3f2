// EventfdCallback: makes a fence something that poll understands.
//
// The eventfd has two descriptors: one for the caller to poll and close whenever it likes, one for us to write.

import CSystem

struct EventfdCallback {
    /// First: a pointer to it is a pointer to the EventfdCallback.
    var callback: FenceCallback
    let descriptor: Int32
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// The device it belongs to.
    @inline(__always)
    var device: DevicePointer { pointee.home.pointee.owner.assumingMemoryBound(to: Device.self) }

    /// A new eventfd, readable once the fence has signalled. The caller closes it.
    func makeEventfd() throws(Status) -> Int32 {
        let polled = csys_eventfd_create(isSignalled ? 1 : 0)
        if polled < 0 { throw Status(raw: polled) }
        if isSignalled {
            csys_eventfd_raise(polled)
            return polled
        }
        let written = csys_fd_duplicate(polled)
        if written < 0 {
            csys_fd_close(polled)
            throw Status(raw: written)
        }
        let cache = device.cache(.eventfd)
        guard let memory = cache.take() else {
            csys_fd_close(written)
            csys_fd_close(polled)
            throw Status.noMemory
        }
        let object = memory.bindMemory(to: EventfdCallback.self, capacity: 1)
        object.initialize(
            to: EventfdCallback(callback: FenceCallback(function: raiseEventfd), descriptor: written))
        retain()
        if !add(memory.assumingMemoryBound(to: FenceCallback.self)) {
            raiseEventfd(memory, UnsafeMutableRawPointer(self))
        }
        return polled
    }
}

private func raiseEventfd(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let object = callback.assumingMemoryBound(to: EventfdCallback.self)
    let fence = fence.assumingMemoryBound(to: Fence.self)
    csys_eventfd_raise(object.pointee.descriptor)
    csys_fd_close(object.pointee.descriptor)
    fence.device.cache(.eventfd).give(callback)
    fence.drop()
}
