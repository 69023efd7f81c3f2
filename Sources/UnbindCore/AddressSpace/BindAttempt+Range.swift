// Where a try at binding puts the VMA, and how it takes that range from those who have to make way.

extension BindAttempt {
    // MARK: The range

    /// The start of the node. If somebody has to make way for it, it is not taken yet.
    mutating func takeRange() throws(Status) -> UInt64 {
        do throws(Status) {
            if let address = request.fixedAddress {
                try vm.pointee.ranges.reserve(
                    vma.node, start: address &- request.guardSize, size: request.nodeSize, color: request.color)
            } else if request.avoidsPending {
                try placeAwayFromPendingUnbinds()
            } else {
                try place(from: request.lowest, to: request.limit)
            }
        } catch {
            if error != .noSpace || request.eviction == .none { throw error }
            return try eviction.makeRoom(for: request, moving: nil)
        }
        return vma.node.pointee.start
    }

    /// A range that nobody has to be waited for, if a few tries find one: the first free range is often one that was
    /// freed a moment ago and that the GPU still uses.
    private mutating func placeAwayFromPendingUnbinds() throws(Status) {
        var from = request.lowest
        var to = request.limit
        for attempt in 0..<BindAttempt.quietRangeTries {
            do throws(Status) {
                try place(from: from, to: to)
            } catch {
                if attempt == 0 { throw error }
                break
            }
            let node = vma.node.pointee
            let range = searchedRange(around: node.start...(node.end &- 1), of: makeBinding(at: node.start))
            guard let unbind = vm.pointee.pending.firstUnfinished(overlapping: range) else { return }
            vm.pointee.ranges.remove(vma.node)
            if request.isHigh {
                to = unbind.blockedRange.lowerBound
            } else {
                from = unbind.blockedRange.upperBound &+ 1
            }
            if from > to { break }
        }
        try place(from: request.lowest, to: request.limit)
    }

    private static var quietRangeTries: Int { 8 }

    private mutating func place(from: UInt64, to: UInt64) throws(Status) {
        if from > to { throw Status.noSpace }
        try vm.pointee.ranges.insert(
            vma.node, size: request.nodeSize, alignment: request.placementAlignment, color: request.color,
            placement: request.isHigh ? .high : .low, from: from, to: to)
    }

    mutating func makeBinding(at nodeStart: UInt64) -> Binding {
        Binding(
            start: nodeStart &+ request.placedGuard, size: vma.size, physical: pages.pointee.physical,
            isLocal: pages.pointee.isLocal, isReadOnly: request.isReadOnly)
    }

    // MARK: Those who make way

    /// An edge from the unbind of each that is in the way; whoever waits waits for their GPU work instead.
    /// - Failure: noMemory; nobody has been touched then.
    mutating func awaitEvicted(_ searched: ClosedRange<UInt64>) throws(Status) {
        if reaction == .wait, let user = eviction.firstBlocker() {
            blocker = user
            return
        }
        let awaitsAll = vm.pointee.options.policy == .timeline || vm.pointee.backendSpace?.canAlias == false
        let searched = awaitsAll ? 0...UInt64.max : searched
        for index in 0..<eviction.count {
            guard let fence = eviction.unbindFence(index, inTheWayOf: searched) else { continue }
            guard let edge = device.cache(.await).takeAwait(on: fence, function: bindAwaitFired) else {
                throw Status.noMemory
            }
            edge.pointee.next = edges
            edges = edge
            evictedEdges += 1
        }
        if edges == nil || workMemory != nil { return }
        workMemory = try take(.bindWork)
        bindUserMemory = try take(.await)
    }

    /// Takes the range from those who make way for it.
    mutating func evict(_ start: UInt64) {
        eviction.schedule()
        var next = edges
        edges = nil
        while let edge = next {
            next = edge.pointee.next
            // What was cleared on the spot is nothing to wait for.
            if eviction.isCleared(edge.pointee.fence) {
                device.free(edge)
                evictedEdges -= 1
            } else {
                edge.pointee.next = edges
                edges = edge
            }
        }
        do throws(Status) {
            try vm.pointee.ranges.reserve(vma.node, start: start, size: request.nodeSize, color: request.color)
        } catch {
            panic("an eviction did not make room")
        }
    }
}
