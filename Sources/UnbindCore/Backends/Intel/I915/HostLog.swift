// HostLog: the host program's log, for a backend, which knows nothing of the device on top of it.

import CUnbind

struct HostLog: BitwiseCopyable {
    let function: HostCallbacks.Log?
    let data: UnsafeMutableRawPointer?

    init(_ host: HostCallbacks) {
        function = host.log
        data = host.logData
    }

    /// Why something is refused.
    /// - Locking: nothing may be held.
    func error(_ text: StaticString) {
        guard let function else { return }
        LockOrder.assertNoneHeld("a callback was called with a lock held")
        let bytes = UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
        let data = data
        SignallingSection.suspended { function(data, UNBIND_LOG_ERROR, bytes) }
    }
}
