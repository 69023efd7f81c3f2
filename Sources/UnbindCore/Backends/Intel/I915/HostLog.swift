// HostLog: the host program's log, for a backend, which knows nothing of the device on top of it.

import CUnbind

struct HostLog: BitwiseCopyable {
    let function: unbind_log_fn?
    let data: UnsafeMutableRawPointer?

    /// - Locking: nothing may be held.
    func error(_ text: StaticString) { send(UNBIND_LOG_ERROR, text) }

    /// - Locking: nothing may be held.
    func warning(_ text: StaticString) { send(UNBIND_LOG_WARNING, text) }

    private func send(_ level: UInt32, _ text: StaticString) {
        guard let function else { return }
        LockOrder.assertNoneHeld("a callback was called with a lock held")
        let bytes = UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
        SignallingSection.suspended { function(data, level, bytes) }
    }
}
