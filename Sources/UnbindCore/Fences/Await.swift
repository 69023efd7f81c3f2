// Await: one edge from a fence to whatever waits for it, with the reference that keeps the fence alive, unless that is
// known to stay.
//
// Taken from a slab when a dependency is known, so that registering it later cannot fail: a VMA gets one for each piece
// of GPU work attached to it, and its unbind only has to hang them up. Nothing but a callback, as there are as many as
// pending unbinds: until it is armed, its context is the fence; then, it is what waits, and the callback is told the
// fence.

typealias AwaitPointer = UnsafeMutablePointer<Await>

struct Await {
    /// First: a pointer to it is a pointer to the Await.
    fileprivate var callback: FenceCallback

    /// Only before it is armed.
    @inline(__always)
    var fence: FencePointer {
        let bits = UInt(bitPattern: callback.context) & ~Await.borrowed
        return FencePointer(bitPattern: bits).unsafelyUnwrapped
    }

    /// It has no reference to the fence, which stays for another reason. Only before it is armed.
    @inline(__always)
    fileprivate var isBorrowed: Bool { UInt(bitPattern: callback.context) & Await.borrowed != 0 }

    /// In the context, beside the fence's address.
    private static var borrowed: UInt { 1 }

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

    /// Without a reference.
    @inline(__always)
    fileprivate init(borrowing fence: FencePointer, function: @escaping FenceCallback.Function) {
        callback = FenceCallback(
            function: function, context: UnsafeMutableRawPointer(bitPattern: UInt(bitPattern: fence) | Await.borrowed))
    }
}

extension UnsafeMutablePointer where Pointee == Await {
    /// Hangs the callback on the fence, for `waiter`. False if the fence has signalled: it will not be called.
    @inline(__always)
    func arm(for waiter: UnsafeMutableRawPointer) -> Bool {
        let (fence, context) = (pointee.fence, pointee.callback.context)
        pointee.callback.context = waiter
        if fence.add(UnsafeMutableRawPointer(self).assumingMemoryBound(to: FenceCallback.self)) { return true }
        pointee.callback.context = context
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

    /// The same without a reference to the fence, of which somebody else is known to have one until it has signalled,
    /// or else until the edge is given back; the function gives it back by `giveBorrowed`.
    @inline(__always)
    func takeAwait(borrowing fence: FencePointer, function: @escaping FenceCallback.Function) -> AwaitPointer? {
        guard let memory = take() else { return nil }
        let edge = memory.bindMemory(to: Await.self, capacity: 1)
        edge.initialize(to: Await(borrowing: fence, function: function))
        return edge
    }

    /// Gives back an edge that was not armed, with its reference if it has one.
    func give(_ edge: AwaitPointer) {
        if edge.pointee.isBorrowed { giveBorrowed(edge) } else { give(edge, on: edge.pointee.fence) }
    }

    /// Gives back an edge without a reference.
    @inline(__always)
    func giveBorrowed(_ edge: AwaitPointer) { give(UnsafeMutableRawPointer(edge)) }

    /// Gives back an edge that was on the fence, with its reference.
    @inline(__always)
    func give(_ edge: AwaitPointer, on fence: FencePointer) {
        give(UnsafeMutableRawPointer(edge))
        fence.drop()
    }
}
