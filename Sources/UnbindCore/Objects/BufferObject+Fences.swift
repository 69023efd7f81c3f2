// BufferObject: what callers do with the fences of a buffer's reservation.
//
// The slots that a caller reserves belong to the buffer's outer lock and go with it, so that nobody can fill a slot
// that the library has reserved for a bind or an unbind, and nobody can forget one.

extension UnsafeMutablePointer where Pointee == BufferObject {
    // MARK: Adding (by whoever holds the outer lock)

    /// Makes sure that `add` can be called `slots` more times before the unlock.
    /// - Failure: invalid if the context does not have the lock; closed; noMemory. Nothing is reserved then.
    func reserveFences(_ slots: Int, by context: LockContextPointer?) throws(Status) {
        try pointee.device.checkOpen()
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        if !isHeld(by: context) { throw Status.invalid }
        try pointee.reservation.reserve(slots)
        pointee.outerLock.slots = pointee.outerLock.slots &+ slots
    }

    /// - Failure: invalid if the context does not have the lock, or so many slots.
    func unreserveFences(_ slots: Int, by context: LockContextPointer?) throws(Status) {
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        if !isHeld(by: context) || slots > pointee.outerLock.slots { throw Status.invalid }
        pointee.reservation.unreserve(slots)
        pointee.outerLock.slots = pointee.outerLock.slots &- slots
    }

    /// Fills one of the slots.
    /// - Failure: invalid if the context does not have the lock; closed; noSpace without a slot.
    func add(_ fence: FencePointer, usage: FenceUsage, by context: LockContextPointer?) throws(Status) {
        try pointee.device.checkOpen()
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        if !isHeld(by: context) { throw Status.invalid }
        if pointee.outerLock.slots == 0 { throw Status.noSpace }
        pointee.outerLock.slots = pointee.outerLock.slots &- 1
        pointee.reservation.add(fence, usage: usage)
    }

    /// Adds the fences of another buffer that have not signalled, each at its usage.
    /// - Failure: invalid if the context does not have the lock; closed; noMemory. Nothing is added then.
    func copyFences(from other: BufferObjectPointer, by context: LockContextPointer?) throws(Status) {
        try pointee.device.checkOpen()
        if !isLocked(by: context) { throw Status.invalid }
        if other == self { return }
        let memory = pointee.device.pointee.memory
        var needed = 4
        while true {
            let room = needed
            guard let slots = memory.allocateArray(of: Reservation.Slot.self, count: room) else {
                throw Status.noMemory
            }
            defer { memory.deallocateArray(slots, count: room) }
            needed = other.copySlots(to: slots, room: room)
            if needed <= room { return try add(slots, count: needed) }
        }
    }

    /// Copies nothing if there are more than `room`. How many there are.
    private func copySlots(to slots: UnsafeMutablePointer<Reservation.Slot>, room: Int) -> Int {
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        let present = pointee.reservation.pointee.count
        return present > room ? present : pointee.reservation.copyUnsignalled(to: slots)
    }

    /// Takes the references over.
    private func add(_ slots: UnsafeMutablePointer<Reservation.Slot>, count: Int) throws(Status) {
        defer { for index in 0..<count { slots[index].fence.drop() } }
        let reservation = pointee.reservation
        reservation.pointee.lock.acquire()
        defer { reservation.pointee.lock.release() }
        try reservation.reserve(count)
        for index in 0..<count { reservation.add(slots[index].fence, usage: slots[index].usage) }
    }

    // MARK: Asking

    /// Whether all fences at a usage have signalled.
    func isSignalled(usage: FenceUsage) -> Bool {
        pointee.reservation.pointee.lock.acquire()
        let fence = pointee.reservation.anyUnsignalled(usage: usage)
        pointee.reservation.pointee.lock.release()
        fence?.drop()
        return fence == nil
    }

    /// The fences at a usage that have not signalled, all at one moment.
    /// - Failure: noMemory.
    func fences(usage: FenceUsage) throws(Status) -> FenceList {
        let reservation = pointee.reservation
        var room = 4
        while true {
            var list = try FenceList(memory: pointee.device.pointee.memory, capacity: room)
            reservation.pointee.lock.acquire()
            // Those that have signalled may be among them.
            room = reservation.pointee.count
            let fits = list.hasRoom(for: room)
            if fits { reservation.forEachUnsignalled(usage: usage) { fence in list.append(retaining: fence) } }
            reservation.pointee.lock.release()
            if fits { return list }
        }
    }

    func makeFenceCursor(usage: FenceUsage) -> ReservationCursor {
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        return pointee.reservation.makeCursor(usage: usage)
    }

    func step(_ cursor: inout ReservationCursor, usage: FenceUsage) -> ReservationStep {
        pointee.reservation.pointee.lock.acquire()
        defer { pointee.reservation.pointee.lock.release() }
        return pointee.reservation.step(&cursor, usage: usage)
    }
}
