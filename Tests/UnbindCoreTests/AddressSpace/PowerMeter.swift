// PowerMeter: the power callbacks of a test's device, with the balance of what they gave and got.

import CUnbind
import Glibc

/// Used by several threads at once.
final class PowerMeter: @unchecked Sendable {
    struct Counts: Equatable {
        var gets = 0
        /// Calls of get_if_in_use, and those of them that gave a reference.
        var asks = 0
        var granted = 0
        var puts = 0
    }

    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private var tally = Counts()
    private var problem: String?
    /// Nil: in use exactly while there are references.
    private let alwaysAnswers: Bool?
    /// Called in each callback, with its name.
    var onCall: ((String) -> Void)?

    init(alwaysAnswers: Bool? = nil) {
        self.alwaysAnswers = alwaysAnswers
        lock = .allocate(capacity: 1)
        lock.initialize(to: pthread_mutex_t())
        pthread_mutex_init(lock, nil)
    }

    deinit {
        pthread_mutex_destroy(lock)
        lock.deallocate()
    }

    private func locked<T>(_ body: () -> T) -> T {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body()
    }

    var counts: Counts { locked { tally } }
    var references: Int { locked { tally.gets + tally.granted - tally.puts } }
    /// The first put without a reference.
    var complaint: String? { locked { problem } }

    /// What a body of calls adds.
    func counting(_ body: () -> Void) -> Counts {
        let before = counts
        body()
        let after = counts
        return Counts(
            gets: after.gets - before.gets, asks: after.asks - before.asks, granted: after.granted - before.granted,
            puts: after.puts - before.puts)
    }

    private func get() {
        locked { tally.gets += 1 }
        onCall?("get")
    }

    private func ask() -> Int32 {
        let answer = locked {
            tally.asks += 1
            let isInUse = alwaysAnswers ?? (tally.gets + tally.granted > tally.puts)
            if isInUse { tally.granted += 1 }
            return isInUse
        }
        onCall?("get_if_in_use")
        return answer ? 7 : 0
    }

    private func put() {
        locked {
            tally.puts += 1
            if tally.puts > tally.gets + tally.granted { problem = "put number \(tally.puts) had no reference" }
        }
        onCall?("put")
    }

    func callbacks() -> unbind_power_callbacks {
        var callbacks = makeHeaderStruct(unbind_power_callbacks())
        callbacks.user_data = Unmanaged.passUnretained(self).toOpaque()
        callbacks.get = { Unmanaged<PowerMeter>.fromOpaque($0!).takeUnretainedValue().get() }
        callbacks.get_if_in_use = { Unmanaged<PowerMeter>.fromOpaque($0!).takeUnretainedValue().ask() }
        callbacks.put = { Unmanaged<PowerMeter>.fromOpaque($0!).takeUnretainedValue().put() }
        return callbacks
    }
}
