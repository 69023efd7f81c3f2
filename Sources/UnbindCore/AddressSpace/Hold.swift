// Hold: a caller's look at one binding (the hold that i915's error capture takes on a vma resource).
//
// It delays the completion of the binding's unbind, and keeps the pages even after that. The device knows all holds:
// closing the device ends what they delay, since a hold that was forgotten must not keep a fence from signalling for
// ever; the memory stays readable until the hold itself goes.
//
// - Locking: the device's lock guards its list; whoever takes the hold off the list ends what it delays.

import CSystem
import Synchronization

typealias HoldPointer = UnsafeMutablePointer<Hold>

struct Hold: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = Hold.magic
    let count = SharedCount()
    let device: DevicePointer
    /// With a reference to its fence, and one of its holds as long as this is on the device's list.
    let resource: ResourcePointer
    /// A reference.
    let pages: PageListPointer

    /// The device's list, under its lock.
    fileprivate(set) var nextInDevice: HoldPointer?
    fileprivate var previousInDevice: HoldPointer?
    fileprivate var isListed = false

    static var magic: UInt32 { 0x7568_6c64 }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// Holds the present binding.
    /// - Failure: invalid if there is none; closed; noMemory.
    func hold() throws(Status) -> HoldPointer {
        let vm = pointee.vm
        return try vm.makeHold(of: { self.pointee.resource }, orElse: .invalid)
    }
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// Holds what the page tables have, or are about to have, at the address.
    /// - Failure: closed if there is nothing, or the device is closed; noMemory.
    func hold(at address: UInt64) throws(Status) -> HoldPointer {
        try makeHold(of: { self.resource(at: address) }, orElse: .closed)
    }

    fileprivate func makeHold(of find: () -> ResourcePointer?, orElse status: Status) throws(Status) -> HoldPointer {
        let device = pointee.device
        guard let memory = device.cache(.hold).take() else { throw Status.noMemory }
        pointee.lock.acquire()
        let found = find()
        guard let resource = found, resource.hold() else {
            pointee.lock.release()
            device.cache(.hold).give(memory)
            throw status
        }
        resource.fence.retain()
        resource.pointee.pages.retain()
        pointee.lock.release()
        let hold = memory.bindMemory(to: Hold.self, capacity: 1)
        hold.initialize(to: Hold(device: device, resource: resource, pages: resource.pointee.pages))
        device.retain()
        guard device.list(hold) else {
            resource.unhold()
            hold.free()
            throw Status.closed
        }
        device.handleCreated(.hold)
        return hold
    }

    /// The binding whose entries an access at the address would use.
    /// - Locking: held.
    private func resource(at address: UInt64) -> ResourcePointer? {
        var owner: ResourcePointer?
        if let node = pointee.ranges.node(containing: address) {
            let vma = VMAPointer(containing: node)
            if let resource = vma.pointee.resource, resource.pointee.covers(address) { owner = resource }
            if owner != nil, vma.lockedState == .bound { return owner }
        }
        // Of several unbinds of one range the earliest has its entries there: the others wait for it.
        var first: ResourcePointer?
        pointee.pending.forEachUnfinished(overlapping: address...address) { resource, _ in
            // Its range has guards, too.
            if !resource.pointee.covers(address) { return true }
            if first == nil || resource.pointee.order < first!.pointee.order { first = resource }
            return true
        }
        return first ?? owner
    }
}

extension UnsafeMutablePointer where Pointee == Hold {
    /// The caller lets go of a handle; the last one ends the hold.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        let device = pointee.device
        device.handleDropped(.hold)
        if device.unlist(self) { pointee.resource.unhold() }
        free()
    }

    /// The device was closed before the hold ended.
    var isBroken: Bool {
        pointee.device.pointee.lock.acquire()
        defer { pointee.device.pointee.lock.release() }
        return !pointee.isListed
    }

    /// Copies bytes of the binding out.
    /// - Failure: invalid if they are not all in it.
    func read(_ offset: UInt64, into buffer: UnsafeMutableRawPointer, size: UInt64) throws(Status) {
        let whole = pointee.resource.pointee.size
        guard offset <= whole, size <= whole - offset else { throw Status.invalid }
        pointee.pages.copyOut(from: offset, into: buffer, size: size)
    }

    fileprivate func free() {
        let (device, resource, pages) = (pointee.device, pointee.resource, pointee.pages)
        pointee.magic = 0
        deinitialize(count: 1)
        device.cache(.hold).give(UnsafeMutableRawPointer(self))
        resource.fence.drop()
        pages.drop()
        device.drop()
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// False, and nothing changes, once the device is closing: a close either sees the hold or is seen here.
    fileprivate func list(_ hold: HoldPointer) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if pointee.stateWord.load(ordering: .relaxed) != Device.State.open.rawValue { return false }
        hold.pointee.isListed = true
        hold.pointee.nextInDevice = pointee.firstHold
        pointee.firstHold?.pointee.previousInDevice = hold
        pointee.firstHold = hold
        return true
    }

    /// True for whoever ends the hold.
    fileprivate func unlist(_ hold: HoldPointer) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if !hold.pointee.isListed { return false }
        hold.pointee.isListed = false
        if let next = hold.pointee.nextInDevice { next.pointee.previousInDevice = hold.pointee.previousInDevice }
        if let previous = hold.pointee.previousInDevice {
            previous.pointee.nextInDevice = hold.pointee.nextInDevice
        } else {
            pointee.firstHold = hold.pointee.nextInDevice
        }
        return true
    }

    /// For the closing device: what the holds delay is delayed no longer.
    func breakHolds() {
        while let resource = takeHeldResource() {
            resource.unhold()
            resource.fence.drop()
        }
    }

    /// Of a hold that is taken off the list; with a reference of its own, as the hold may go any time.
    private func takeHeldResource() -> ResourcePointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard let hold = pointee.firstHold else { return nil }
        hold.pointee.isListed = false
        pointee.firstHold = hold.pointee.nextInDevice
        pointee.firstHold?.pointee.previousInDevice = nil
        let resource = hold.pointee.resource
        resource.fence.retain()
        return resource
    }
}
