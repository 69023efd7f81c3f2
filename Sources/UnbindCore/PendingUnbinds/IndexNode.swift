// IndexNode: a wide node of an interval index, 512 bytes, made for the cache.
//
// 30 slots of two words, all first words side by side and all second words. In a leaf a slot is an interval: the first
// word has the page it starts at, the second the page it ends at. In an inner node a slot is a child: the lowest page
// at which something in it may start, and the page at which the last of it ends. So one test, on all slots at once and
// without a branch, says which intervals overlap a range, and which children may hold such.
//
// The lower bits of the two words together are the address of what the slot stands for: an address of the GPU has 48
// bits, so its page leaves 26 below the sign bit, and two times 26 are an address of the host but for its lowest bits.
// Words compare like the pages in them.
//
// Slots of a leaf are in no order and stay where they are, so that who is in one can find it without a search. Those of
// an inner node are sorted, so that counting finds the child that an interval belongs to.

import CSystem

typealias IndexNodePointer = UnsafeMutablePointer<IndexNode>

struct IndexNode {
    /// Nil at the root. Of a free node: the next free one.
    var parent: IndexNodePointer?
    /// The page at which the last of all slots ends, as a word.
    var greatestLast: UInt64 = 0
    /// A bit for each used slot.
    var used: UInt32 = 0
    var count: UInt16 = 0
    /// 0: a leaf.
    var level: UInt16
    private let spare: UInt64 = 0
    // Two lines of 30 words follow: `starts`, `lasts`.

    init(level: UInt16) { self.level = level }

    static var slots: Int { 30 }
    /// Of every node but the root. Two such make one node, whatever is removed from either.
    static var leastSlots: Int { 15 }
    static var bytes: Int { 512 }
    static var alignment: Int { 64 }
    static var startsOffset: Int { MemoryLayout<IndexNode>.size }
    static var lastsOffset: Int { startsOffset + slots * 8 }
}

/// The two words of a slot.
struct IndexWords {
    var start: UInt64
    var last: UInt64

    static var pointerBits: UInt64 { 26 }
    static var onePage: UInt64 { 1 << pointerBits }
    static var pointerMask: UInt64 { (1 << pointerBits) - 1 }
    /// Of a host address: what is lost.
    static var alignmentBits: UInt64 { 3 }
    static var lastPage: UInt64 { (1 << 36) - 1 }
    /// A free slot: starts behind everything.
    static var free: IndexWords { IndexWords(start: UInt64(Int64.max), last: 0) }

    @inline(__always)
    static func word(page: UInt64) -> UInt64 { page &<< pointerBits }

    @inline(__always)
    static func page(_ word: UInt64) -> UInt64 { word &>> pointerBits }

    /// The word without the bits of the pointer.
    @inline(__always)
    static func place(_ word: UInt64) -> UInt64 { word & ~pointerMask }

    @inline(__always)
    init(start: UInt64, last: UInt64) {
        self.start = start
        self.last = last
    }

    @inline(__always)
    init(startPage: UInt64, lastPage: UInt64, of pointer: UnsafeMutableRawPointer) {
        let bits = UInt64(UInt(bitPattern: pointer)) &>> IndexWords.alignmentBits
        start = IndexWords.word(page: startPage) | (bits & IndexWords.pointerMask)
        last = IndexWords.word(page: lastPage) | (bits &>> IndexWords.pointerBits)
    }

    @inline(__always)
    var pointer: UnsafeMutableRawPointer {
        let bits = (last & IndexWords.pointerMask) &<< IndexWords.pointerBits | (start & IndexWords.pointerMask)
        return UnsafeMutableRawPointer(bitPattern: UInt(bits &<< IndexWords.alignmentBits)).unsafelyUnwrapped
    }
}

extension UnsafeMutablePointer where Pointee == IndexNode {
    @inline(__always)
    var starts: UnsafeMutablePointer<UInt64> {
        (UnsafeMutableRawPointer(self) + IndexNode.startsOffset).assumingMemoryBound(to: UInt64.self)
    }

    @inline(__always)
    var lasts: UnsafeMutablePointer<UInt64> {
        (UnsafeMutableRawPointer(self) + IndexNode.lastsOffset).assumingMemoryBound(to: UInt64.self)
    }

    @inline(__always)
    subscript(slot slot: Int) -> IndexWords {
        get { IndexWords(start: starts[slot], last: lasts[slot]) }
        nonmutating set {
            starts[slot] = newValue.start
            lasts[slot] = newValue.last
        }
    }

    var isLeaf: Bool { pointee.level == 0 }

    var count: Int { Int(pointee.count) }

    var isFull: Bool { pointee.count == IndexNode.slots }

    func initialize(level: UInt16) {
        initialize(to: IndexNode(level: level))
        for slot in 0..<IndexNode.slots { self[slot: slot] = .free }
    }

    // MARK: Searching

    /// A bit for each slot that starts before `below` and ends at `from` or later, both words without a pointer.
    @inline(__always)
    func overlaps(below: UInt64, from: UInt64) -> UInt32 { csys_overlaps_30(starts, lasts, below, from) }

    /// How many of the slots start before `below`, a word without a pointer.
    @inline(__always)
    func countStarting(below: UInt64) -> Int { Int(csys_count_below_30(starts, below)) }

    /// The greatest of the slots' ends, without a pointer.
    func computeGreatestLast() -> UInt64 {
        var greatest: UInt64 = 0
        for slot in 0..<IndexNode.slots { greatest = Swift.max(greatest, lasts[slot]) }
        return IndexWords.place(greatest)
    }

    // MARK: Leaves

    /// What is in a leaf's slot.
    @inline(__always)
    func interval(_ slot: Int) -> IntervalNodePointer {
        self[slot: slot].pointer.assumingMemoryBound(to: IntervalNode.self)
    }

    /// Puts an interval into a free slot, which there must be. True if it ends later than all others in the leaf.
    @inline(__always)
    @discardableResult
    func put(_ words: IndexWords) -> Bool {
        let slot = (~pointee.used).trailingZeroBitCount
        self[slot: slot] = words
        pointee.used |= 1 &<< UInt32(slot)
        pointee.count &+= 1
        words.pointer.assumingMemoryBound(to: IntervalNode.self).pointee.place = UInt(bitPattern: self) | UInt(slot)
        let last = IndexWords.place(words.last)
        if last <= pointee.greatestLast { return false }
        pointee.greatestLast = last
        return true
    }

    /// The greatest end must be made right afterwards.
    @inline(__always)
    func clear(_ slot: Int) {
        self[slot: slot] = .free
        pointee.used &= ~(1 &<< UInt32(slot))
        pointee.count &-= 1
    }

    // MARK: Inner nodes

    @inline(__always)
    func child(_ slot: Int) -> IndexNodePointer { self[slot: slot].pointer.assumingMemoryBound(to: IndexNode.self) }

    /// Where the child is.
    func slot(of child: IndexNodePointer) -> Int {
        let words = IndexWords(startPage: 0, lastPage: 0, of: UnsafeMutableRawPointer(child))
        for slot in 0..<count {
            let difference = (starts[slot] ^ words.start) | (lasts[slot] ^ words.last)
            if difference & IndexWords.pointerMask == 0 { return slot }
        }
        panic("a node of an interval index is not among its parent's children")
    }

    /// Of a child whose greatest end has changed.
    @inline(__always)
    func setLast(_ last: UInt64, at slot: Int) { lasts[slot] = last | (lasts[slot] & IndexWords.pointerMask) }

    func setStart(page: UInt64, at slot: Int) {
        starts[slot] = IndexWords.word(page: page) | (starts[slot] & IndexWords.pointerMask)
    }

    /// Inserts a child whose intervals start at `page` or later. There must be room.
    func insertChild(_ child: IndexNodePointer, at slot: Int, page: UInt64) {
        var place = count
        while place > slot {
            self[slot: place] = self[slot: place - 1]
            place -= 1
        }
        self[slot: slot] = IndexWords(
            startPage: page, lastPage: IndexWords.page(child.pointee.greatestLast), of: UnsafeMutableRawPointer(child))
        child.pointee.parent = self
        setCount(count + 1)
    }

    func removeChild(at slot: Int) {
        for place in slot..<(count - 1) { self[slot: place] = self[slot: place + 1] }
        self[slot: count - 1] = .free
        setCount(count - 1)
    }

    private func setCount(_ count: Int) {
        pointee.count = UInt16(count)
        pointee.used = 1 &<< UInt32(count) &- 1
    }
}
