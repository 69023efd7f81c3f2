// BufferObject: memory that can be bound in address spaces (drm_i915_gem_object).
//
// A name for a PageList, with the reservation that collects the fences of all that uses it.

import Synchronization

struct BufferObject: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = BufferObject.magic
    /// Those of its VMAs that were made with a handle, by address space and view; under `listLock`. At `viewsOffset`.
    var views = AugmentedTree<VMAOrder>()
    let count = SharedCount()
    let device: DevicePointer
    let id: UInt64
    let size: UInt64
    /// Replaced when the buffer moves, under the reservation's lock; without that whoever reads it may find it freed.
    /// A reference.
    let pagesWord: Atomic<PageListPointer>
    let reservation: UnsafeMutablePointer<Reservation>
    /// Its VMAs, bound or not, newest first; under `listLock`.
    var firstVMA: VMAPointer?
    let listLock = FutexLock(.objectList)
    /// The callers' lock; under the reservation's.
    var outerLock = BufferLock()

    // Under the reservation's lock.

    /// Its mappings by batches, also those that a batch is about to make, for which it stays where it is: grows under
    /// the reservation's lock, shrinks anywhere.
    let mappingCount = Atomic<Int>(0)
    /// The context of the fences of its moves, and how many there were.
    let moves: UInt64
    var moveCount: UInt64 = 0
    /// Of the last move: the fence for the copy and for the unbinds, with a reference.
    var lastMove: FencePointer?
    /// A move failed half-way: nobody knows what the memory holds.
    let isLost = Atomic<Bool>(false)

    static var magic: UInt32 { 0x7562_6f62 }
    static var viewsOffset: Int {
        roundUp(MemoryLayout<UInt32>.size, to: MemoryLayout<AugmentedTree<VMAOrder>>.alignment)
    }
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
                device: device, id: device.nextID(.bufferObject), size: pages.pointee.size, pagesWord: Atomic(pages),
                reservation: reservation, moves: device.nextContext()))
        device.retain()
        device.handleCreated(.bufferObject, bytes: pages.pointee.size)
        return bo
    }

    /// Where its memory is now. Stays so as long as the reservation's lock is held.
    var pages: PageListPointer { pointee.pagesWord.load(ordering: .acquiring) }

    /// Looks at the present pages, which another thread's move cannot free meanwhile.
    /// - Locking: the reservation's lock must not be held.
    @inline(__always)
    func withPages<R>(_ body: (PageListPointer) -> R) -> R {
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        return body(pages)
    }

    /// Gives the buffer other pages, and those it had, with their references, to the caller.
    /// - Locking: the reservation's is held.
    func exchangePages(_ pages: PageListPointer) -> PageListPointer {
        pointee.pagesWord.exchange(pages, ordering: .acquiringAndReleasing)
    }

    var size: UInt64 { pointee.size }

    func retain() { pointee.count.retain() }

    /// - Locking: nothing may be held if this can be the last reference.
    func drop(_ count: UInt32 = 1) {
        guard pointee.count.drop(count) else { return }
        let device = pointee.device
        pointee.magic = 0
        pointee.reservation.dispose()
        device.cache(.reservation).give(UnsafeMutableRawPointer(pointee.reservation))
        pointee.lastMove?.drop()
        pages.drop()
        deinitialize(count: 1)
        device.cache(.bufferObject).give(UnsafeMutableRawPointer(self))
        device.drop()
    }

    /// The caller lets go of a handle.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        // A lock without a context has no owner who could still unlock it; one with a context keeps the buffer.
        unlock(by: nil)
        pointee.device.handleDropped(.bufferObject, bytes: size)
        drop()
    }

    /// Waits for every fence of the reservation at a usage, one at a time and with no lock held.
    func wait(
        usage: FenceUsage = .bookkeep, timeout: UInt64, absolute: Bool, interruptible: Bool
    ) throws(Status) {
        let device = pointee.device
        let isRelative = !absolute && timeout != 0 && timeout != .max
        let deadline = isRelative ? device.now.addingSaturating(timeout) : timeout
        while true {
            pointee.reservation.pointee.lock.acquire()
            let fence = pointee.reservation.anyUnsignalled(usage: usage)
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
        if !vma.isMapping { views.insert(vma.links) }
        pointee.listLock.release()
    }

    /// Of a VMA whose last reference is gone.
    func remove(_ vma: VMAPointer) {
        pointee.listLock.acquire()
        removeLocked(vma)
        pointee.listLock.release()
    }

    /// As remove.
    /// - Locking: the list's is held.
    @inline(__always)
    func removeLocked(_ vma: VMAPointer) {
        if vma.links.isLinked { views.remove(vma.links) }
        if let next = vma.pointee.nextInBO { next.pointee.previousInBO = vma.pointee.previousInBO }
        if let previous = vma.pointee.previousInBO {
            previous.pointee.nextInBO = vma.pointee.nextInBO
        } else {
            pointee.firstVMA = vma.pointee.nextInBO
        }
    }

    /// Calls body with each VMA of the list, also with those that are on their way out, and so unbound.
    /// - Locking: the list's is held meanwhile.
    func forEachVMA(_ body: (VMAPointer) -> Void) {
        pointee.listLock.acquire()
        var next = pointee.firstVMA
        while let vma = next {
            body(vma)
            next = vma.pointee.nextInBO
        }
        pointee.listLock.release()
    }

    /// Calls body with every bound VMA, its VM's lock held, until it answers false. With the reservation's lock held
    /// there are none that come to be bound meanwhile.
    /// - Locking: the list's and a VM's are taken.
    func forEachBinding(_ body: (VMAPointer, ResourcePointer) -> Bool) {
        var goesOn = true
        forEachVMA { vma in
            if !goesOn { return }
            vma.pointee.vm.pointee.lock.acquire()
            if let resource = vma.pointee.resource { goesOn = body(vma, resource) }
            vma.pointee.vm.pointee.lock.release()
        }
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
