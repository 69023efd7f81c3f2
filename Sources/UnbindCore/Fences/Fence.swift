// Fence: says when something has finished (dma_fence, drivers/dma-buf/dma-fence.c).
//
// A fence signals exactly once. Its reference count is also the life of the object it is embedded in: a VMAResource, a
// job, an asynchronous bind begin with their Fence, and `release` frees the whole. Waiters sleep on the fence's word;
// callbacks (Fence+Callbacks) run one by one after the signal, each with no lock held.
//
// Fences made of others (arrays, timelines) signal in turn, through a Relay: a chain of them needs no stack.
//
// A fence of a context (a queue's timeline) is ordered with the others of that context by its seqno: an OrderedFence.
// Others are never compared with, nor replaced by, another. What is the same for all fences of a sort, they have from
// their FenceHome: there may be a million of them.

import CSystem
import Synchronization

typealias FencePointer = UnsafeMutablePointer<Fence>

struct Fence: ~Copyable {
    /// `magic` while alive: what a C handle is checked against.
    var magic: UInt32
    // Copies of the home's.
    let kind: Kind
    let isOwnWork: Bool
    let isOrdered: Bool
    /// Somebody sleeps on `word`, or is about to.
    fileprivate let hasSleepers = Atomic<Bool>(false)
    /// Set before the signal, read after it.
    fileprivate(set) var error: Int32 = 0
    fileprivate let references = Atomic<UInt32>(1)
    /// The first callback, and FenceWord's flags.
    let word = Atomic<UInt>(0)
    /// When it signalled; set before the signal.
    fileprivate(set) var timestamp: UInt64 = 0
    /// Outlives the fence.
    let home: FenceHomePointer

    static var magic: UInt32 { 0x7566_6365 }

    enum Kind: UInt8 {
        /// Ends by itself.
        case plain
        /// A TimedFence: by a time at the latest.
        case timed
        /// An ImportedFence: the kernel signals it.
        case imported
        /// A FenceArray: made of others.
        case array
        /// A TimelinePoint: made of another, and of the points before it.
        case timelinePoint
    }

    @inline(__always)
    init(home: FenceHomePointer) {
        magic = Fence.magic
        kind = home.pointee.kind
        isOwnWork = home.pointee.isOwnWork
        isOrdered = home.pointee.isOrdered
        self.home = home
    }
}

extension UnsafeMutablePointer where Pointee == Fence {
    // MARK: Life

    @inline(__always)
    func retain() { _ = pointee.references.wrappingAdd(1, ordering: .relaxed) }

    /// For an owner under whose lock all references come into being: if there is only its own, nobody else counts.
    @inline(__always)
    func retainByOwner() {
        if pointee.isOwnWork, pointee.references.load(ordering: .acquiring) == 1 {
            pointee.references.store(2, ordering: .relaxed)
        } else {
            retain()
        }
    }

    /// A reference, unless the last one has been dropped already.
    func tryRetain() -> Bool { pointee.references.incrementUnlessZero() }

    /// May free the object that the fence is embedded in.
    @inline(__always)
    func drop() {
        // The only reference is this one, and nobody without one could take another.
        if pointee.isOwnWork, pointee.references.load(ordering: .acquiring) == 1 { return destroy() }
        if pointee.references.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue == 1 {
            destroy()
        }
    }

    /// Nobody but the caller has a reference; it stays so where nobody can take another meanwhile.
    @inline(__always)
    var hasOnlyReference: Bool { pointee.references.load(ordering: .acquiring) == 1 }

    /// Instead of a drop that would be the last one: true if the caller's reference is the only one, and the object now
    /// the caller's to free. Only of own work.
    @inline(__always)
    func endsWithOnlyReference() -> Bool {
        if pointee.references.load(ordering: .acquiring) != 1 { return false }
        end()
        return true
    }

    @inline(__always)
    private func end() {
        let word = pointee.word.load(ordering: .relaxed)
        invariant(word & ~FenceWord.signalled == 0, "a fence was freed with callbacks waiting for it")
        pointee.magic = 0
    }

    @inline(never)
    private func destroy() {
        end()
        pointee.home.pointee.release(UnsafeMutableRawPointer(self))
    }

    // MARK: State

    @inline(__always)
    var isSignalled: Bool { pointee.word.load(ordering: .acquiring) & FenceWord.signalled != 0 }

    /// The error it carries; meaningful once signalled.
    var error: Int32 { pointee.error }

    // MARK: Signalling

    /// Signals the fence, and then the fences made of it, and so on: all of that has happened when this returns. False
    /// if it had signalled already; nothing changes then.
    ///
    /// - Locking: nothing may be held: callbacks run here.
    @discardableResult
    func signal(error: Int32 = 0, at time: UInt64) -> Bool {
        var first: FenceCallbackPointer?
        guard markSignalled(error: error, at: time, first: &first) else { return false }
        if let first { Relay.open { run(first) } }
        return true
    }

    /// As signal, of own work that nobody can find any more: if nobody has found it, nobody has to be told.
    @inline(__always)
    func signalUnfound(at time: UInt64) {
        if pointee.references.load(ordering: .acquiring) != 1 {
            signal(at: time)
            return
        }
        LockOrder.assertNoneHeld("a fence was signalled with a lock held")
        invariant(pointee.word.load(ordering: .relaxed) == 0, "a fence was signalled twice")
        pointee.timestamp = time
        pointee.word.store(FenceWord.signalled, ordering: .releasing)
    }

    /// As signal, of own work for which nobody waits. False, and nothing changes, if somebody does, or if it has
    /// signalled.
    /// - Locking: any may be held, as there is nobody to be told.
    @inline(__always)
    func signalUnawaited(at time: UInt64) -> Bool {
        if pointee.hasSleepers.load(ordering: .relaxed) || pointee.word.load(ordering: .relaxed) != 0 { return false }
        pointee.timestamp = time
        let isSignalled = pointee.word.compareExchange(
            expected: 0, desired: FenceWord.signalled, ordering: .sequentiallyConsistent
        ).exchanged
        // Who went to sleep in between.
        if isSignalled { wakeSleepers() }
        return isSignalled
    }

    /// As signal, for a piece of a relay: what this sets off comes after that piece, not inside it.
    @discardableResult
    func signalInTurn(error: Int32, at time: UInt64) -> Bool {
        var first: FenceCallbackPointer?
        guard markSignalled(error: error, at: time, first: &first) else { return false }
        if let first { run(first) }
        return true
    }

    /// False if it had signalled already. Otherwise `first` is the first callback, if there is one, taken off.
    @inline(__always)
    private func markSignalled(error: Int32, at time: UInt64, first: inout FenceCallbackPointer?) -> Bool {
        LockOrder.assertNoneHeld("a fence was signalled with a lock held")
        if pointee.isOwnWork {
            var word = pointee.word.load(ordering: .acquiring)
            if word & FenceWord.signalled != 0 { return false }
            pointee.error = error
            pointee.timestamp = time
            while word & (FenceWord.locked | FenceWord.several) == 0 {
                let result = pointee.word.compareExchange(
                    expected: word, desired: FenceWord.signalled, ordering: .sequentiallyConsistent)
                if result.exchanged {
                    first = FenceWord.callback(word)
                    first?.pointee.previous = nil
                    wakeSleepers()
                    return true
                }
                word = result.original
            }
        }
        let word = acquireCallbacks()
        if word & FenceWord.signalled != 0 {
            releaseCallbacks(word)
            return false
        }
        pointee.error = error
        pointee.timestamp = time
        first = FenceWord.callback(word)
        let rest = first == nil ? 0 : unlink(first.unsafelyUnwrapped, from: word)
        releaseCallbacks(signalling: rest)
        wakeSleepers()
        return true
    }

    @inline(__always)
    private func wakeSleepers() {
        if pointee.hasSleepers.load(ordering: .sequentiallyConsistent) { csys_futex_wake(futexWord, .max) }
    }

    @inline(__always)
    private func run(_ first: FenceCallbackPointer) {
        var callback = first
        while true {
            callback.pointee.function(UnsafeMutableRawPointer(callback), UnsafeMutableRawPointer(self))
            // One at a time, so that those still on the list can be removed by whom they belong to.
            if pointee.word.load(ordering: .relaxed) == FenceWord.signalled { return }
            let word = acquireCallbacks()
            guard let next = FenceWord.callback(word) else {
                releaseCallbacks(word)
                return
            }
            releaseCallbacks(unlink(next, from: word))
            callback = next
        }
    }

    // MARK: Waiting

    /// Sleeps until the fence has signalled or `deadline` (CLOCK_MONOTONIC; .max: none) has passed. For a fence that
    /// another thread signals; Executor.wait is the wait that also works without one.
    func sleep(until deadline: UInt64, interruptible: Bool) throws(Status) {
        LockOrder.assertNoneHeld("a thread waited for a fence with a lock held")
        while true {
            if isSignalled { return }
            pointee.hasSleepers.store(true, ordering: .sequentiallyConsistent)
            let word = pointee.word.load(ordering: .sequentiallyConsistent)
            if word & FenceWord.signalled != 0 { return }
            // The kernel restarts a futex wait without a deadline after a handler with SA_RESTART; one with a
            // deadline ends.
            let wake = interruptible ? Swift.min(deadline, .max - 1) : deadline
            switch csys_futex_wait(futexWord, UInt32(truncatingIfNeeded: word), wake) {
            case -ETIMEDOUT: if isSignalled { return } else { throw Status.timedOut }
            case -EINTR: if interruptible, !isSignalled { throw Status.interrupted }
            default: break
            }
        }
    }

    /// The half of the word that has the flags: it changes with every signal.
    /// SAFETY: as Atomic.address; a futex is 32 bits, and the machine is little-endian.
    private var futexWord: UnsafeMutablePointer<UInt32> {
        unsafe withUnsafePointer(to: pointee.word) {
            UnsafeMutableRawPointer(mutating: UnsafeRawPointer($0)).assumingMemoryBound(to: UInt32.self)
        }
    }
}
