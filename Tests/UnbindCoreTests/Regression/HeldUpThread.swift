// A thread that can be stopped for a while at any instruction, for races whose window the scheduler rarely meets.

import Glibc

final class HeldUpThread: @unchecked Sendable {
    private var thread = pthread_t()
    private let body: () -> Void

    init(_ body: @escaping () -> Void) {
        self.body = body
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in usleep(100) }
        action.sa_flags = SA_RESTART
        sigaction(SIGUSR2, &action, nil)
        pthread_create(
            &thread, nil,
            { argument in
                var signals = sigset_t()
                sigemptyset(&signals)
                sigaddset(&signals, SIGUSR2)
                pthread_sigmask(SIG_UNBLOCK, &signals, nil)
                Unmanaged<HeldUpThread>.fromOpaque(argument!).takeRetainedValue().body()
                // Those that come later are for nobody.
                pthread_sigmask(SIG_BLOCK, &signals, nil)
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
    }

    /// Stops it for a tenth of a millisecond, wherever it is. Before join only.
    func holdUp() { pthread_kill(thread, SIGUSR2) }

    func join() { pthread_join(thread, nil) }
}
