// The lock of a VM, for tests of what does without it; apart, because the tests of the C functions do not see the core.

@testable import UnbindCore

enum VMLock {
    static func held<R>(of space: OpaquePointer, _ body: () -> R) -> R {
        let vm = VMPointer(space)
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        return body()
    }
}
