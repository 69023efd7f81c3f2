// Device: a GPU, who runs its work, and the memory all of it comes from.
//
// Everything else belongs to a device and keeps a reference to it, so that an object a caller forgot stays usable (if
// only to be told that the device is closed) and is freed with the last of them.
//
// - Locking: `lock` guards the lists of VMs and of the caller's fences; it is nearly a leaf (LockRank.device).

import CSystem
import Synchronization

typealias DevicePointer = UnsafeMutablePointer<Device>

struct Device: ~Copyable {
    enum State: UInt32 { case open, closing, closed }

    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32 = Device.magic
    let count = SharedCount()
    let memory: UnsafeMutablePointer<Memory>
    let caches: UnsafeMutablePointer<SlabCache>
    let fenceHomes: FenceHomePointer
    let executor: ExecutorPointer
    /// With a backend it has no page tables: what is left of it runs the queues.
    let gpu: UnsafeMutablePointer<SoftwareGPU>
    /// Nil: a software GPU.
    let backend: BackendPointer?
    let localMemory: UnsafeMutablePointer<LocalMemory>
    let stubFence: FencePointer
    let host: HostCallbacks
    /// Nil without callbacks for it.
    let power: UnsafeMutablePointer<PowerReferences>?
    let pageSizes: UInt64
    let systemMemoryLimit: UInt64

    let lock = FutexLock(.device)
    var firstVM: VMPointer?
    var firstCallerFence: UnsafeMutablePointer<CallerFence>?
    var firstHold: HoldPointer?
    /// Made at the first move of a buffer; then there until the device goes.
    var copyQueue: CopyQueuePointer?

    let stateWord = Atomic<UInt32>(State.open.rawValue)
    let systemBytes = Atomic<UInt64>(0)
    let boHandleBytes = Atomic<UInt64>(0)
    let lastContext = Atomic<UInt64>(0)
    /// Of lock contexts: who began later is younger.
    let lastLockStamp = Atomic<UInt64>(0)
    /// Jobs, asynchronous binds, deferred unbinds, fence arrays and timeline points under way: what close waits for.
    let outstanding = Atomic<Int>(0)
    let nextIDs: UnsafeMutablePointer<Atomic<UInt64>>
    /// In stripes, one for the threads that use it: see LiveHandles.
    let liveHandles: UnsafeMutablePointer<Atomic<UInt32>>

    static var magic: UInt32 { 0x7564_6576 }
}

/// The callbacks of the host program.
struct HostCallbacks {
    typealias Log =
        @convention(c) (_ userData: UnsafeMutableRawPointer?, _ level: UInt32, _ message: UnsafePointer<CChar>?) -> Void

    var log: Log?
    var logData: UnsafeMutableRawPointer?
    var fault: FaultCallback?
    var faultData: UnsafeMutableRawPointer?
    var power: PowerCallbacks?
    var binding: BindingCallback?
    var bindingData: UnsafeMutableRawPointer?
}

/// The kinds of object with a C handle, for ids and for the leak report.
enum ObjectKind: Int {
    case vm, bufferObject, vma, queue, fence, timeline, hold
    /// Allocators and trackers of ranges.
    case rangeTracker
    /// Not an object: what a lock context has of a buffer.
    case lock

    static var count: Int { lock.rawValue + 1 }
}

/// Where a handle is counted: in the stripe of the thread, whose line other threads do not fight for. A handle may be
/// dropped in another stripe than it was made in, so only the sum over all stripes (modulo 2^32) means something.
enum LiveHandles {
    static var stripes: Int { Int(SlabCache.stripeCount) }
    /// Of the counters of one stripe and the next: they share no cache line.
    static var stride: Int { 32 }
    static var count: Int { stripes * stride }

    /// The thread's counter, and whether it is its own.
    @inline(__always)
    static func place(_ kind: ObjectKind) -> (index: Int, isOwn: Bool) {
        let number = csys_thread_stripe()!.pointee
        let stripe = number == 0 ? SlabCache.ownStripeCount : number &- 1
        let index = Int(truncatingIfNeeded: stripe) &* stride &+ kind.rawValue
        return (index, stripe < SlabCache.ownStripeCount)
    }
}

/// The slab caches of a device.
enum CacheKind: Int {
    case callerFence, pageList, rangeNode, rangeIndex, bufferObject, reservation, vma, resource, bindWork, await, queue
    case job, eventfd, timeline, timelinePoint, hold, migration, timedFence, join, bindQueue, trackedFence, ownedRange
    case bindingEvent, viewLayout

    static var count: Int { viewLayout.rawValue + 1 }
}

/// The sorts of fences that are a device's own.
enum FenceSort: Int {
    case stub, caller, timed, imported, array, timelinePoint, migration, bindWork, job, join

    static var count: Int { join.rawValue + 1 }
}

extension UnsafeMutablePointer where Pointee == Device {
    @inline(__always)
    func fenceHome(_ sort: FenceSort) -> FenceHomePointer { pointee.fenceHomes + sort.rawValue }

    @inline(__always)
    func cache(_ kind: CacheKind) -> UnsafeMutablePointer<SlabCache> { pointee.caches + kind.rawValue }

    @inline(__always)
    var now: UInt64 { pointee.executor.now }

    /// Throws once the device is closing.
    func checkOpen() throws(Status) {
        if pointee.stateWord.load(ordering: .acquiring) != Device.State.open.rawValue { throw Status.closed }
    }

    // MARK: References

    func retain() { pointee.count.retain() }

    func drop() {
        if pointee.count.drop() { destroy() }
    }

    /// The caller lets go of a handle; the last one closes.
    func dropHandle() {
        guard pointee.count.dropHandle() else { return }
        if pointee.executor.isRunningOnThisThread {
            // It cannot wait for the work that it is part of. Kept, rather than freed under the feet of that work.
            log(.error) { $0.text("the last reference to a device was dropped by its own work: it is never closed") }
            return
        }
        // Closed already is as good.
        _ = try? close()
        drop()
    }

    // MARK: Names and counts

    /// Unique among the device's objects of that kind, from 1.
    func nextID(_ kind: ObjectKind) -> UInt64 {
        pointee.nextIDs[kind.rawValue].wrappingAdd(1, ordering: .relaxed).newValue
    }

    /// A new timeline's context.
    func nextContext() -> UInt64 { pointee.lastContext.wrappingAdd(1, ordering: .relaxed).newValue }

    @inline(__always)
    func handleCreated(_ kind: ObjectKind) {
        countHandle(kind, 1)
    }

    @inline(__always)
    func handleDropped(_ kind: ObjectKind) {
        countHandle(kind, .max)
    }

    @inline(__always)
    private func countHandle(_ kind: ObjectKind, _ difference: UInt32) {
        let (index, isOwn) = LiveHandles.place(kind)
        let counter = pointee.liveHandles + index
        if isOwn {
            counter.pointee.store(counter.pointee.load(ordering: .relaxed) &+ difference, ordering: .relaxed)
        } else {
            _ = counter.pointee.wrappingAdd(difference, ordering: .relaxed)
        }
    }

    func handleCreated(_ kind: ObjectKind, bytes: UInt64) {
        _ = pointee.boHandleBytes.wrappingAdd(bytes, ordering: .relaxed)
        handleCreated(kind)
    }

    func handleDropped(_ kind: ObjectKind, bytes: UInt64) {
        _ = pointee.boHandleBytes.wrappingSubtract(bytes, ordering: .relaxed)
        handleDropped(kind)
    }

    func liveHandles(_ kind: ObjectKind) -> UInt32 {
        var sum: UInt32 = 0
        for stripe in 0..<LiveHandles.stripes {
            sum &+= pointee.liveHandles[stripe * LiveHandles.stride + kind.rawValue].load(ordering: .relaxed)
        }
        return sum
    }

    // MARK: Memory limits

    /// False, and nothing changes, if the limit would be passed.
    func chargeSystemMemory(_ bytes: UInt64) -> Bool {
        var used = pointee.systemBytes.load(ordering: .relaxed)
        while true {
            let (sum, overflow) = used.addingReportingOverflow(bytes)
            if overflow || sum > pointee.systemMemoryLimit { return false }
            let result = pointee.systemBytes.weakCompareExchange(expected: used, desired: sum, ordering: .relaxed)
            if result.exchanged { return true }
            used = result.original
        }
    }

    func unchargeSystemMemory(_ bytes: UInt64) {
        _ = pointee.systemBytes.wrappingSubtract(bytes, ordering: .relaxed)
    }

    // MARK: Calling back

    /// Calls a callback of the caller's. For as long, this thread counts as one that does the device's work, whoever
    /// brought it here: what called back is not over, and a close in there would wait for it.
    @inline(__always)
    func callingBack(_ body: () -> Void) {
        LockOrder.assertNoneHeld("a callback was called with a lock held")
        RunningDevice.run(UnsafeMutableRawPointer(self), body)
    }

    // MARK: Work under way

    /// As workBegan, for work that belongs to no VM. False, and nothing changes, if the device is closing: a close
    /// either waits for the work or is seen here.
    func tryBeginWork() -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if pointee.stateWord.load(ordering: .relaxed) != Device.State.open.rawValue { return false }
        workBegan()
        return true
    }

    @inline(__always)
    func workBegan() { _ = pointee.outstanding.wrappingAdd(1, ordering: .relaxed) }

    /// The device stays until then, whoever has references: its last handle closes it, and a close waits for this.
    @inline(__always)
    func workEnded() { _ = pointee.outstanding.wrappingSubtract(1, ordering: .releasing) }
}
