// The callbacks of a fence, and the word that holds them.
//
// Nearly every fence gets one callback or none. So one word says all: whether the fence has signalled, the address of
// the first callback, and whether there are others. The first callback is added, taken off and called with one atomic
// operation each; only a list of several is changed under a lock, which is a bit of the word. The list is a ring
// backwards: the first one's `previous` is the last.
//
// - Locking: the bit, held for a few instructions; it counts as LockRank.fence.

import Synchronization

/// One callback on one fence. Embedded in whatever waits; must stay in place until called or removed.
struct FenceCallback {
    typealias Function = @convention(c) (_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) -> Void

    var next: FenceCallbackPointer?
    /// Nil when it is on no fence: not yet, or it was called or removed.
    var previous: FenceCallbackPointer?
    let function: Function
    /// For the function.
    var context: UnsafeMutableRawPointer?

    init(function: @escaping Function, context: UnsafeMutableRawPointer? = nil) {
        self.function = function
        self.context = context
    }
}

typealias FenceCallbackPointer = UnsafeMutablePointer<FenceCallback>

/// What a fence's word is made of, apart from the address.
enum FenceWord {
    static var signalled: UInt { 1 }
    static var locked: UInt { 2 }
    /// The first callback has a next one.
    static var several: UInt { 4 }

    @inline(__always)
    static func callback(_ word: UInt) -> FenceCallbackPointer? { FenceCallbackPointer(bitPattern: word & ~7) }
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// Puts the callback on the fence. False if it has signalled: the callback will not be called.
    ///
    /// - Ownership: the caller holds a reference to the fence until the callback is called or removed.
    @inline(__always)
    func add(_ callback: FenceCallbackPointer) -> Bool {
        let word = pointee.word.load(ordering: .acquiring)
        if word & FenceWord.signalled != 0 { return false }
        callback.pointee.next = nil
        callback.pointee.previous = callback
        if word == 0 {
            let isFirst = pointee.word.compareExchange(
                expected: 0, desired: UInt(bitPattern: callback), successOrdering: .releasing,
                failureOrdering: .relaxed
            ).exchanged
            if isFirst { return true }
        }
        return addLocked(callback)
    }

    /// Behind those that are there already.
    private func addLocked(_ callback: FenceCallbackPointer) -> Bool {
        let address = UInt(bitPattern: callback)
        let old = acquireCallbacks()
        if old & FenceWord.signalled != 0 {
            callback.pointee.previous = nil
            releaseCallbacks(old)
            return false
        }
        guard let first = FenceWord.callback(old) else {
            releaseCallbacks(address)
            return true
        }
        let last = first.pointee.previous.unsafelyUnwrapped
        last.pointee.next = callback
        callback.pointee.previous = last
        first.pointee.previous = callback
        releaseCallbacks(old | FenceWord.several)
        return true
    }

    /// Takes the callback back. False if it was called, is being called, or is not on this fence, which `isOurs` says
    /// if it may be on another.
    @inline(__always)
    func remove(_ callback: FenceCallbackPointer, if isOurs: () -> Bool = { true }) -> Bool {
        let old = acquireCallbacks()
        let isOnly = old & FenceWord.several == 0
        let isHere =
            isOnly ? FenceWord.callback(old) == callback : callback.pointee.previous != nil && isOurs()
        releaseCallbacks(isHere ? unlink(callback, from: old) : old)
        return isHere
    }

    /// Takes a callback off the list, which is `word`, and gives what the word becomes.
    /// - Locking: held.
    func unlink(_ callback: FenceCallbackPointer, from word: UInt) -> UInt {
        var first = FenceWord.callback(word).unsafelyUnwrapped
        let next = callback.pointee.next
        let previous = callback.pointee.previous.unsafelyUnwrapped
        callback.pointee.previous = nil
        if callback == first {
            guard let next else { return word & FenceWord.signalled }
            next.pointee.previous = previous
            first = next
        } else {
            previous.pointee.next = next
            (next ?? first).pointee.previous = previous
        }
        let several = first.pointee.next == nil ? 0 : FenceWord.several
        return UInt(bitPattern: first) | several | (word & FenceWord.signalled)
    }

    // MARK: The lock

    /// Nobody else changes the word until releaseCallbacks. The word as it is, unlocked.
    @inline(__always)
    func acquireCallbacks() -> UInt {
        #if DEBUG
            LockOrder.willAcquire(.fence)
        #endif
        let old = pointee.word.load(ordering: .relaxed)
        if old & FenceWord.locked == 0, tryLock(old) { return old }
        return acquireCallbacksSlowly()
    }

    @inline(__always)
    func releaseCallbacks(_ new: UInt) {
        #if DEBUG
            LockOrder.didRelease(.fence)
        #endif
        pointee.word.store(new, ordering: .releasing)
    }

    /// The signal itself. In one order with what a thread does that is about to sleep.
    @inline(__always)
    func releaseCallbacks(signalling rest: UInt) {
        #if DEBUG
            LockOrder.didRelease(.fence)
        #endif
        _ = pointee.word.exchange(rest | FenceWord.signalled, ordering: .sequentiallyConsistent)
    }

    @inline(__always)
    private func tryLock(_ old: UInt) -> Bool {
        pointee.word.weakCompareExchange(
            expected: old, desired: old | FenceWord.locked, successOrdering: .acquiring, failureOrdering: .relaxed
        ).exchanged
    }

    @inline(never)
    private func acquireCallbacksSlowly() -> UInt {
        var backoff = Backoff()
        while true {
            let old = pointee.word.load(ordering: .relaxed)
            if old & FenceWord.locked == 0, tryLock(old) { return old }
            backoff.pause()
        }
    }
}
