// invariant(): what must hold whatever the caller does. Stays on in release builds, because a broken
// page table costs more than the compare; prints one line and aborts, because a Swift trap in an
// Embedded build is silent.

import CSystem

@inline(__always)
func invariant(_ condition: Bool, _ message: StaticString) {
    if !condition { panic(message) }
}

@inline(never)
func panic(_ message: StaticString) -> Never {
    csys_panic(UnsafeRawPointer(message.utf8Start).assumingMemoryBound(to: CChar.self), message.utf8CodeUnitCount)
}

/// For checks that cost more than a compare: whole-structure walks, lock ranks. On in the ordinary
/// (test) build in debug configuration only.
@inline(__always)
var expensiveChecks: Bool {
    #if DEBUG
        true
    #else
        false
    #endif
}
