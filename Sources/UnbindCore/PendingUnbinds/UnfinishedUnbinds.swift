// UnfinishedUnbinds: what a look-up for a bind found.
//
// The unbinds themselves are read as little as possible, because each is a cache miss: whether it covers the range says
// the index, and the order in which they were scheduled matters only if one does. So a bind that meets a few makes one
// pass over the index, and touches of each only the line that its fence is in, which it will hang itself on.
//
// - Locking: of the VM, for as long as it is used.

struct UnfinishedUnbinds {
    let range: ClosedRange<UInt64>
    private(set) var count = 0
    /// The first ones found, and a bit for each that covers the range.
    private var first: InlineArray<8, ResourcePointer?> = [nil, nil, nil, nil, nil, nil, nil, nil]
    private var firstCovering: UInt8 = 0
    /// Of those found after them that cover the range, the one scheduled last.
    private var latestOfOthers: ResourcePointer?
    private var anyCovers = false

    /// How many are remembered.
    static var capacity: Int { 8 }

    @inline(__always)
    init(range: ClosedRange<UInt64>) { self.range = range }

    @inline(__always)
    mutating func add(_ resource: ResourcePointer, covers: Bool) {
        if count < UnfinishedUnbinds.capacity {
            first[count] = resource
            if covers { firstCovering |= 1 &<< UInt8(count) }
        } else if covers, latestOfOthers == nil || resource.pointee.order > latestOfOthers!.pointee.order {
            latestOfOthers = resource
        }
        if covers { anyCovers = true }
        count &+= 1
    }

    /// One of those remembered.
    @inline(__always)
    subscript(place: Int) -> ResourcePointer { first[place].unsafelyUnwrapped }

    /// Those that were scheduled before this one need not be awaited, as it finishes after all of them: of those whose
    /// own range covers the whole the one scheduled last. Its place in the order; 0: there is none.
    ///
    /// What was bound there came after each of the earlier ones had been unbound, its bind waited for them, and its
    /// unbind waits for its bind. So a range that is bound again and again while the GPU stalls costs one edge each
    /// time, and not one for every unbind before; with smaller ranges in between, one more for each of these.
    @inline(__always)
    var firstToAwait: UInt64 { anyCovers ? findFirstToAwait() : 0 }

    private func findFirstToAwait() -> UInt64 {
        if count == 1 { return 0 }
        var latest = latestOfOthers?.pointee.order ?? 0
        for place in 0..<min(count, UnfinishedUnbinds.capacity) where firstCovering & (1 &<< UInt8(place)) != 0 {
            latest = max(latest, self[place].pointee.order)
        }
        return latest
    }
}
