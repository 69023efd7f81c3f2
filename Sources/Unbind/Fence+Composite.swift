// Fences made of fences, and of times (<unbind/fence.h>).

import CUnbind

extension Fence {
    /// A fence that has signalled, at time 0 and without error.
    public static func signaled(of device: Device) throws(UnbindError) -> Fence {
        Fence(adopting: try UnbindError.make { unbind_fence_get_stub(device.handle, $0) }, of: device)
    }

    /// A fence that signals when all of `fences` have, with the first error among theirs. There must be at least one.
    public static func all(of fences: [Fence]) throws(UnbindError) -> Fence {
        try make(of: fences) { unbind_fence_array_create($0, $1, UNBIND_FENCE_ARRAY_ALL, $2) }
    }

    /// A fence that signals when the first of `fences` has, with that one's error. There must be at least one.
    public static func any(of fences: [Fence]) throws(UnbindError) -> Fence {
        try make(of: fences) { unbind_fence_array_create($0, $1, UNBIND_FENCE_ARRAY_ANY, $2) }
    }

    /// As `all`, of as few fences as possible: what has signalled or is superseded is left out, with its error.
    public static func merging(_ fences: [Fence]) throws(UnbindError) -> Fence {
        try make(of: fences) { unbind_fence_merge($0, $1, $2) }
    }

    private static func make(
        of fences: [Fence],
        _ body: (UnsafePointer<OpaquePointer?>, UInt32, UnsafeMutablePointer<OpaquePointer?>) -> Int32
    ) throws(UnbindError) -> Fence {
        guard let device = fences.first?.device else { throw .invalidArgument }
        let handles: [OpaquePointer?] = fences.map(\.handle)
        return try withExtendedLifetime(fences) { () throws(UnbindError) in
            Fence(adopting: try UnbindError.make { body(handles, UInt32(handles.count), $0) }, of: device)
        }
    }

    /// The fences that this one still waits for in the end, through arrays and timelines; each once.
    public func leaves() throws(UnbindError) -> [Fence] {
        try fenceList(of: device) { unbind_fence_get_leaves(handle, $0, $1, $2) }
    }

    // MARK: Time

    /// Makes a fence that signals by itself at a time of the device's clock, never early.
    public convenience init(of device: Device, at time: UInt64) throws(UnbindError) {
        self.init(
            adopting: try UnbindError.make { unbind_fence_create_timed(device.handle, time, $0) }, of: device)
    }

    /// A fence that follows this one, but signals with `.timedOut` if this one has not signalled by a time of the
    /// device's clock.
    public func withDeadline(_ time: UInt64) throws(UnbindError) -> Fence {
        Fence(adopting: try UnbindError.make { unbind_fence_create_deadline(handle, time, $0) }, of: device)
    }
}

/// What a C function gives that fills an array if there is room, and tells how many there are.
func fenceList(
    of device: Device,
    _ body: (UnsafeMutablePointer<OpaquePointer?>?, UInt32, UnsafeMutablePointer<UInt32>) -> Int32
) throws(UnbindError) -> [Fence] {
    var handles: [OpaquePointer?] = []
    while true {
        var count: UInt32 = 0
        let status = handles.withUnsafeMutableBufferPointer { body($0.baseAddress, UInt32($0.count), &count) }
        try UnbindError.check(status)
        if Int(count) <= handles.count {
            return handles.prefix(Int(count)).compactMap { $0.map { Fence(adopting: $0, of: device) } }
        }
        handles = Array(repeating: nil, count: Int(count))
    }
}
