// CallerCallback: a C program's callback on a fence, in the storage that the program provides (struct
// unbind_fence_callback), so that adding one allocates nothing.

/// How the C header declares it, with the fence as an opaque pointer.
typealias CallerCallbackFunction =
    @convention(c) (_ fence: OpaquePointer?, _ userData: UnsafeMutableRawPointer?) -> Void

struct CallerCallback {
    /// First: a pointer to it is a pointer to the CallerCallback. Its context is the caller's user data.
    var callback: FenceCallback
    let function: CallerCallbackFunction
    /// The one it is on, or was.
    let fence: FencePointer
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// False if the fence has signalled: the callback will not be called. It keeps the fence until it was called or is
    /// removed: one that the caller drops unsignalled is cancelled when its device closes.
    func addCaller(
        storage: UnsafeMutableRawPointer, function: @escaping CallerCallbackFunction, userData: UnsafeMutableRawPointer?
    ) -> Bool {
        if isSignalled { return false }
        let callback = storage.bindMemory(to: CallerCallback.self, capacity: 1)
        callback.initialize(
            to: CallerCallback(
                callback: FenceCallback(function: callCaller, context: userData), function: function, fence: self))
        retain()
        if add(storage.assumingMemoryBound(to: FenceCallback.self)) { return true }
        drop()
        return false
    }

    /// False if it was called, is being called or is not on this fence. The caller has a reference to the fence.
    func removeCaller(storage: UnsafeMutableRawPointer) -> Bool {
        let callback = storage.assumingMemoryBound(to: CallerCallback.self)
        if !remove(storage.assumingMemoryBound(to: FenceCallback.self), if: { callback.pointee.fence == self }) {
            return false
        }
        drop()
        return true
    }
}

private func callCaller(_ storage: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    // Copied first: the storage is the caller's again as soon as its function begins.
    let callback = storage.assumingMemoryBound(to: CallerCallback.self).pointee
    let fence = fence.assumingMemoryBound(to: Fence.self)
    fence.device.callingBack {
        SignallingSection.suspended { callback.function(OpaquePointer(fence), callback.callback.context) }
    }
    fence.drop()
}
