// BufferObject: memory that can be bound in address spaces (drm_i915_gem_object).
//
// A name for a PageList, with the reservation that collects the fences of all that uses it.

import Synchronization

struct BufferObject: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = BufferObject.magic
    let count = SharedCount()
    let device: DevicePointer
    let id: UInt64
    let pages: PageListPointer
    let reservation: UnsafeMutablePointer<Reservation>
    /// Its VMAs, bound or not, newest first; under `listLock`.
    var firstVMA: VMAPointer?
    let listLock = FutexLock(.objectList)

    static var magic: UInt32 { 0x7562_6f62 }
}

typealias BufferObjectPointer = UnsafeMutablePointer<BufferObject>

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// A buffer of the pages that `makePages` makes, last of all: pages that were made would have to be released
    /// again, and a caller's release function must not be called for a buffer that there never was.
    static func make(
        device: DevicePointer, makePages: () throws(Status) -> PageListPointer
    ) throws(Status) -> BufferObjectPointer {
        guard let object = device.cache(.bufferObject).take() else { throw Status.noMemory }
        guard let reservationMemory = device.cache(.reservation).take() else {
            device.cache(.bufferObject).give(object)
            throw Status.noMemory
        }
        let pages: PageListPointer
        do throws(Status) {
            pages = try makePages()
        } catch {
            device.cache(.reservation).give(reservationMemory)
            device.cache(.bufferObject).give(object)
            throw error
        }
        let reservation = reservationMemory.bindMemory(to: Reservation.self, capacity: 1)
        reservation.initialize(to: Reservation(memory: device.pointee.memory))
        let bo = object.bindMemory(to: BufferObject.self, capacity: 1)
        bo.initialize(
            to: BufferObject(
                device: device, id: device.nextID(.bufferObject), pages: pages, reservation: reservation))
        device.retain()
        device.handleCreated(.bufferObject, bytes: pages.pointee.size)
        return bo
    }

    var size: UInt64 { pointee.pages.pointee.size }

    func retain() { pointee.count.retain() }

    /// - Locking: nothing may be held if this can be the last reference.
    func drop() {
        guard pointee.count.drop() else { return }
        let device = pointee.device
        pointee.magic = 0
        pointee.reservation.dispose()
        device.cache(.reservation).give(UnsafeMutableRawPointer(pointee.reservation))
        pointee.pages.drop()
        deinitialize(count: 1)
        device.cache(.bufferObject).give(UnsafeMutableRawPointer(self))
        device.drop()
    }

    /// The caller lets go of a handle.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        pointee.device.handleDropped(.bufferObject, bytes: size)
        drop()
    }

    /// Waits for every fence of the reservation, one at a time and with no lock held.
    func wait(timeout: UInt64, absolute: Bool, interruptible: Bool) throws(Status) {
        let device = pointee.device
        let isRelative = !absolute && timeout != 0 && timeout != .max
        let deadline = isRelative ? device.now.addingSaturating(timeout) : timeout
        while true {
            pointee.reservation.pointee.lock.acquire()
            let fence = pointee.reservation.anyUnsignalled(usage: .bookkeep)
            pointee.reservation.pointee.lock.release()
            guard let fence else { return }
            defer { fence.drop() }
            try device.wait(
                for: fence, timeout: deadline, absolute: absolute || isRelative, interruptible: interruptible)
        }
    }
}

// MARK: - VMAs

extension UnsafeMutablePointer where Pointee == BufferObject {
    func add(_ vma: VMAPointer) {
        pointee.listLock.acquire()
        vma.pointee.nextInBO = pointee.firstVMA
        pointee.firstVMA?.pointee.previousInBO = vma
        pointee.firstVMA = vma
        pointee.listLock.release()
    }

    /// Of a VMA whose last reference is gone.
    func remove(_ vma: VMAPointer) {
        pointee.listLock.acquire()
        if let next = vma.pointee.nextInBO { next.pointee.previousInBO = vma.pointee.previousInBO }
        if let previous = vma.pointee.previousInBO {
            previous.pointee.nextInBO = vma.pointee.nextInBO
        } else {
            pointee.firstVMA = vma.pointee.nextInBO
        }
        pointee.listLock.release()
    }

    /// The next VMA of the list, or the first, with a reference. The one before must be held by a reference too: then
    /// a walk meets every VMA that was there when it began and is not on its way out, and none twice.
    func vma(after previous: VMAPointer?) -> VMAPointer? {
        pointee.listLock.acquire()
        defer { pointee.listLock.release() }
        var next = previous == nil ? pointee.firstVMA : previous!.pointee.nextInBO
        while let vma = next {
            if vma.pointee.count.tryRetain() { return vma }
            next = vma.pointee.nextInBO
        }
        return nil
    }
}
