// BindingStream: telling the host program of every bind and unbind of one address space, in order (the shape of
// VK_EXT_device_address_binding_report).
//
// Ranges change hands under the VM's lock, and completion runs in signalling sections: neither may call back. So an
// event is only put in a queue there, which gives it its number, and a work item hands the queue over, one event after
// the other. An unbind must not allocate: each bind takes the memory for all the events that it can lead to, and what
// turns out not to be needed goes back.
//
// There only if the host asked for it; without it there is one test for each bind and unbind.
//
// Life: of its address space, which it keeps while events wait. Locking: its own lock, a BriefLock held for one event;
// callers may hold any below the executor's.

import CUnbind
import Synchronization

/// How the C header declares it.
typealias BindingCallback =
    @convention(c) (_ userData: UnsafeMutableRawPointer?, _ event: UnsafePointer<unbind_binding_event>?) -> Void

/// The values are those of UNBIND_EVENT_*.
enum BindingEventKind: UInt32 { case bind = 0, bindDone, unbind, unbindDone }

struct BindingEvent {
    var kind: BindingEventKind
    var flags: UInt32
    var error: Int32
    var time: UInt64
    var number: UInt64
    var start: UInt64
    var size: UInt64
    var boID: UInt64
    /// Among the spare ones, then in the queue.
    var next: UnsafeMutablePointer<BindingEvent>?
}

typealias BindingEventPointer = UnsafeMutablePointer<BindingEvent>
typealias BindingStreamPointer = UnsafeMutablePointer<BindingStream>

struct BindingStream: ~Copyable {
    /// First, and plain.
    fileprivate let vm: VMPointer
    /// At `itemOffset`.
    fileprivate var item: WorkItem
    fileprivate let lock = BriefLock()
    // Under the lock:
    /// For events that bindings may still lead to.
    fileprivate var spare: BindingEventPointer?
    /// The queue, oldest first.
    fileprivate var first: BindingEventPointer?
    fileprivate var last: BindingEventPointer?
    fileprivate var waiting = 0
    /// Events made so far, and the time of the latest.
    fileprivate var count: UInt64 = 0
    fileprivate var latest: UInt64 = 0
    /// The work item is submitted or running, with a reference to the VM.
    fileprivate var isUnderWay = false

    static var itemOffset: Int { MemoryLayout<VMPointer>.size }
    /// Of one binding: bind, its end, unbind, its end.
    static var eventsPerBinding: Int { 4 }

    fileprivate init(vm: VMPointer, id: UInt64, at address: UnsafeMutableRawPointer) {
        self.vm = vm
        item = WorkItem(label: id << 8 | WorkLabel.events, context: address, function: deliverEvents)
    }
}

extension UnsafeMutablePointer where Pointee == BindingStream {
    // MARK: Life

    /// `vm`: memory that is about to become the VM with that id.
    static func make(
        vm: VMPointer, id: UInt64, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> BindingStreamPointer {
        guard let stream = memory.allocateApart(of: BindingStream.self) else { throw Status.noMemory }
        stream.initialize(to: BindingStream(vm: vm, id: id, at: UnsafeMutableRawPointer(stream)))
        return stream
    }

    /// Nothing is bound any more.
    func free(memory: UnsafeMutablePointer<Memory>) {
        invariant(pointee.first == nil, "an address space was freed with binding events to deliver")
        invariant(pointee.spare == nil, "an address space was freed with memory for binding events")
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    var itemPointer: WorkItemPointer { memberPointer(of: self, at: BindingStream.itemOffset, as: WorkItem.self) }

    private var cache: UnsafeMutablePointer<SlabCache> { pointee.vm.pointee.device.cache(.bindingEvent) }

    /// Events made so far. With the VM's lock held: what the ranges are is what those up to this number say.
    var count: UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.count
    }

    // MARK: Memory

    /// Takes the memory for all events of one binding.
    /// - Failure: noMemory; nothing is taken then.
    func reserve() throws(Status) {
        var taken: BindingEventPointer?
        var last: BindingEventPointer?
        for _ in 0..<BindingStream.eventsPerBinding {
            guard let memory = cache.take() else {
                giveAll(taken)
                throw Status.noMemory
            }
            let event = memory.bindMemory(to: BindingEvent.self, capacity: 1)
            event.initialize(
                to: BindingEvent(
                    kind: .bind, flags: 0, error: 0, time: 0, number: 0, start: 0, size: 0, boID: 0, next: taken))
            if last == nil { last = event }
            taken = event
        }
        pointee.lock.acquire()
        last!.pointee.next = pointee.spare
        pointee.spare = taken
        pointee.lock.release()
    }

    /// So many events that were reserved will not be.
    func unreserve(_ count: Int = BindingStream.eventsPerBinding) {
        var taken: BindingEventPointer?
        pointee.lock.acquire()
        for _ in 0..<count {
            let event = takeSpare()
            event.pointee.next = taken
            taken = event
        }
        pointee.lock.release()
        giveAll(taken)
    }

    private func giveAll(_ events: BindingEventPointer?) {
        var next = events
        while let event = next {
            next = event.pointee.next
            cache.give(UnsafeMutableRawPointer(event))
        }
    }

    /// - Locking: the stream's lock is held.
    private func takeSpare() -> BindingEventPointer {
        invariant(pointee.spare != nil, "a binding event was not reserved")
        let event = pointee.spare.unsafelyUnwrapped
        pointee.spare = event.pointee.next
        return event
    }

    // MARK: Events

    /// A binding has got its range. Was reserved.
    /// - Locking: the VM's lock is held.
    func recordBind(_ resource: ResourcePointer, isPending: Bool, isInternal: Bool = false) {
        let flags = isPending ? UNBIND_EVENT_PENDING : 0
        record(.bind, resource, flags: flags | (isInternal ? UNBIND_EVENT_INTERNAL : 0), at: now)
        if !isPending { unreserve(1) }
    }

    /// An asynchronous bind has ended.
    /// - Signalling: allowed.
    func recordBindDone(_ resource: ResourcePointer, error: Int32, at time: UInt64) {
        record(.bindDone, resource, error: error, at: time)
    }

    /// A binding is about to lose its range.
    /// - Locking: the VM's lock is held.
    func recordUnbind(_ resource: ResourcePointer, isPending: Bool) {
        let flags = isPending ? UNBIND_EVENT_PENDING : 0
        record(.unbind, resource, flags: flags | (resource.pointee.makesWay ? UNBIND_EVENT_INTERNAL : 0), at: now)
        if !isPending { unreserve(1) }
    }

    /// A pending unbind is about to signal.
    /// - Signalling: allowed.
    func recordUnbindDone(_ resource: ResourcePointer, at time: UInt64) { record(.unbindDone, resource, at: time) }

    private var now: UInt64 { pointee.vm.pointee.device.now }

    private func record(
        _ kind: BindingEventKind, _ resource: ResourcePointer, flags: UInt32 = 0, error: Int32 = 0, at time: UInt64
    ) {
        pointee.lock.acquire()
        let event = takeSpare()
        let time = max(time, pointee.latest)
        pointee.latest = time
        pointee.count = pointee.count &+ 1
        event.initialize(
            to: BindingEvent(
                kind: kind, flags: flags, error: error, time: time, number: pointee.count,
                start: resource.pointee.start, size: resource.pointee.size, boID: resource.pointee.boID))
        if let last = pointee.last { last.pointee.next = event } else { pointee.first = event }
        pointee.last = event
        pointee.waiting = pointee.waiting &+ 1
        let submits = !pointee.isUnderWay
        pointee.isUnderWay = true
        pointee.lock.release()
        if !submits { return }
        let device = pointee.vm.pointee.device
        pointee.vm.retain()
        device.workBegan()
        device.pointee.executor.submit(itemPointer)
    }

    // MARK: Delivery

    /// Calls back for what waits now; what comes meanwhile is for the next time, so that other work has its turn.
    fileprivate func deliver() {
        let vm = pointee.vm
        let device = vm.pointee.device
        pointee.lock.acquire()
        var left = pointee.waiting
        pointee.lock.release()
        while left > 0 {
            left -= 1
            deliverFirst(of: vm)
        }
        pointee.lock.acquire()
        let isEmpty = pointee.first == nil
        if isEmpty { pointee.isUnderWay = false }
        pointee.lock.release()
        if !isEmpty { return device.pointee.executor.submit(itemPointer) }
        vm.drop()
        device.workEnded()
    }

    private func deliverFirst(of vm: VMPointer) {
        pointee.lock.acquire()
        let event = pointee.first.unsafelyUnwrapped
        pointee.first = event.pointee.next
        if pointee.first == nil { pointee.last = nil }
        pointee.waiting = pointee.waiting &- 1
        pointee.lock.release()
        var report = unbind_binding_event()
        report.struct_size = UInt32(MemoryLayout<unbind_binding_event>.size)
        report.type = event.pointee.kind.rawValue
        report.flags = event.pointee.flags
        report.error = event.pointee.error
        report.time_ns = event.pointee.time
        report.vm_id = vm.pointee.id
        report.number = event.pointee.number
        report.address = event.pointee.start
        report.size = event.pointee.size
        report.bo_id = event.pointee.boID
        cache.give(UnsafeMutableRawPointer(event))
        LockOrder.assertNoneHeld("a binding event was delivered with a lock held")
        SignallingSection.assertNotInside("a binding event was delivered inside a signalling section")
        let device = vm.pointee.device
        guard let callback = device.pointee.host.binding else { return }
        callback(device.pointee.host.bindingData, &report)
    }
}

private func deliverEvents(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: BindingStream.self).deliver()
}
