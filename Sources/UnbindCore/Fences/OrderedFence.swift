// OrderedFence: a fence with a place among the others of its context (a queue's timeline).
//
// Most fences have none, least of all a million pending unbinds; so only those of a home that says so are made like
// this, and the others answer context 0: unordered.

struct OrderedFence: ~Copyable {
    /// First: a pointer to it is a pointer to the OrderedFence.
    fileprivate let fence: Fence
    /// 0: it has no place (yet).
    fileprivate var context: UInt64
    fileprivate var seqno: UInt64

    init(home: FenceHomePointer, context: UInt64 = 0, seqno: UInt64 = 0) {
        invariant(home.pointee.isOrdered, "a fence has a place that its home does not know of")
        fence = Fence(home: home)
        self.context = context
        self.seqno = seqno
    }
}

extension UnsafeMutablePointer where Pointee == Fence {
    private var ordered: UnsafeMutablePointer<OrderedFence> {
        UnsafeMutableRawPointer(self).assumingMemoryBound(to: OrderedFence.self)
    }

    /// 0: it is ordered with nothing.
    @inline(__always)
    var context: UInt64 { pointee.isOrdered ? ordered.pointee.context : 0 }

    /// Its place in its context.
    @inline(__always)
    var seqno: UInt64 { pointee.isOrdered ? ordered.pointee.seqno : 0 }

    /// Gives an ordered fence its place, before anybody else knows of it.
    func setPlace(context: UInt64, seqno: UInt64) {
        invariant(pointee.isOrdered, "a fence was given a place that it has no room for")
        ordered.pointee.context = context
        ordered.pointee.seqno = seqno
    }

    /// True if `other` is of the same timeline and not later: whoever waits for self need not wait for other.
    func supersedes(_ other: FencePointer) -> Bool {
        context != 0 && context == other.context && seqno >= other.seqno
    }
}
