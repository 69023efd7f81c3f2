// Unbinding a buffer everywhere, and moving it between memory regions (<unbind/bo.h>).

import CUnbind

extension BufferObject {
    /// How to unbind a buffer everywhere.
    public struct UnbindOptions: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// May wait for GPU work that uses the buffer.
        public static let active = UnbindOptions(rawValue: UNBIND_BO_UNBIND_ACTIVE)
        /// Goes on where an address space is just being closed.
        public static let barrier = UnbindOptions(rawValue: UNBIND_BO_UNBIND_BARRIER)
        /// Unbinds nothing: fails with `.busy` if anything is bound.
        public static let test = UnbindOptions(rawValue: UNBIND_BO_UNBIND_TEST)
        /// Fails with `.busy` where another thread works on the address space.
        public static let tryLock = UnbindOptions(rawValue: UNBIND_BO_UNBIND_VM_TRYLOCK)
        /// Schedules the unbinds and does not wait for them; `wait` does.
        public static let async = UnbindOptions(rawValue: UNBIND_BO_UNBIND_ASYNC)
    }

    /// Unbinds every VMA of the buffer; stops at the first that fails.
    public func unbind(_ options: UnbindOptions = [], interruptible: Bool = false) throws(UnbindError) {
        try UnbindError.check(
            unbind_bo_unbind(handle, options.rawValue | waitFlags(interruptible: interruptible)))
    }

    /// Where the buffer is, or is being moved to.
    public var region: Region { Region(rawValue: unbind_bo_region(handle)) ?? .system }

    /// How to move a buffer.
    public struct MoveOptions: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// If the copy queue fails the buffer is lost, and its fences carry `.lost`.
        public static let noCPUCopy = MoveOptions(rawValue: UNBIND_BO_MIGRATE_NO_CPU_COPY)
        /// The copy waits for the unbinds too, as the i915 driver's does.
        public static let afterUnbind = MoveOptions(rawValue: UNBIND_BO_MIGRATE_AFTER_UNBIND)
    }

    /// Moves the buffer behind the GPU work that uses it; its VMAs are unbound asynchronously. `contents` is elsewhere
    /// afterwards, and not to be used before the fence has signalled.
    ///
    /// - Returns: a fence that signals when the copy and all unbinds have finished.
    @discardableResult
    public func migrate(
        to region: Region, _ options: MoveOptions = [], interruptible: Bool = false
    ) throws(UnbindError) -> Fence {
        let flags = options.rawValue | waitFlags(interruptible: interruptible)
        return Fence(
            adopting: try UnbindError.make { unbind_bo_migrate(handle, region.rawValue, flags, $0) }, of: device)
    }
}

extension Device {
    /// What `failNext` makes fail.
    public enum Failure: UInt32, Sendable {
        /// Copies of `BufferObject.migrate` by the copy queue.
        case copy
    }

    /// Makes the next operations of a kind fail, to see what a program does then. A later call replaces the count.
    public func failNext(_ failure: Failure, count: UInt32 = 1) throws(UnbindError) {
        try UnbindError.check(unbind_device_fail_next(handle, failure.rawValue, count))
    }
}
