// Memory behind the allocator hooks, with a balance: every piece comes back once, with the size it was asked for.

import CUnbind
import Glibc

/// Used by several threads at once; a pthread mutex, which sanitizers understand.
final class HookedMemory: @unchecked Sendable {
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private var sizes: [UnsafeMutableRawPointer: Int] = [:]
    private var complaints: [String] = []
    private var calls: UInt64 = 0
    /// Calls that succeed before some fail, and how many fail then.
    private var untilFailure = Int.max
    private var failuresLeft = 0
    private var failures = 0

    init() {
        lock = .allocate(capacity: 1)
        lock.initialize(to: pthread_mutex_t())
        pthread_mutex_init(lock, nil)
    }

    deinit {
        for memory in sizes.keys { free(memory) }
        pthread_mutex_destroy(lock)
        lock.deallocate()
    }

    private func locked<T>(_ body: () -> T) -> T {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        return body()
    }

    /// Nil if all is given back and nothing was wrong.
    var complaint: String? {
        locked {
            if let first = complaints.first { return first }
            if sizes.isEmpty { return nil }
            return "\(sizes.count) pieces of memory were not given back: sizes \(sizes.values.sorted().prefix(8))"
        }
    }

    var allocateCalls: UInt64 { locked { calls } }

    /// From now on so many calls succeed and the next so many fail, until `stopFailing`.
    func failAllocations(after successes: Int, count: Int) {
        locked { (untilFailure, failuresLeft, failures) = (successes, count, 0) }
    }

    /// The number of calls that have failed.
    @discardableResult
    func stopFailing() -> Int {
        locked {
            untilFailure = Int.max
            return failures
        }
    }

    private func mustFail() -> Bool {
        if untilFailure == Int.max { return false }
        if untilFailure > 0 {
            untilFailure -= 1
            return false
        }
        if failuresLeft == 0 { return false }
        failuresLeft -= 1
        failures += 1
        return true
    }

    private func allocate(_ size: Int, _ alignment: Int) -> UnsafeMutableRawPointer? {
        locked {
            calls += 1
            if alignment < 16 || alignment & (alignment - 1) != 0 { complaints.append("alignment \(alignment)") }
            if size == 0 { complaints.append("an allocation of 0 bytes") }
            if mustFail() { return nil }
            var memory: UnsafeMutableRawPointer?
            guard posix_memalign(&memory, alignment, max(size, 1)) == 0, let memory else { return nil }
            memset(memory, 0xa5, size)
            sizes[memory] = size
            return memory
        }
    }

    private func deallocate(_ memory: UnsafeMutableRawPointer?, _ size: Int) {
        locked {
            guard let memory, let known = sizes.removeValue(forKey: memory) else {
                complaints.append("memory was given back that is not outstanding")
                return
            }
            if known != size { complaints.append("\(known) bytes were given back as \(size)") }
            overwrite(memory, 0x5a, known)
            free(memory)
        }
    }

    func hooks() -> unbind_allocator {
        var hooks = unbind_allocator()
        hooks.struct_size = UInt32(MemoryLayout<unbind_allocator>.stride)
        hooks.user_data = Unmanaged.passUnretained(self).toOpaque()
        hooks.allocate = { data, size, alignment in
            Unmanaged<HookedMemory>.fromOpaque(data!).takeUnretainedValue().allocate(size, alignment)
        }
        hooks.deallocate = { data, memory, size in
            Unmanaged<HookedMemory>.fromOpaque(data!).takeUnretainedValue().deallocate(memory, size)
        }
        return hooks
    }
}

/// memset, but the compiler does not know, and so does not leave it out before a free.
let overwrite = unsafeBitCast(
    dlsym(nil, "memset"), to: (@convention(c) (UnsafeMutableRawPointer, Int32, Int) -> Void).self)

/// A struct of the header with its struct_size set: what the *_INIT macros are in C.
func makeHeaderStruct<T>(_ value: T) -> T {
    var value = value
    withUnsafeMutableBytes(of: &value) {
        $0.storeBytes(of: UInt32(MemoryLayout<T>.stride), as: UInt32.self)
    }
    return value
}

func deviceStats(_ device: OpaquePointer) -> unbind_device_stats {
    var stats = makeHeaderStruct(unbind_device_stats())
    _ = unbind_device_get_stats(device, &stats)
    return stats
}

/// All zero for a VM whose handle was dropped.
func spaceStats(_ space: OpaquePointer?) -> unbind_vm_stats {
    var stats = makeHeaderStruct(unbind_vm_stats())
    _ = unbind_vm_get_stats(space, &stats)
    return stats
}

/// The leaf entries of a VM, by the public walk; nil if the walk does not end or goes backwards.
func walkPages(_ space: OpaquePointer, from first: UInt64 = 0) -> [SimulationPage]? {
    var pages: [SimulationPage] = []
    var address = first
    var page = makeHeaderStruct(unbind_page())
    while unbind_vm_find_page(space, address, &page) == 0 {
        if page.address &+ page.size <= address { return nil }
        pages.append(
            SimulationPage(
                address: page.address, size: page.size, flags: page.flags, buffer: page.bo_id, offset: page.bo_offset))
        address = page.address &+ page.size
        if address >= 1 << 48 { break }
    }
    return pages
}
