// The leaves of a fence: what it still waits for in the end, through any number of arrays and timelines
// (dma_fence_unwrap_for_each, drivers/dma-buf/dma-fence-unwrap.c).

extension UnsafeMutablePointer where Pointee == Fence {
    /// The fences that are not made of others, or signal with any of theirs, and that must signal before this one does;
    /// each once. A fence of very many parts may be given as it is.
    /// - Failure: noMemory.
    func leaves() throws(Status) -> FenceList {
        let memory = device.pointee.memory
        var leaves = try FenceList(memory: memory, capacity: 1)
        var frontier = try FenceList(memory: memory, capacity: 1)
        frontier.append(retaining: self)
        while frontier.count > 0 {
            frontier.removeSignalled()
            frontier.sortByContext()
            frontier.removeDuplicates()
            let end = frontier.count
            try leaves.reserve(end)
            for index in 0..<end {
                let fence = frontier.fences[index]
                if !(try frontier.appendParts(of: fence)) { leaves.append(retaining: fence) }
            }
            frontier.removeFirst(end)
        }
        leaves.sortByContext()
        leaves.removeDuplicates()
        return leaves
    }
}

extension FenceList {
    /// Of a sorted list.
    fileprivate mutating func removeDuplicates() {
        var kept = 0
        for index in 0..<count {
            let fence = fences[index]
            if kept > 0, fences[kept - 1] == fence {
                fence.drop()
            } else {
                fences[kept] = fence
                kept += 1
            }
        }
        shorten(to: kept)
    }

    fileprivate mutating func removeFirst(_ gone: Int) {
        for index in 0..<gone { fences[index].drop() }
        for index in gone..<count { fences[index - gone] = fences[index] }
        shorten(to: count - gone)
    }
}
