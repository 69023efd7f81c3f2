// Fence: says when something has finished (dma_fence, drivers/dma-buf/dma-fence.c).
//
// A fence signals exactly once. Its reference count is also the life of the object it is embedded in: a VMAResource, a
// job, an asynchronous bind begin with their Fence, and `release` frees the whole. Waiters sleep on the state word;
// callbacks run one by one after the signal, each with no lock held.
//
// Fences made of others (arrays, timelines) signal in turn, through a Relay: a chain of them needs no stack.
//
// A fence of a context (a queue's timeline) is ordered with the others of that context by its seqno. Context 0 means
// unordered: such a fence is never compared with, nor replaced by, another.

import CSystem
import Synchronization

typealias FencePointer = UnsafeMutablePointer<Fence>

struct Fence: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32
    /// Made by unbind_fence_create: only the caller signals it, and only the caller may.
    let isSignalledByCaller: Bool
    /// What object begins with it, for those who look inside.
    let kind: Kind
    /// Set before the signal, read after it.
    fileprivate(set) var error: Int32 = 0
    /// Bit 0: signalled. Bit 1: somebody sleeps on this word.
    fileprivate let state = Atomic<UInt32>(0)
    fileprivate let references = Atomic<UInt32>(1)
    fileprivate let lock = FutexLock(.fence)
    fileprivate var callbacks = FenceCallbackList()
    /// When it signalled; set before the signal.
    fileprivate(set) var timestamp: UInt64 = 0
    let context: UInt64
    let seqno: UInt64
    /// The device, for the clock, the executor and the check that a handle belongs to it.
    let owner: UnsafeMutableRawPointer
    /// Frees the object that begins with this fence.
    fileprivate let release: @convention(c) (UnsafeMutableRawPointer) -> Void

    static var magic: UInt32 { 0x7566_6365 }

    enum Kind: UInt8 {
        /// Ends by itself.
        case plain
        /// A TimedFence: by a time at the latest.
        case timed
        /// A FenceArray: made of others.
        case array
        /// A TimelinePoint: made of another, and of the points before it.
        case timelinePoint
    }

    init(
        owner: UnsafeMutableRawPointer, context: UInt64 = 0, seqno: UInt64 = 0, isSignalledByCaller: Bool = false,
        kind: Kind = .plain, release: @escaping @convention(c) (UnsafeMutableRawPointer) -> Void
    ) {
        magic = Fence.magic
        self.isSignalledByCaller = isSignalledByCaller
        self.kind = kind
        self.owner = owner
        self.context = context
        self.seqno = seqno
        self.release = release
    }
}

/// One callback on one fence. Embedded in whatever waits; must stay in place until called or removed.
struct FenceCallback {
    typealias Function = @convention(c) (_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) -> Void

    fileprivate var next: UnsafeMutablePointer<FenceCallback>?
    fileprivate var previous: UnsafeMutablePointer<FenceCallback>?
    /// The fence it is on; nil when it was called or removed.
    fileprivate var fence: FencePointer?
    let function: Function
    /// For the function.
    var context: UnsafeMutableRawPointer?

    init(function: @escaping Function, context: UnsafeMutableRawPointer? = nil) {
        self.function = function
        self.context = context
    }
}

private struct FenceCallbackList {
    var first: UnsafeMutablePointer<FenceCallback>?
    var last: UnsafeMutablePointer<FenceCallback>?
}

extension UnsafeMutablePointer where Pointee == Fence {
    // MARK: Life

    @inline(__always)
    func retain() { _ = pointee.references.wrappingAdd(1, ordering: .relaxed) }

    /// A reference, unless the last one has been dropped already.
    func tryRetain() -> Bool { pointee.references.incrementUnlessZero() }

    /// May free the object that the fence is embedded in.
    @inline(__always)
    func drop() {
        if pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue == 1 {
            destroy()
        }
    }

    @inline(never)
    private func destroy() {
        invariant(pointee.callbacks.first == nil, "a fence was freed with callbacks waiting for it")
        pointee.magic = 0
        pointee.release(UnsafeMutableRawPointer(self))
    }

    // MARK: State

    @inline(__always)
    var isSignalled: Bool { pointee.state.load(ordering: .acquiring) & 1 != 0 }

    /// The error it carries; meaningful once signalled.
    var error: Int32 { pointee.error }

    /// True if `other` is of the same timeline and not later: whoever waits for self need not wait for other.
    func supersedes(_ other: FencePointer) -> Bool {
        pointee.context != 0 && pointee.context == other.pointee.context && pointee.seqno >= other.pointee.seqno
    }

    // MARK: Signalling

    /// Signals the fence, and then the fences made of it, and so on: all of that has happened when this returns. False
    /// if it had signalled already; nothing changes then.
    ///
    /// - Locking: nothing may be held: callbacks run here.
    @discardableResult
    func signal(error: Int32 = 0, at time: UInt64) -> Bool {
        guard let hasCallbacks = markSignalled(error: error, at: time) else { return false }
        if hasCallbacks { Relay.open { runCallbacks() } }
        return true
    }

    /// As signal, for a piece of a relay: what this sets off comes after that piece, not inside it.
    @discardableResult
    func signalInTurn(error: Int32, at time: UInt64) -> Bool {
        guard let hasCallbacks = markSignalled(error: error, at: time) else { return false }
        if hasCallbacks { runCallbacks() }
        return true
    }

    /// Whether there are callbacks to run; nil if it had signalled already.
    private func markSignalled(error: Int32, at time: UInt64) -> Bool? {
        LockOrder.assertNoneHeld("a fence was signalled with a lock held")
        pointee.lock.acquire()
        if pointee.state.load(ordering: .relaxed) & 1 != 0 {
            pointee.lock.release()
            return nil
        }
        pointee.error = error
        pointee.timestamp = time
        let old = pointee.state.exchange(1, ordering: .acquiringAndReleasing)
        let hasCallbacks = pointee.callbacks.first != nil
        pointee.lock.release()
        if old & 2 != 0 { csys_futex_wake(pointee.state.address, .max) }
        return hasCallbacks
    }

    private func runCallbacks() {
        while true {
            // One at a time, so that those still on the list can be removed by whom they belong to.
            pointee.lock.acquire()
            guard let callback = pointee.callbacks.first else {
                pointee.lock.release()
                return
            }
            unlink(callback)
            let function = callback.pointee.function
            pointee.lock.release()
            function(UnsafeMutableRawPointer(callback), UnsafeMutableRawPointer(self))
        }
    }

    // MARK: Callbacks

    /// Puts the callback on the fence. False if it has signalled: the callback will not be called.
    ///
    /// - Ownership: the caller holds a reference to the fence until the callback is called or removed.
    func add(_ callback: UnsafeMutablePointer<FenceCallback>) -> Bool {
        if isSignalled { return false }
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if pointee.state.load(ordering: .relaxed) & 1 != 0 { return false }
        callback.pointee.next = nil
        callback.pointee.previous = pointee.callbacks.last
        callback.pointee.fence = self
        if let last = pointee.callbacks.last {
            last.pointee.next = callback
        } else {
            pointee.callbacks.first = callback
        }
        pointee.callbacks.last = callback
        return true
    }

    /// Takes the callback back. False if it was called, is being called, or is not on this fence.
    func remove(_ callback: UnsafeMutablePointer<FenceCallback>) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard callback.pointee.fence == self else { return false }
        unlink(callback)
        return true
    }

    private func unlink(_ callback: UnsafeMutablePointer<FenceCallback>) {
        if let next = callback.pointee.next {
            next.pointee.previous = callback.pointee.previous
        } else {
            pointee.callbacks.last = callback.pointee.previous
        }
        if let previous = callback.pointee.previous {
            previous.pointee.next = callback.pointee.next
        } else {
            pointee.callbacks.first = callback.pointee.next
        }
        callback.pointee.next = nil
        callback.pointee.previous = nil
        callback.pointee.fence = nil
    }

    // MARK: Waiting

    /// Sleeps until the fence has signalled or `deadline` (CLOCK_MONOTONIC; .max: none) has passed. For a fence that
    /// another thread signals; Executor.wait is the wait that also works without one.
    func sleep(until deadline: UInt64, interruptible: Bool) throws(Status) {
        LockOrder.assertNoneHeld("a thread waited for a fence with a lock held")
        while true {
            let state = pointee.state.load(ordering: .acquiring)
            if state & 1 != 0 { return }
            if state == 0,
                !pointee.state.compareExchange(expected: 0, desired: 2, ordering: .relaxed).exchanged
            {
                continue
            }
            // The kernel restarts a futex wait without a deadline after a handler with SA_RESTART; one with a
            // deadline ends.
            let wake = interruptible ? Swift.min(deadline, .max - 1) : deadline
            switch csys_futex_wait(pointee.state.address, 2, wake) {
            case -ETIMEDOUT: if isSignalled { return } else { throw Status.timedOut }
            case -EINTR: if interruptible, !isSignalled { throw Status.interrupted }
            default: break
            }
        }
    }
}
