// RangeTracker: the fences that concern a range.

extension UnsafeMutablePointer where Pointee == RangeTracker {
    /// How many that overlap the range have not signalled.
    /// - Locking: held.
    func unfinishedCount(from start: UInt64, through last: UInt64) -> Int {
        var count = 0
        index.forEachOverlap(start: start, last: last) { node, _ in
            if !TrackedFencePointer(having: node).fence.isSignalled { count &+= 1 }
            return true
        }
        return count
    }

    /// Those fences, as often as they were inserted.
    /// - Failure: noMemory.
    /// - Locking: held.
    func unfinished(from start: UInt64, through last: UInt64) throws(Status) -> FenceList {
        let count = unfinishedCount(from: start, through: last)
        var list = try FenceList(memory: pointee.device.pointee.memory, capacity: count)
        index.forEachOverlap(start: start, last: last) { node, _ in
            let fence = TrackedFencePointer(having: node).fence
            // None that has signalled comes back: there are at most as many as were counted.
            if !fence.isSignalled { list.append(retaining: fence) }
            return true
        }
        return list
    }

    private func collect(from start: UInt64, through last: UInt64) throws(Status) -> FenceList {
        let completed = enter()
        defer { leave(completed) }
        return try unfinished(from: start, through: last)
    }

    /// The fences to wait for: each once, and the latest of each context.
    /// - Failure: noMemory.
    func fences(from start: UInt64, through last: UInt64) throws(Status) -> FenceList {
        var list = try collect(from: start, through: last)
        list.removeSignalled()
        list.sortByContext()
        list.removeSuperseded()
        return list
    }

    /// One for all of them, with a reference; one that has signalled if there are none.
    /// - Failure: closed, noMemory.
    func mergedFence(from start: UInt64, through last: UInt64) throws(Status) -> FencePointer {
        try pointee.device.checkOpen()
        var list = try collect(from: start, through: last)
        return try pointee.device.merge(&list)
    }

    /// How many are in it that have not signalled.
    var unfinishedCount: Int {
        let completed = enter()
        let count = unfinishedCount(from: 0, through: .max)
        leave(completed)
        return count
    }

    /// For tests.
    func checkInvariants() {
        let completed = enter()
        index.checkInvariants()
        leave(completed)
    }
}
