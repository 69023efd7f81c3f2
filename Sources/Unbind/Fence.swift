// Fence: says when something has finished (<unbind/fence.h>).

import CUnbind

/// Signals exactly once and stays signalled; may carry an error.
public final class Fence: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer
    /// The device it belongs to.
    public let device: Device

    /// Makes an unsignalled fence that the caller signals.
    public init(of device: Device) throws(UnbindError) {
        self.device = device
        handle = try UnbindError.make { unbind_fence_create(device.handle, $0) }
    }

    /// Takes over a reference that a C function gave.
    public init(adopting handle: OpaquePointer, of device: Device) {
        self.handle = handle
        self.device = device
    }

    deinit { unbind_fence_unref(handle) }

    /// Signals a fence of the caller's own. Everything that awaits it goes on.
    public func signal(error: UnbindError? = nil) throws(UnbindError) {
        try UnbindError.check(unbind_fence_signal(handle, error?.status ?? 0))
    }

    /// Waits until the fence has signalled, whatever error it carries. On the manual and simulated
    /// executors the waiting thread runs the device's work meanwhile.
    public func wait(timeout: Duration? = nil, interruptible: Bool = false) throws(UnbindError) {
        try UnbindError.check(
            unbind_fence_wait(handle, timeoutNanoseconds(timeout), waitFlags(interruptible: interruptible)))
    }

    /// True once the fence has signalled.
    public var isSignaled: Bool { unbind_fence_is_signaled(handle) == 1 }

    /// The error that a signalled fence carries; throws `.notYet` before.
    public func error() throws(UnbindError) -> UnbindError? {
        var error: Int32 = 0
        try UnbindError.check(unbind_fence_get_error(handle, &error))
        return error == 0 ? nil : UnbindError(status: error)
    }

    /// When the fence signalled, on the device's clock; throws `.notYet` before.
    public func timestamp() throws(UnbindError) -> UInt64 {
        var time: UInt64 = 0
        try UnbindError.check(unbind_fence_get_timestamp(handle, &time))
        return time
    }

    /// Makes a file descriptor that becomes readable when the fence signals. The caller closes it.
    public func makeEventFileDescriptor() throws(UnbindError) -> Int32 {
        var descriptor: Int32 = -1
        try UnbindError.check(unbind_fence_get_eventfd(handle, &descriptor))
        return descriptor
    }

    /// Suspends the task until the fence has signalled, then throws the error it carries. On the
    /// manual and simulated executors somebody else has to run the device.
    public func completion() async throws {
        await withCheckedContinuation { continuation in
            let waiter = FenceWaiter(continuation)
            waiter.attach(to: handle)
        }
        if let error = try error() { throw error }
    }
}

/// The storage of one callback and the task it wakes. It holds itself until the callback has come.
private final class FenceWaiter {
    private let continuation: CheckedContinuation<Void, Never>
    private let storage = UnsafeMutablePointer<unbind_fence_callback>.allocate(capacity: 1)

    init(_ continuation: CheckedContinuation<Void, Never>) {
        self.continuation = continuation
        storage.initialize(to: unbind_fence_callback())
    }

    deinit { storage.deallocate() }

    func attach(to fence: OpaquePointer) {
        let itself = Unmanaged.passRetained(self)
        let status = unbind_fence_add_callback(
            fence, storage,
            { _, data in
                guard let data else { return }
                Unmanaged<FenceWaiter>.fromOpaque(data).takeRetainedValue().continuation.resume()
            }, itself.toOpaque())
        guard status != 0 else { return }
        itself.release()
        continuation.resume()
    }
}
