// Merging fences into one that needs as few edges as possible (dma_fence_unwrap, drivers/dma-buf/dma-fence-unwrap.c).
//
// A fence made of others is replaced by those it waits for; signalled ones go; of the fences of one context the latest
// stays, which signals after the others.
//
// Looking inside is never needed for the result to be right, since an array or a point is a fence like any other: where
// it would take too much (arrays of arrays of arrays), they stay as they are.

extension UnsafeMutablePointer where Pointee == Device {
    /// A fence that has signalled, with a reference.
    var signalledFence: FencePointer {
        pointee.stubFence.retain()
        return pointee.stubFence
    }

    /// A fence that signals when all of the list have, with a reference: one of theirs, a new array, or one that has
    /// signalled.
    /// - Failure: noMemory.
    func merge(_ list: inout FenceList) throws(Status) -> FencePointer {
        var rounds = 0
        while true {
            // First, so that what is there twice is looked into once.
            list.removeSignalled()
            list.sortByContext()
            list.removeSuperseded()
            if rounds == FenceList.unwrapRounds { break }
            if !(try list.unwrap()) { break }
            rounds += 1
        }
        switch list.count {
        case 0: return signalledFence
        case 1:
            list.fences[0].retain()
            return list.fences[0]
        default: return try makeFenceArray(of: list.fences, count: list.count, signalsOnAny: false)
        }
    }
}

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// One fence for all that have not signalled at a usage, with a reference.
    /// - Failure: noMemory.
    func mergedFence(usage: FenceUsage) throws(Status) -> FencePointer {
        var list = try fences(usage: usage)
        return try pointee.device.merge(&list)
    }
}

extension FenceList {
    /// The most fences in the list, and how deep it is looked into them.
    private static var unwrapLimit: Int { 131_072 }
    fileprivate static var unwrapRounds: Int { 16 }

    /// Replaces every array that signals on all, and every point of a timeline, by the fences that it still waits for.
    /// False if there is none.
    /// - Failure: noMemory.
    mutating func unwrap() throws(Status) -> Bool {
        // Looked at: those before `next`; of them those before `kept` stay.
        let end = count
        var next = 0
        var kept = 0
        defer {
            while next < count {
                fences[kept] = fences[next]
                next += 1
                kept += 1
            }
            shorten(to: kept)
        }
        while next < end {
            let fence = fences[next]
            let isReplaced = try appendParts(of: fence)
            next += 1
            if isReplaced {
                fence.drop()
            } else {
                fences[kept] = fence
                kept += 1
            }
        }
        return kept < end
    }

    /// False if the fence is not made of others, or stays as it is.
    mutating func appendParts(of fence: FencePointer) throws(Status) -> Bool {
        switch fence.pointee.kind {
        case .plain, .timed, .imported: return false
        case .array:
            let array = UnsafeMutableRawPointer(fence).assumingMemoryBound(to: FenceArray.self)
            if array.pointee.signalsOnAny || count + array.pointee.count > Self.unwrapLimit { return false }
            try reserve(array.pointee.count)
            appended(array.copyMembers(to: fences + count))
            return true
        case .timelinePoint:
            let point = UnsafeMutableRawPointer(fence).assumingMemoryBound(to: TimelinePoint.self)
            let room = point.pendingCount
            if count + room > Self.unwrapLimit { return false }
            try reserve(room)
            let parts = point.copyAwaited(to: fences + count, limit: room)
            appended(parts)
            // With nothing to wait for it is about to signal, on another thread.
            return parts != 0 || fence.isSignalled
        }
    }

    mutating func removeSignalled() {
        var kept = 0
        for index in 0..<count {
            let fence = fences[index]
            if fence.isSignalled {
                fence.drop()
            } else {
                fences[kept] = fence
                kept += 1
            }
        }
        shorten(to: kept)
    }

    /// Of a sorted list: one of each context, the latest; of those without context, each once.
    mutating func removeSuperseded() {
        var kept = 0
        for index in 0..<count {
            let fence = fences[index]
            if kept > 0, fences[kept - 1] == fence || fences[kept - 1].supersedes(fence) {
                fence.drop()
            } else {
                fences[kept] = fence
                kept += 1
            }
        }
        shorten(to: kept)
    }

    /// By context, the latest first; those without context by address. Heapsort (Williams, 1964): in place, never slow.
    mutating func sortByContext() {
        var start = count / 2
        while start > 0 {
            start -= 1
            siftDown(from: start, end: count)
        }
        var end = count
        while end > 1 {
            end -= 1
            (fences[0], fences[end]) = (fences[end], fences[0])
            siftDown(from: 0, end: end)
        }
    }

    private func siftDown(from start: Int, end: Int) {
        var parent = start
        while true {
            var child = 2 * parent + 1
            if child >= end { return }
            if child + 1 < end, Self.precedes(fences[child], fences[child + 1]) { child += 1 }
            if !Self.precedes(fences[parent], fences[child]) { return }
            (fences[parent], fences[child]) = (fences[child], fences[parent])
            parent = child
        }
    }

    private static func precedes(_ first: FencePointer, _ second: FencePointer) -> Bool {
        let (one, other) = (first.context, second.context)
        if one != other { return one < other }
        if one != 0, first.seqno != second.seqno { return first.seqno > second.seqno }
        return first < second
    }
}
