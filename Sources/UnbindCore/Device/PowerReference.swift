// PowerReference: keeping the GPU awake while entries of a global address space are written or cleared
// (intel_runtime_pm and the wakeref of i915_vma_resource).
//
// The callbacks are the host program's: `get` wakes the device, `getIfInUse` takes a reference only if the device is
// awake, `put` gives one back. A bind, and an unbind that a caller asks for, take one for the length of the call. An
// asynchronous bind takes the caller's over until its entries are written. An unbind takes its own when it is
// scheduled, never waking the device, and has it given back once it has completed: by whoever completed it when no lock
// is held and its signalling section is over, or, where a hold ends on some thread, by a work item that close waits
// for.
//
// - Locking: nothing may be held when a callback is called, and never in a signalling section: both may sleep.

import Synchronization

/// All three or none.
struct PowerCallbacks {
    typealias Function = @convention(c) (_ userData: UnsafeMutableRawPointer?) -> Void
    typealias Question = @convention(c) (_ userData: UnsafeMutableRawPointer?) -> Int32

    let userData: UnsafeMutableRawPointer?
    let get: Function
    let getIfInUse: Question
    let put: Function
}

struct PowerReferences: ~Copyable {
    /// First, and plain; the device outlives this.
    fileprivate let device: DevicePointer
    /// At `itemOffset`.
    fileprivate var item: WorkItem
    fileprivate let callbacks: PowerCallbacks
    /// References to give back; whoever makes it more than 0 submits the item.
    fileprivate let due = Atomic<Int>(0)

    static var itemOffset: Int { MemoryLayout<DevicePointer>.size }

    init(device: DevicePointer, callbacks: PowerCallbacks, at address: UnsafeMutableRawPointer) {
        self.device = device
        self.callbacks = callbacks
        item = WorkItem(label: WorkLabel.power, context: address, function: givePowerBack)
    }
}

extension UnsafeMutablePointer where Pointee == PowerReferences {
    static func make(
        device: DevicePointer, callbacks: PowerCallbacks, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> UnsafeMutablePointer<PowerReferences> {
        guard let power = memory.allocateApart(of: PowerReferences.self) else { throw Status.noMemory }
        power.initialize(
            to: PowerReferences(device: device, callbacks: callbacks, at: UnsafeMutableRawPointer(power)))
        return power
    }

    func free(memory: UnsafeMutablePointer<Memory>) {
        invariant(pointee.due.load(ordering: .relaxed) == 0, "a device was freed with power references to give back")
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    var itemPointer: WorkItemPointer { memberPointer(of: self, at: PowerReferences.itemOffset, as: WorkItem.self) }

    /// Wakes the device.
    func get() { call { $0.get($0.userData) } }

    /// True, with a reference, if the device is awake.
    func getIfInUse() -> Bool {
        var isInUse = false
        call { isInUse = $0.getIfInUse($0.userData) != 0 }
        return isInUse
    }

    func put() { call { $0.put($0.userData) } }

    /// Has a reference given back soon, and before the device has closed. Any thread, any lock below the executor's.
    /// - Signalling: may run in a signalling section.
    func putLater() {
        if pointee.due.wrappingAdd(1, ordering: .acquiringAndReleasing).oldValue != 0 { return }
        pointee.device.workBegan()
        pointee.device.pointee.executor.submit(itemPointer)
    }

    fileprivate func putDue() {
        let device = pointee.device
        for _ in 0..<pointee.due.exchange(0, ordering: .acquiringAndReleasing) { put() }
        device.workEnded()
    }

    private func call(_ body: (PowerCallbacks) -> Void) {
        LockOrder.assertNoneHeld("a power callback was called with a lock held")
        SignallingSection.assertNotInside("a power callback was called inside a signalling section")
        pointee.device.callingBack { body(pointee.callbacks) }
    }
}

private func givePowerBack(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: PowerReferences.self).putDue()
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// What keeps the device awake for this VM; nil if nothing has to.
    @inline(__always)
    var power: UnsafeMutablePointer<PowerReferences>? {
        pointee.options.isGlobal ? pointee.device.pointee.power : nil
    }
}
