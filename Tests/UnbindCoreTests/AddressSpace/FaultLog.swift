// FaultLog: the page faults of a test's device, from any thread.

import CUnbind
import Glibc

final class FaultLog: @unchecked Sendable {
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private var faults: [unbind_fault] = []

    init() {
        lock = .allocate(capacity: 1)
        lock.initialize(to: pthread_mutex_t())
        pthread_mutex_init(lock, nil)
    }

    deinit {
        pthread_mutex_destroy(lock)
        lock.deallocate()
    }

    var all: [unbind_fault] {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return faults
    }

    func install(in options: inout unbind_device_options) {
        options.fault_data = Unmanaged.passUnretained(self).toOpaque()
        options.fault = { data, fault in
            let log = Unmanaged<FaultLog>.fromOpaque(data!).takeUnretainedValue()
            pthread_mutex_lock(log.lock)
            log.faults.append(fault!.pointee)
            pthread_mutex_unlock(log.lock)
        }
    }
}
