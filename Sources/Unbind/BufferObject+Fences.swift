// The fences of all that uses a buffer (<unbind/resv.h>).

import CUnbind

extension BufferObject {
    /// What a fence of the buffer stands for. A question at one usage includes those before it.
    public enum Usage: UInt32, Sendable, CaseIterable {
        /// Moves and clears of the memory itself.
        case kernel
        case write
        case read
        /// Must only end before the memory goes.
        case bookkeep
    }

    /// Reserves room for so many fences, until the unlock. `locks` has locked the buffer.
    public func reserveFences(_ slots: UInt32, in locks: LockContext) throws(UnbindError) {
        try UnbindError.check(unbind_bo_reserve_fences(handle, locks.storage, slots))
    }

    /// Gives reserved room back.
    public func unreserveFences(_ slots: UInt32, in locks: LockContext) throws(UnbindError) {
        try UnbindError.check(unbind_bo_unreserve_fences(handle, locks.storage, slots))
    }

    /// Adds a fence in reserved room; throws `.noSpace` if there is none.
    public func add(_ fence: Fence, as usage: Usage, in locks: LockContext) throws(UnbindError) {
        try UnbindError.check(unbind_bo_add_fence(handle, locks.storage, fence.handle, usage.rawValue))
    }

    /// Adds the fences of another buffer that have not signalled.
    public func copyFences(from other: BufferObject, in locks: LockContext) throws(UnbindError) {
        try UnbindError.check(unbind_bo_copy_fences(handle, locks.storage, other.handle))
    }

    /// Whether all fences at a usage have signalled.
    public func isSignaled(_ usage: Usage) -> Bool { unbind_bo_is_signaled(handle, usage.rawValue) == 1 }

    /// Waits until all fences at a usage have signalled.
    public func wait(
        for usage: Usage, timeout: Duration? = nil, interruptible: Bool = false
    ) throws(UnbindError) {
        try UnbindError.check(
            unbind_bo_wait_usage(
                handle, usage.rawValue, timeoutNanoseconds(timeout), waitFlags(interruptible: interruptible)))
    }

    /// The fences at a usage that have not signalled, as they are at one moment.
    public func fences(_ usage: Usage) throws(UnbindError) -> [Fence] {
        try fenceList(of: device) { unbind_bo_get_fences(handle, usage.rawValue, $0, $1, $2) }
    }

    /// One fence for all fences at a usage.
    public func fence(_ usage: Usage) throws(UnbindError) -> Fence {
        Fence(adopting: try UnbindError.make { unbind_bo_get_fence(handle, usage.rawValue, $0) }, of: device)
    }

    /// As `fences`, each with its usage.
    public func uses(_ usage: Usage) throws(UnbindError) -> [(fence: Fence, usage: Usage)] {
        var cursor = unbind_fence_cursor()
        try UnbindError.check(unbind_fence_cursor_init(&cursor, handle, usage.rawValue))
        var found: [(fence: Fence, usage: Usage)] = []
        while true {
            var raw: OpaquePointer?
            var rawUsage: UInt32 = 0
            let status = unbind_fence_cursor_next(&cursor, handle, &raw, &rawUsage)
            if status == 0 { return found }
            if UnbindError(status: status) == .notYet {
                found = []
                continue
            }
            try UnbindError.check(status)
            guard let raw, let usage = Usage(rawValue: rawUsage) else { throw .invalidArgument }
            found.append((Fence(adopting: raw, of: device), usage))
        }
    }
}
