// BindQueue: batches that come one after the other: each awaits the end of the one before.
//
// - Locking: `last` belongs to the batches' lock of the VM.

typealias BindQueuePointer = UnsafeMutablePointer<BindQueue>

struct BindQueue: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = BindQueue.magic
    let count = SharedCount()
    let vm: VMPointer
    /// The fence of the last batch, with a reference.
    var last: FencePointer?

    static var magic: UInt32 { 0x7562_7175 }

    fileprivate init(vm: VMPointer) { self.vm = vm }
}

extension UnsafeMutablePointer where Pointee == BindQueue {
    /// - Failure: closed, noMemory.
    static func make(vm: VMPointer) throws(Status) -> BindQueuePointer {
        if vm.isClosed { throw Status.closed }
        let device = vm.pointee.device
        guard let memory = device.cache(.bindQueue).take() else { throw Status.noMemory }
        let queue = memory.bindMemory(to: BindQueue.self, capacity: 1)
        queue.initialize(to: BindQueue(vm: vm))
        vm.retain()
        device.handleCreated(.queue)
        return queue
    }

    /// The fence of the last batch if that has not ended, with a reference.
    /// - Locking: nothing may be held.
    func unfinished() -> FencePointer? {
        let lock = pointee.vm.pointee.batches
        lock.pointee.lock.acquire()
        defer { lock.pointee.lock.release() }
        guard let last = pointee.last, !last.isSignalled else { return nil }
        last.retain()
        return last
    }

    /// The caller lets go of a handle: nobody else has one, as batches under way only need their fences.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        let vm = pointee.vm
        let device = vm.pointee.device
        device.handleDropped(.queue)
        pointee.last?.drop()
        pointee.magic = 0
        deinitialize(count: 1)
        device.cache(.bindQueue).give(UnsafeMutableRawPointer(self))
        vm.drop()
    }
}
