import CSystem
import Glibc
import Testing

@testable import UnbindCore

/// Memory for a test, with a count of what is outstanding and an allocation that can be made to fail.
final class TestMemory {
    let pointer: UnsafeMutablePointer<Memory>

    init() {
        pointer = .allocate(capacity: 1)
        pointer.initialize(to: Memory())
    }

    deinit {
        precondition(pointer.pointee.bytes.load(ordering: .relaxed) == 0, "the test leaked memory")
        pointer.deinitialize(count: 1)
        pointer.deallocate()
    }
}

/// Under a sanitizer everything takes many times as long: what is run often for chance's sake is run less often there.
let isSanitized = dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil
