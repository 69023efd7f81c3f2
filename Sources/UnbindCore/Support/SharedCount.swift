// SharedCount: the two counts of an object with a C handle.
//
// Handles are the caller's references (_ref, _unref); references keep the object, and all handles together hold one of
// them. So an object can do something when its user lets go of it (a bound VMA unbinds, a VM closes) and still live on
// for the work that uses it.

import Synchronization

struct SharedCount: ~Copyable {
    private let handles = Atomic<UInt32>(1)
    private let references = Atomic<UInt32>(1)

    init() {}

    func retainHandle() {
        let old = handles.wrappingAdd(1, ordering: .relaxed).oldValue
        invariant(old != 0, "_ref was called on an object whose last reference was dropped")
    }

    /// Another handle, unless the last one has been dropped already. The caller has a reference.
    func tryRetainHandle() -> Bool { handles.incrementUnlessZero() }

    /// True for the last handle; its reference is then the caller's to drop.
    func dropHandle() -> Bool {
        let old = handles.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue
        invariant(old != 0, "_unref was called more often than there were references")
        return old == 1
    }

    @inline(__always)
    func retain() { _ = references.wrappingAdd(1, ordering: .relaxed) }

    /// A reference, unless the last one has been dropped already.
    func tryRetain() -> Bool { references.incrementUnlessZero() }

    /// True for the last reference.
    @inline(__always)
    func drop() -> Bool { drop(1) }

    /// So many at once. True if the last reference was among them.
    @inline(__always)
    func drop(_ count: UInt32) -> Bool {
        references.wrappingSubtract(count, ordering: .acquiringAndReleasing).oldValue == count
    }

    /// The caller's reference is the only one; it stays so where nobody can take another meanwhile.
    @inline(__always)
    var isOnlyReference: Bool { references.load(ordering: .acquiring) == 1 }
}

extension Atomic where Value == UInt32 {
    /// For a count that found at 0 must stay there. False then.
    func incrementUnlessZero() -> Bool {
        var count = load(ordering: .relaxed)
        while count != 0 {
            let result = weakCompareExchange(expected: count, desired: count &+ 1, ordering: .acquiringAndReleasing)
            if result.exchanged { return true }
            count = result.original
        }
        return false
    }
}
