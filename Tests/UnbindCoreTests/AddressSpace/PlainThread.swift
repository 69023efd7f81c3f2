// A plain thread for tests, and a place where it leaves its result.

import Glibc

final class PlainThread: @unchecked Sendable {
    private var thread = pthread_t()
    private let body: () -> Void

    init(_ body: @escaping () -> Void) {
        self.body = body
        pthread_create(
            &thread, nil,
            { argument in
                // Threads of the test runner block most signals, and their children would too.
                var interrupts = sigset_t()
                sigemptyset(&interrupts)
                sigaddset(&interrupts, SIGUSR1)
                pthread_sigmask(SIG_UNBLOCK, &interrupts, nil)
                Unmanaged<PlainThread>.fromOpaque(argument!).takeRetainedValue().body()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
    }

    func join() { pthread_join(thread, nil) }

    /// Makes the thread's blocking calls return -EINTR.
    func interrupt() { pthread_kill(thread, SIGUSR1) }

    /// Installs a handler that does nothing, without SA_RESTART.
    static func ignoreInterrupts() {
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in }
        sigaction(SIGUSR1, &action, nil)
    }
}

final class SharedStatus: @unchecked Sendable {
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private var status: Int32?

    init() {
        lock = .allocate(capacity: 1)
        lock.initialize(to: pthread_mutex_t())
        pthread_mutex_init(lock, nil)
    }

    deinit {
        pthread_mutex_destroy(lock)
        lock.deallocate()
    }

    func set(_ value: Int32) {
        pthread_mutex_lock(lock)
        status = value
        pthread_mutex_unlock(lock)
    }

    func get() -> Int32? {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return status
    }
}
