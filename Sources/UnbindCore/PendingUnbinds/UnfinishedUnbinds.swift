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
    /// Of those found after them, the one scheduled last.
    private var latestOfOthers: ResourcePointer?
    private var latestOfOthersCovers = false
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
        } else if latestOfOthers == nil || resource.pointee.order > latestOfOthers!.pointee.order {
            latestOfOthers = resource
            latestOfOthersCovers = covers
        }
        if covers { anyCovers = true }
        count &+= 1
    }

    /// One of those remembered.
    @inline(__always)
    subscript(place: Int) -> ResourcePointer { first[place].unsafelyUnwrapped }

    /// The one that is sure to finish last, if there is such a one.
    ///
    /// That is the one scheduled last, if its own range covers the whole: what was bound there came after each of the
    /// others had been unbound, its bind waited for them, and its unbind waits for its bind. So a range that is bound
    /// again and again while the GPU stalls costs one edge each time, and not one for every unbind before.
    @inline(__always)
    var lastOfAll: ResourcePointer? {
        if !anyCovers { return nil }
        return count == 1 ? self[0] : findLastOfAll()
    }

    private func findLastOfAll() -> ResourcePointer? {
        var latest = latestOfOthers
        var latestCovers = latestOfOthersCovers
        for place in 0..<min(count, UnfinishedUnbinds.capacity)
        where latest == nil || self[place].pointee.order > latest!.pointee.order {
            latest = self[place]
            latestCovers = firstCovering & (1 &<< UInt8(place)) != 0
        }
        return latestCovers ? latest : nil
    }
}
