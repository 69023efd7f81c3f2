// LockContext: locking many buffers without deadlock (<unbind/resv.h>).

import CUnbind

/// Locks buffers in any order. When two contexts want each other's locks the younger one gives way: its next lock
/// throws `.deadlock`, and it unlocks everything and begins again. One thread at a time uses a context.
///
///     let locks = try LockContext(of: device)
///     try locks.untilAllLocked { (locks) throws(UnbindError) in
///         for buffer in buffers { try locks.lock(buffer) }
///     }
///
/// Its locks are dropped with it.
public final class LockContext {
    /// The C struct, for calls that this module does not wrap.
    public let storage: UnsafeMutablePointer<unbind_lock_context>
    /// The device of all buffers that it can lock.
    public let device: Device

    /// Begins a context, younger than all others.
    public init(of device: Device) throws(UnbindError) {
        let storage = UnsafeMutablePointer<unbind_lock_context>.allocate(capacity: 1)
        storage.initialize(to: unbind_lock_context())
        self.storage = storage
        self.device = device
        try UnbindError.check(unbind_lock_context_init(storage, device.handle))
    }

    deinit {
        unbind_lock_context_fini(storage)
        storage.deallocate()
    }

    /// Locks a buffer; throws `.alreadyLocked` if this context has it, `.deadlock` if it has to give way.
    public func lock(_ buffer: BufferObject, interruptible: Bool = false) throws(UnbindError) {
        try UnbindError.check(unbind_bo_lock(buffer.handle, storage, waitFlags(interruptible: interruptible)))
    }

    /// Locks a buffer after giving way, with nothing else locked.
    public func lockSlowly(_ buffer: BufferObject, interruptible: Bool = false) throws(UnbindError) {
        try UnbindError.check(unbind_bo_lock_slow(buffer.handle, storage, waitFlags(interruptible: interruptible)))
    }

    /// Locks a buffer if nobody has it; false if somebody has.
    public func tryLock(_ buffer: BufferObject) throws(UnbindError) -> Bool {
        let status = unbind_bo_trylock(buffer.handle, storage)
        if UnbindError(status: status) == .busy { return false }
        try UnbindError.check(status)
        return true
    }

    /// Locks all buffers of a list, or none, and reserves room for `slots` fences in each. Gives way by itself if
    /// nothing was locked before.
    public func lock(
        _ buffers: [BufferObject], reserving slots: UInt32 = 0, interruptible: Bool = false
    ) throws(UnbindError) {
        let handles: [OpaquePointer?] = buffers.map(\.handle)
        let status = withExtendedLifetime(buffers) {
            unbind_bo_lock_array(
                handles, UInt32(handles.count), slots, storage, waitFlags(interruptible: interruptible))
        }
        try UnbindError.check(status)
    }

    /// Drops a lock, with the room that was reserved under it.
    public func unlock(_ buffer: BufferObject) throws(UnbindError) {
        try UnbindError.check(unbind_bo_unlock(buffer.handle, storage))
    }

    /// Drops all locks; the context keeps its age.
    public func unlockAll() { unbind_lock_context_unlock_all(storage) }

    /// Whether an older context waits for one of its locks.
    public var isWounded: Bool { unbind_lock_context_is_wounded(storage) == 1 }

    /// Ends one round of locking: true if a lock threw `.deadlock`, everything was unlocked, and the next round is
    /// to begin.
    public func retry(interruptible: Bool = false) throws(UnbindError) -> Bool {
        try UnbindError.check(unbind_lock_context_retry(storage, waitFlags(interruptible: interruptible))) > 0
    }

    /// Runs `body`, which locks one buffer after the other, again and again until it did not have to give way.
    public func untilAllLocked(
        interruptible: Bool = false, _ body: (LockContext) throws(UnbindError) -> Void
    ) throws(UnbindError) {
        while true {
            var failure: UnbindError?
            do throws(UnbindError) {
                try body(self)
            } catch {
                if error != .deadlock { throw error }
                failure = error
            }
            if try retry(interruptible: interruptible) { continue }
            if let failure { throw failure }
            return
        }
    }
}
