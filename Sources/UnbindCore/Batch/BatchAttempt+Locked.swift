// A batch under the VM's lock: the rest of what can fail, then the change itself.

import Synchronization

extension BatchAttempt {
    /// - Failure: closed, busy, invalid, noMemory. Nothing has changed then.
    mutating func change() throws(Status) {
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        if vm.isClosed { throw Status.closed }
        try checkRanges()
        vm.pointee.pending.reap()
        if request.mode == .deferToIdle {
            var status: Status?
            vm.forEachLastJob { fence in
                if status != nil { return }
                do throws(Status) { try awaitAtStart(fence) } catch { status = error }
            }
            if let status { throw status }
        }
        for index in 0..<plan.touched.count { try reserve(plan.touched.elements + index) }
        try reserveRuns()
        for index in 0..<plan.new.count { try reserve(plan.new.elements + index) }
        var insertions = plan.new.count
        for index in 0..<plan.pieces.count where plan.pieces.elements[index].isLeft { insertions += 1 }
        if insertions > 0 { try vm.pointee.ranges.reserveInsertions(insertions) }
        try reserveOutEdges()
        try signals.add()
        commit()
        if insertions > 0 { vm.pointee.ranges.endInsertions() }
    }

    /// VMAs of others may have come since.
    private func checkRanges() throws(Status) {
        var index = 0
        while index < plan.new.count {
            // Neighbours at once.
            let start = plan.new.elements[index].start
            var end = start
            while index < plan.new.count, plan.new.elements[index].start == end {
                end = plan.new.elements[index].end
                index += 1
            }
            var nodes = vm.pointee.ranges.nodes(from: start, to: end)
            while let node = nodes.nextNode() {
                if !VMAPointer(containing: node).isMapping { throw Status.busy }
            }
        }
        for index in 0..<plan.touched.count {
            if plan.touched.elements[index].isSplit, plan.touched.elements[index].resource.isHeld { throw Status.busy }
        }
    }

    // MARK: What can fail

    private mutating func reserve(_ touched: UnsafeMutablePointer<TouchedMapping>) throws(Status) {
        let pieces = plan.pieces.elements + touched.pointee.firstPiece
        if !touched.pointee.isSplit {
            try addStartEdge(to: &pieces.pointee.edges)
            pieces.pointee.resource = touched.pointee.resource
            return
        }
        let whole = touched.pointee.resource
        let bindFence = touched.pointee.vma.pointee.bindFence
        let isDeferred = bindFence.map { !$0.isSignalled } ?? false
        touched.pointee.isDeferred = isDeferred
        let memory = device.pointee.memory
        guard let split = MappingSplitPointer.makeMemory(memory, count: touched.pointee.pieceCount) else {
            throw Status.noMemory
        }
        touched.pointee.splitMemory = split
        if isDeferred {
            touched.pointee.workMemory = try take(.bindWork)
            touched.pointee.bindEdge = try device.makeAwait(on: bindFence!, function: bindAwaitFired)
        }
        let content = touched.pointee.vma.mapping!
        // The buffer does not move while it is mapped.
        let pages = content.bo.pages
        for index in 0..<touched.pointee.pieceCount {
            let piece = pieces + index
            let part = content.advanced(by: piece.pointee.start &- whole.pointee.binding.start)
            piece.pointee.resource = try vm.makeMappingResource(
                part, pages, start: piece.pointee.start, end: piece.pointee.end)
            try vm.reserveRoom(of: piece.pointee.resource!, &piece.pointee.hasTables, &piece.pointee.hasIndexSlot)
            if isDeferred { piece.pointee.splitUser = try take(.await) }
            if !piece.pointee.isLeft { try addStartEdge(to: &piece.pointee.edges) }
        }
    }

    private mutating func reserve(_ new: UnsafeMutablePointer<NewMapping>) throws(Status) {
        let range = new.pointee.start...(new.pointee.end &- 1)
        new.pointee.resource = try vm.makeMappingResource(
            new.pointee.content, new.pointee.content.bo.pages, start: new.pointee.start, end: new.pointee.end)
        try vm.reserveRoom(of: new.pointee.resource!, &new.pointee.hasTables, &new.pointee.hasIndexSlot)
        try awaitUnbinds(in: range, new)
        if let start { try add(bindEdgeOn: start.fence, to: &new.pointee.edges) }
        if new.pointee.edges == nil, new.pointee.pieceEdges == nil, vm.pointee.backendSpace == nil { return }
        new.pointee.workMemory = try take(.bindWork)
        new.pointee.bindUser = try take(.await)
    }

    /// What the VM's policy says to wait for: unbinds that are pending, and those that this batch is about to schedule.
    private func awaitUnbinds(in range: ClosedRange<UInt64>, _ new: UnsafeMutablePointer<NewMapping>) throws(Status) {
        var status: Status?
        func depend(on fence: FencePointer) {
            if status != nil { return }
            do throws(Status) { try add(bindEdgeOn: fence, to: &new.pointee.edges) } catch { status = error }
        }
        let isTimeline = vm.pointee.options.policy == .timeline
        let unbinds = vm.pointee.pending.unfinished(in: range)
        let overlapping = UInt64(unbinds.count)
        if isTimeline {
            if let last = vm.pointee.pending.pointee.lastScheduled, !last.isSignalled {
                // It comes after all that are pending.
                new.pointee.awaited = UInt64(max(0, vm.pointee.pendingCount.load(ordering: .relaxed)))
                new.pointee.awaitedNotOverlapping = new.pointee.awaited.subtractingSaturating(overlapping)
                depend(on: last)
            }
        } else {
            new.pointee.awaited = overlapping
            vm.pointee.pending.forEachToAwait(of: unbinds) { depend(on: $0.fence) }
        }
        var index = isTimeline ? 0 : firstPiece(endingAfter: range.lowerBound)
        while index < plan.pieces.count, isTimeline || plan.pieces.elements[index].start <= range.upperBound {
            let piece = plan.pieces.elements + index
            index += 1
            if piece.pointee.isLeft { continue }
            if status != nil { continue }
            do throws(Status) {
                try add(bindEdgeOn: piece.pointee.resource!.fence, to: &new.pointee.pieceEdges)
                new.pointee.pieceEnd = index
            } catch {
                status = error
            }
        }
        if let status { throw status }
    }

    /// The pieces are in order of addresses.
    private func firstPiece(endingAfter address: UInt64) -> Int {
        var (low, high) = (0, plan.pieces.count)
        while low < high {
            let middle = (low + high) / 2
            if plan.pieces.elements[middle].end > address { high = middle } else { low = middle + 1 }
        }
        return low
    }

    func take(_ kind: CacheKind) throws(Status) -> UnsafeMutableRawPointer {
        guard let memory = device.cache(kind).take() else { throw Status.noMemory }
        return memory
    }

    func addStartEdge(to edges: inout AwaitPointer?) throws(Status) {
        guard let start else { return }
        let edge = try device.makeAwait(on: start.fence, function: unbindAwaitFired)
        edge.pointee.next = edges
        edges = edge
    }

    /// One for each unbind, bind and split that may come, and for the start. Raw memory, in a list.
    private mutating func reserveOutEdges() throws(Status) {
        var needed = start == nil ? 0 : 1
        for index in 0..<plan.pieces.count where !plan.pieces.elements[index].isLeft { needed += 1 }
        for index in 0..<plan.new.count where plan.new.elements[index].workMemory != nil { needed += 1 }
        for index in 0..<plan.touched.count where plan.touched.elements[index].isDeferred { needed += 1 }
        for index in 0..<plan.runs.count where plan.runs.elements[index].resource != nil { needed += 1 }
        for _ in 0..<needed {
            let memory = try take(.await)
            memory.storeBytes(of: outMemory, as: UnsafeMutableRawPointer?.self)
            outMemory = memory
        }
    }

    // MARK: What cannot

    private mutating func commit() {
        isCommitted = true
        out!.begin()
        if let start {
            start.begin()
            while let edge = startEdges {
                startEdges = edge.pointee.next
                start.await(edge)
            }
            awaitInOut(start.fence)
        }
        var cleared = ClearedRange()
        for index in 0..<plan.touched.count { commit(plan.touched.elements + index, &cleared) }
        for index in 0..<plan.runs.count { commit(plan.runs.elements + index, &cleared) }
        if !cleared.isEmpty { vm.invalidateCleared(start: cleared.start, end: cleared.end) }
        for index in 0..<plan.new.count { commit(plan.new.elements + index) }
        for index in 0..<plan.new.count where plan.new.elements[index].isBound {
            let new = plan.new.elements + index
            new.pointee.mayMerge = vm.hasNeighbour(toMergeWith: new.pointee.vma!)
        }
        while let edge = outEdges {
            outEdges = edge.pointee.next
            out!.await(edge)
        }
        if let queue = request.queue {
            queue.pointee.last?.drop()
            out!.fence.retain()
            queue.pointee.last = out!.fence
        }
    }

    mutating func awaitInOut(_ fence: FencePointer) {
        let memory = outMemory!
        outMemory = memory.load(as: UnsafeMutableRawPointer?.self)
        fence.retain()
        let edge = memory.bindMemory(to: Await.self, capacity: 1)
        edge.initialize(to: Await(fence: fence, function: joinAwaitFired))
        out!.await(edge)
    }

    private mutating func commit(
        _ touched: UnsafeMutablePointer<TouchedMapping>, _ cleared: inout ClearedRange
    ) {
        let vma = touched.pointee.vma
        let resource = touched.pointee.resource
        let pieces = plan.pieces.elements + touched.pointee.firstPiece
        if !touched.pointee.isSplit {
            prepend(pieces.pointee.edges, to: &vma.pointee.users)
            pieces.pointee.edges = nil
            pieces.pointee.schedule = vma.scheduleUnbind(of: resource, leavesInvalidation: true)
            cleared.add(resource, pieces.pointee.schedule)
            awaitIfPending(resource, pieces.pointee.schedule)
            return
        }
        vm.detach(vma)
        startSplit(touched)
        for index in 0..<touched.pointee.pieceCount where !pieces[index].isLeft {
            let piece = pieces + index
            let edges = piece.pointee.edges
            piece.pointee.edges = nil
            let resource = piece.pointee.resource!
            piece.pointee.schedule = resource.schedule(
                awaiting: edges, range: piece.pointee.start...(piece.pointee.end &- 1), leavesInvalidation: true
            ) {}
            cleared.add(resource, piece.pointee.schedule)
            awaitIfPending(resource, piece.pointee.schedule)
        }
    }

    func prepend(_ edges: AwaitPointer?, to list: inout AwaitPointer?) {
        guard let edges else { return }
        edges.pointee.next = list
        list = edges
    }

    mutating func awaitIfPending(_ resource: ResourcePointer, _ schedule: UnbindSchedule) {
        if case .atOnce = schedule { return }
        awaitInOut(resource.fence)
    }

    /// Gives what is left its ranges, and divides the entries, now or when they are there.
    private mutating func startSplit(_ touched: UnsafeMutablePointer<TouchedMapping>) {
        let pieces = plan.pieces.elements + touched.pointee.firstPiece
        let count = touched.pointee.pieceCount
        let split = touched.pointee.splitMemory!.bindMemory(to: MappingSplit.self, capacity: 1)
        touched.pointee.splitMemory = nil
        // The VMA's reference; that of this attempt is another one.
        split.initialize(to: MappingSplit(whole: touched.pointee.resource, count: count))
        for index in 0..<count {
            let resource = pieces[index].resource!
            resource.fence.retain()
            if let stream = vm.pointee.stream {
                stream.recordBind(resource, isPending: touched.pointee.isDeferred, isInternal: true)
            }
            (split.pieces + index).initialize(to: MappingSplit.Piece(resource: resource, isLeft: pieces[index].isLeft))
        }
        if !touched.pointee.isDeferred {
            for index in 0..<count where pieces[index].isLeft {
                vm.install(pieces[index].vma!, pieces[index].resource!, isBound: true)
            }
            touched.pointee.resource.splitEntries(into: split.pieces, count: count)
            // The rest of it signals, and comes when no lock is held.
            touched.pointee.splitMemory = UnsafeMutableRawPointer(split)
            return
        }
        let work = BindWorkPointer.initialize(
            touched.pointee.workMemory!, vm: vm, resource: touched.pointee.resource, calledAt: device.now)
        touched.pointee.workMemory = nil
        work.pointee.split = split
        _ = vm.pointee.backendSpace?.pointee.splits.wrappingAdd(1, ordering: .relaxed)
        work.pointee.isSplit = true
        for index in 0..<count {
            let piece = pieces + index
            let user = piece.pointee.splitUser!.bindMemory(to: Await.self, capacity: 1)
            piece.pointee.splitUser = nil
            work.fence.retain()
            user.initialize(to: Await(fence: work.fence, function: unbindAwaitFired))
            if piece.pointee.isLeft {
                vm.install(piece.pointee.vma!, piece.pointee.resource!, isBound: false)
                user.pointee.next = nil
                piece.pointee.vma!.pointee.users = user
                work.fence.retain()
                piece.pointee.vma!.pointee.bindFence = work.fence
            } else {
                user.pointee.next = piece.pointee.edges
                piece.pointee.edges = user
            }
        }
        awaitInOut(work.fence)
        let edge = touched.pointee.bindEdge!
        touched.pointee.bindEdge = nil
        edge.pointee.next = nil
        work.await(edge)
    }

    private mutating func commit(_ new: UnsafeMutablePointer<NewMapping>) {
        let resource = new.pointee.resource!
        awaitPieces(new)
        let binding = resource.pointee.binding
        let vma = new.pointee.vma!
        let isForLater = new.pointee.edges != nil || vm.pointee.backendSpace != nil
        vm.install(vma, resource, isBound: !isForLater)
        if let stream = vm.pointee.stream { stream.recordBind(resource, isPending: isForLater) }
        let stats = vm.pointee.stats
        stats.pointee.binds = stats.pointee.binds &+ 1
        let history = vm.pointee.history
        let now = device.now
        history.record(
            .bindScheduled, start: binding.start, size: binding.size, boID: resource.pointee.boID, time: now)
        if !isForLater {
            entries &+= resource.writeEntries(binding)
            new.pointee.isBound = true
            history.record(.bound, start: binding.start, size: binding.size, boID: resource.pointee.boID, time: now)
            return
        }
        if new.pointee.awaited > 0 { stats.pointee.bindsWaited = stats.pointee.bindsWaited &+ 1 }
        stats.pointee.awaited = stats.pointee.awaited &+ new.pointee.awaited
        stats.pointee.awaitedNotOverlapping &+= new.pointee.awaitedNotOverlapping
        let work = BindWorkPointer.initialize(new.pointee.workMemory!, vm: vm, resource: resource, calledAt: now)
        new.pointee.workMemory = nil
        work.pointee.mapping = new.pointee.content.flags
        work.fence.retain()
        vma.pointee.bindFence = work.fence
        work.fence.retain()
        let user = new.pointee.bindUser!.bindMemory(to: Await.self, capacity: 1)
        new.pointee.bindUser = nil
        user.initialize(to: Await(fence: work.fence, function: unbindAwaitFired))
        vma.pointee.users = user
        awaitInOut(work.fence)
        let edges = new.pointee.edges
        new.pointee.edges = nil
        work.await(edges)
    }

    /// Of the edges to unbinds of this batch, those that are done need not be awaited. The last one is the first.
    private func awaitPieces(_ new: UnsafeMutablePointer<NewMapping>) {
        var index = new.pointee.pieceEnd
        while let edge = new.pointee.pieceEdges {
            index -= 1
            let piece = plan.pieces.elements[index]
            if piece.isLeft { continue }
            new.pointee.pieceEdges = edge.pointee.next
            switch piece.schedule {
            case .atOnce, .immediate: device.free(edge)
            case .ready, .deferred:
                edge.pointee.next = new.pointee.edges
                new.pointee.edges = edge
                new.pointee.awaited &+= 1
                if piece.start >= new.pointee.end || piece.end <= new.pointee.start {
                    new.pointee.awaitedNotOverlapping &+= 1
                }
            }
        }
    }
}

/// What a batch has cleared within the call: one TLB invalidation follows for all of it.
struct ClearedRange {
    private(set) var start = UInt64.max
    private(set) var end: UInt64 = 0

    var isEmpty: Bool { end == 0 }

    mutating func add(start: UInt64, end: UInt64) {
        self.start = min(self.start, start)
        self.end = max(self.end, end)
    }

    mutating func add(_ resource: ResourcePointer, _ schedule: UnbindSchedule) {
        switch schedule {
        case .atOnce, .immediate:
            add(start: resource.pointee.start, end: resource.pointee.start &+ resource.pointee.size)
        case .ready, .deferred: break
        }
    }
}

extension UnsafeMutablePointer where Pointee == BatchState {
    func mappingBegan() { _ = pointee.mappings.wrappingAdd(1, ordering: .relaxed) }
    func mappingEnded() { _ = pointee.mappings.wrappingSubtract(1, ordering: .relaxed) }
}
