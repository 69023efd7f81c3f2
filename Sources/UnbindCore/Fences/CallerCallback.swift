// CallerCallback: a C program's callback on a fence, in the storage that the program provides (struct
// unbind_fence_callback), so that adding one allocates nothing.

/// How the C header declares it, with the fence as an opaque pointer.
typealias CallerCallbackFunction = @convention(c) (_ fence: OpaquePointer?, _ userData: UnsafeMutableRawPointer?) -> Void

struct CallerCallback {
    /// First: a pointer to it is a pointer to the CallerCallback. Its context is the caller's user data.
    var callback: FenceCallback
    let function: CallerCallbackFunction
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// False if the fence has signalled: the callback will not be called, the storage is as it was.
    func addCaller(
        storage: UnsafeMutableRawPointer, function: @escaping CallerCallbackFunction, userData: UnsafeMutableRawPointer?
    ) -> Bool {
        if isSignalled { return false }
        let callback = storage.bindMemory(to: CallerCallback.self, capacity: 1)
        callback.initialize(
            to: CallerCallback(
                callback: FenceCallback(function: callCaller, context: userData), function: function))
        // The fence stays until the callback is called or removed, even if the program drops all its references.
        retain()
        if add(storage.assumingMemoryBound(to: FenceCallback.self)) { return true }
        drop()
        return false
    }

    /// False if the callback was called, is being called, or is not on this fence.
    ///
    /// - Ownership: the caller holds a reference of its own.
    func removeCaller(storage: UnsafeMutableRawPointer) -> Bool {
        guard remove(storage.assumingMemoryBound(to: FenceCallback.self)) else { return false }
        drop()
        return true
    }
}

private func callCaller(_ storage: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    // Copied first: the storage is the caller's again as soon as its function begins.
    let callback = storage.assumingMemoryBound(to: CallerCallback.self).pointee
    SignallingSection.suspended { callback.function(OpaquePointer(fence), callback.callback.context) }
    // Not the last one: who signals a fence holds one, too.
    fence.assumingMemoryBound(to: Fence.self).drop()
}
