// CallerFence: a fence that the caller signals (unbind_fence_create). Its device lists them, to cancel those that
// nobody signalled when it is closed. Also the fence of work that is already done, which nobody has to cancel.

import Synchronization

struct CallerFence: ~Copyable {
    /// First: a pointer to it is a pointer to the CallerFence.
    var fence: Fence
    let device: DevicePointer
    var next: UnsafeMutablePointer<CallerFence>?
    var previous: UnsafeMutablePointer<CallerFence>?
    var isListed = false
}

extension UnsafeMutablePointer where Pointee == Device {
    func makeCallerFence() throws(Status) -> FencePointer {
        let fence = try makeUnlistedFence()
        let object = UnsafeMutableRawPointer(fence).assumingMemoryBound(to: CallerFence.self)
        do throws(Status) {
            try ifOpen { list(object) }
        } catch {
            fence.drop()
            throw error
        }
        return fence
    }

    /// Has `body` run, which may list an object, unless the device is closing: close either sees what it listed and
    /// waits for the work it began, or is seen here.
    func ifOpen(_ body: () -> Void) throws(Status) {
        pointee.lock.acquire()
        let isOpen = pointee.stateWord.load(ordering: .relaxed) == Device.State.open.rawValue
        if isOpen { body() }
        pointee.lock.release()
        if !isOpen { throw Status.closed }
    }

    /// Under the lock.
    func list(_ object: UnsafeMutablePointer<CallerFence>) {
        object.pointee.next = pointee.firstCallerFence
        pointee.firstCallerFence?.pointee.previous = object
        pointee.firstCallerFence = object
        object.pointee.isListed = true
    }

    /// A fence that the library signals itself, before anybody sees it: for work that is done within a call.
    func makeUnlistedFence() throws(Status) -> FencePointer {
        guard let memory = cache(.callerFence).take() else { throw Status.noMemory }
        memory.bindMemory(to: CallerFence.self, capacity: 1).initialize(
            to: CallerFence(
                fence: Fence(home: fenceHome(.caller)), device: self))
        retain()
        return memory.assumingMemoryBound(to: Fence.self)
    }

    /// Takes a fence off the list, with a reference. Only close calls this: a fence that is off the list is not
    /// cancelled.
    func takeListedCallerFence() -> FencePointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        while let object = pointee.firstCallerFence {
            unlink(object)
            let fence = UnsafeMutableRawPointer(object).assumingMemoryBound(to: Fence.self)
            // One whose last reference is being dropped right now has nobody left to tell.
            if fence.tryRetain() { return fence }
        }
        return nil
    }

    func unlink(_ object: UnsafeMutablePointer<CallerFence>) {
        if let next = object.pointee.next { next.pointee.previous = object.pointee.previous }
        if let previous = object.pointee.previous {
            previous.pointee.next = object.pointee.next
        } else {
            pointee.firstCallerFence = object.pointee.next
        }
        object.pointee.isListed = false
    }
}

func releaseCallerFence(_ memory: UnsafeMutableRawPointer) {
    let object = memory.assumingMemoryBound(to: CallerFence.self)
    let device = object.pointee.device
    device.pointee.lock.acquire()
    if object.pointee.isListed { device.unlink(object) }
    device.pointee.lock.release()
    object.deinitialize(count: 1)
    device.cache(.callerFence).give(memory)
    device.drop()
}
