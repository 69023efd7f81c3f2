// RangeBatch: the ranges of one update, gathered in order of addresses; neighbours that can be one range become one.
//
// Memory for the largest update there is, made with its VM, so that unbinding needs none. Whoever fills it owns it.

import CUnbind

typealias RangeBatchPointer = UnsafeMutablePointer<RangeBatch>

struct RangeBatch {
    /// The most ranges of any update.
    static var capacity: Int { 256 }

    fileprivate(set) var ranges: UnsafeMutablePointer<unbind_backend_range>
    fileprivate(set) var count = 0
    /// Of this update: at most `capacity`.
    var limit = RangeBatch.capacity
    /// Neighbours that show neighbouring parts of a buffer may become one map.
    let mergesMaps: Bool

    /// Where an addition began.
    struct Mark {
        fileprivate let count: Int
        fileprivate let lastSize: UInt64
    }
}

extension UnsafeMutablePointer where Pointee == RangeBatch {
    /// Nil if there is no memory.
    static func make(mergesMaps: Bool, memory: UnsafeMutablePointer<Memory>) -> RangeBatchPointer? {
        guard let batch = memory.allocateApart(of: RangeBatch.self) else { return nil }
        guard let ranges = memory.allocateArray(of: unbind_backend_range.self, count: RangeBatch.capacity) else {
            memory.deallocateApart(batch)
            return nil
        }
        batch.initialize(to: RangeBatch(ranges: ranges, mergesMaps: mergesMaps))
        return batch
    }

    func free(memory: UnsafeMutablePointer<Memory>) {
        memory.deallocateArray(pointee.ranges, count: RangeBatch.capacity)
        memory.deallocateApart(self)
    }

    var isEmpty: Bool { pointee.count == 0 }

    func removeAll() { pointee.count = 0 }

    /// Adds a range that lies behind all others. False, and nothing changes, if it is one too many.
    func add(_ range: unbind_backend_range) -> Bool {
        if pointee.count > 0 {
            let last = pointee.ranges + (pointee.count - 1)
            if isOne(last.pointee, range) {
                last.pointee.size = last.pointee.size &+ range.size
                return true
            }
        }
        if pointee.count >= pointee.limit { return false }
        (pointee.ranges + pointee.count).initialize(to: range)
        pointee.count = pointee.count &+ 1
        return true
    }

    /// What `undo` takes the batch back to.
    var mark: RangeBatch.Mark {
        RangeBatch.Mark(
            count: pointee.count, lastSize: pointee.count == 0 ? 0 : pointee.ranges[pointee.count - 1].size)
    }

    /// Takes back what was added since the mark.
    func undo(to mark: RangeBatch.Mark) {
        pointee.count = mark.count
        if mark.count > 0 { pointee.ranges[mark.count - 1].size = mark.lastSize }
    }

    private func isOne(_ first: unbind_backend_range, _ second: unbind_backend_range) -> Bool {
        if first.address &+ first.size != second.address || first.op != second.op { return false }
        if first.op == UNBIND_BACKEND_UNMAP { return true }
        return pointee.mergesMaps && first.flags == second.flags && first.bo == second.bo
            && first.cache_level == second.cache_level
            && (first.op == UNBIND_BACKEND_MAP_NULL || first.offset &+ first.size == second.offset)
    }
}

extension unbind_backend_range {
    static func unmap(_ binding: Binding) -> unbind_backend_range {
        var range = unbind_backend_range()
        range.op = UNBIND_BACKEND_UNMAP
        range.address = binding.start
        range.size = binding.size
        return range
    }

    /// `physical` of a backend's binding is where it is in the buffer.
    static func map(
        _ binding: Binding, of buffer: UnsafeMutableRawPointer?, _ mapping: MappingFlags = MappingFlags()
    ) -> unbind_backend_range {
        var range = unbind_backend_range()
        range.op = binding.isNull ? UNBIND_BACKEND_MAP_NULL : UNBIND_BACKEND_MAP
        // CAPTURE has the same value in both.
        range.flags = binding.isReadOnly ? UNBIND_BACKEND_READ_ONLY : 0
        range.flags |= mapping.flags & UNBIND_BACKEND_CAPTURE
        range.cache_level = mapping.cacheLevel
        range.address = binding.start
        range.size = binding.size
        if binding.isNull { return range }
        range.bo = buffer
        range.offset = binding.physical
        return range
    }
}
