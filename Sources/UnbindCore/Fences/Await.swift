// Await: one edge from a fence to whatever waits for it, with the reference that keeps the fence alive.
//
// Taken from a slab when a dependency is known, so that registering it later cannot fail: a VMA gets one for each piece
// of GPU work attached to it, and its unbind only has to hang them up. Nothing but a callback, as there are as many as
// pending unbinds: until it is armed, its context is the fence; then, it is what waits, and the callback is told the
// fence.

typealias AwaitPointer = UnsafeMutablePointer<Await>

struct Await {
    /// First: a pointer to it is a pointer to the Await.
    fileprivate var callback: FenceCallback

    /// A counted reference. Only before it is armed.
    @inline(__always)
    var fence: FencePointer { callback.context.unsafelyUnwrapped.assumingMemoryBound(to: Fence.self) }

    /// What waits, for the callback.
    @inline(__always)
    var waiter: UnsafeMutableRawPointer { callback.context.unsafelyUnwrapped }

    /// For the list of its owner, before it is armed and after it was called: the list of the fence uses the same link.
    @inline(__always)
    var next: AwaitPointer? {
        get { UnsafeMutableRawPointer(callback.next)?.assumingMemoryBound(to: Await.self) }
        set { callback.next = UnsafeMutableRawPointer(newValue)?.assumingMemoryBound(to: FenceCallback.self) }
    }

    /// Takes over a reference to the fence.
    @inline(__always)
    init(fence: FencePointer, function: @escaping FenceCallback.Function) {
        callback = FenceCallback(function: function, context: UnsafeMutableRawPointer(fence))
    }
}

extension UnsafeMutablePointer where Pointee == Await {
    /// Hangs the callback on the fence, for `waiter`. False if the fence has signalled: it will not be called.
    @inline(__always)
    func arm(for waiter: UnsafeMutableRawPointer) -> Bool {
        let fence = pointee.fence
        pointee.callback.context = waiter
        if fence.add(UnsafeMutableRawPointer(self).assumingMemoryBound(to: FenceCallback.self)) { return true }
        pointee.callback.context = UnsafeMutableRawPointer(fence)
        return false
    }
}

extension UnsafeMutablePointer where Pointee == SlabCache {
    /// An edge from `fence` to something that is not known yet; retains the fence. Nil if there is no memory.
    @inline(__always)
    func takeAwait(on fence: FencePointer, function: @escaping FenceCallback.Function) -> AwaitPointer? {
        guard let memory = take() else { return nil }
        let edge = memory.bindMemory(to: Await.self, capacity: 1)
        fence.retain()
        edge.initialize(to: Await(fence: fence, function: function))
        return edge
    }

    /// The same for an owner of the fence: see Fence.retainByOwner.
    @inline(__always)
    func takeAwait(onOwned fence: FencePointer, function: @escaping FenceCallback.Function) -> AwaitPointer? {
        guard let memory = take() else { return nil }
        let edge = memory.bindMemory(to: Await.self, capacity: 1)
        fence.retainByOwner()
        edge.initialize(to: Await(fence: fence, function: function))
        return edge
    }

    /// Gives back an edge that was not armed, with its reference.
    func give(_ edge: AwaitPointer) { give(edge, on: edge.pointee.fence) }

    /// Gives back an edge that was on the fence, with its reference.
    @inline(__always)
    func give(_ edge: AwaitPointer, on fence: FencePointer) {
        give(UnsafeMutableRawPointer(edge))
        fence.drop()
    }
}
