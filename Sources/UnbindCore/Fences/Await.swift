// Await: one edge from a fence to whatever waits for it, with the reference that keeps the fence alive.
//
// Taken from a slab when a dependency is known, so that registering it later cannot fail: a VMA gets one for each piece
// of GPU work attached to it, and its unbind only has to hang them up.

typealias AwaitPointer = UnsafeMutablePointer<Await>

struct Await {
    /// First: a pointer to it is a pointer to the Await.
    var callback: FenceCallback
    /// What waits does so whatever the fence carries.
    var ignoresError = false

    /// A counted reference.
    @inline(__always)
    var fence: FencePointer { callback.fence.unsafelyUnwrapped }

    /// For the list of its owner, before it is armed and after it was called: the list of the fence uses the same link.
    @inline(__always)
    var next: AwaitPointer? {
        get { UnsafeMutableRawPointer(callback.next)?.assumingMemoryBound(to: Await.self) }
        set { callback.next = UnsafeMutableRawPointer(newValue)?.assumingMemoryBound(to: FenceCallback.self) }
    }

    init(fence: FencePointer, function: @escaping FenceCallback.Function, context: UnsafeMutableRawPointer?) {
        callback = FenceCallback(function: function, context: context)
        callback.fence = fence
    }
}

extension UnsafeMutablePointer where Pointee == Await {
    /// Hangs the callback on the fence. False if the fence has signalled: it will not be called.
    func arm() -> Bool {
        pointee.fence.add(UnsafeMutableRawPointer(self).assumingMemoryBound(to: FenceCallback.self))
    }

    /// What a fence that has signalled tells whatever waits.
    var error: Int32 { pointee.ignoresError ? 0 : pointee.fence.error }
}

extension UnsafeMutablePointer where Pointee == SlabCache {
    /// An edge from `fence` to something that is not known yet; retains the fence. Nil if there is no memory.
    func takeAwait(on fence: FencePointer, function: @escaping FenceCallback.Function) -> AwaitPointer? {
        guard let memory = take() else { return nil }
        let edge = memory.bindMemory(to: Await.self, capacity: 1)
        fence.retain()
        edge.initialize(to: Await(fence: fence, function: function, context: nil))
        return edge
    }

    /// Gives back an edge that is on no fence, with its reference.
    func give(_ edge: AwaitPointer) {
        let fence = edge.pointee.fence
        give(UnsafeMutableRawPointer(edge))
        fence.drop()
    }
}
