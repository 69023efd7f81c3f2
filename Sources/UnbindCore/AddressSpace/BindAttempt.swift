// BindAttempt: one try at binding a VMA.
//
// Under the buffer's reservation and the VM's lock: take a range, look for pending unbinds in the way, reserve the
// page tables, and either write the entries at once or leave them to a BindWork that awaits those unbinds. Everything
// that the later unbind will need is reserved here. What a try that fails has taken goes back.

import Synchronization

/// The pending unbinds that a bind waits for.
struct BindDependencies {
    var awaited: UInt64 = 0
    /// Of them, those that overlap its range.
    var overlapping: UInt64 = 0
}

struct BindAttempt {
    /// What to do about a pending unbind in the way.
    enum Reaction {
        /// Leave the bind to a BindWork that awaits it.
        case await
        /// Give it back, to be waited for before the next try.
        case wait
    }

    enum Outcome {
        /// Bound; so many entries were written (0 if it was bound before).
        case done(entries: UInt64)
        /// The bind fence, with a reference.
        case underWay(FencePointer)
        /// Nothing was bound: wait for this unbind (a reference) and try again. With the reaction `await` only if
        /// there is no memory to await it.
        case blocked(FencePointer)
    }

    let vma: VMAPointer
    let vm: VMPointer
    let device: DevicePointer
    /// When an earlier try had to wait; 0 if none had.
    let calledAt: UInt64
    let reaction: Reaction
    /// By earlier tries.
    let waitedFor: BindDependencies
    /// Found by this one.
    var dependencies = BindDependencies()
    /// A BindWork goes on with it, and with the caller's power reference.
    private(set) var isLeftToWork = false

    // Taken and not yet used; what is left at the end goes back.
    private var resourceMemory: UnsafeMutableRawPointer?
    private var timelineAwait: UnsafeMutableRawPointer?
    private var workMemory: UnsafeMutableRawPointer?
    /// For the edge from the bind to a later unbind of it: made last, as the fence is the work's.
    private var bindUserMemory: UnsafeMutableRawPointer?
    /// Edges from the unbinds in the way.
    private var edges: AwaitPointer?
    private var blocker: FencePointer?

    init(vma: VMAPointer, calledAt: UInt64, reaction: Reaction, waitedFor: BindDependencies) {
        self.vma = vma
        vm = vma.pointee.vm
        device = vm.pointee.device
        self.calledAt = calledAt
        self.reaction = reaction
        self.waitedFor = waitedFor
    }

    mutating func run() throws(Status) -> Outcome {
        defer { freeUnused() }
        resourceMemory = try take(.resource)
        if vm.pointee.options.policy == .timeline { timelineAwait = try take(.await) }
        let reservation = vma.pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        defer { reservation.pointee.lock.release() }
        try reservation.reserve(1)
        var isBound = false
        defer { if !isBound { reservation.unreserve(1) } }
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }

        if vm.isClosed { throw Status.closed }
        if vma.pointee.bo.pointee.isLost.load(ordering: .relaxed) { throw Status.lost }
        vm.pointee.pending.reap()
        if vma.node.pointee.isAllocated { return outcomeWhenBound() }
        try takeRange()
        defer { if !isBound { vm.pointee.ranges.remove(vma.node) } }
        var binding = makeBinding()
        collectDependencies(of: binding)
        if let blocker { return .blocked(blocker) }
        if !vm.pointee.pending.reserve() { throw Status.noMemory }
        defer { if !isBound { vm.pointee.pending.unreserve() } }
        if edges == nil, !vm.pointee.options.hasTableModes {
            let placed = try vm.pointee.space.place(binding)
            isBound = true
            return installPlaced(binding, placed)
        }
        try vm.pointee.space.reserve(binding)
        isBound = true
        vm.decideTableModes(for: &binding)
        if edges == nil { return installPlaced(binding, vm.pointee.space.writeReserved(binding)) }
        return installReserved(binding)
    }

    private func take(_ kind: CacheKind) throws(Status) -> UnsafeMutableRawPointer {
        guard let memory = device.cache(kind).take() else { throw Status.noMemory }
        return memory
    }

    private func outcomeWhenBound() -> Outcome {
        if vma.lockedState == .binding, let fence = vma.pointee.bindFence {
            fence.retain()
            return .underWay(fence)
        }
        return .done(entries: 0)
    }

    // MARK: The range

    private func takeRange() throws(Status) {
        let options = vma.pointee.options
        if let address = options.fixedAddress {
            try vm.pointee.ranges.reserve(vma.node, start: address, size: vma.size, color: options.color)
        } else if options.avoidsPending {
            try placeAwayFromPendingUnbinds()
        } else {
            try place(from: 0, to: .max)
        }
    }

    /// A range that nobody has to be waited for, if a few tries find one: the first free range is often one that was
    /// freed a moment ago and that the GPU still uses.
    private func placeAwayFromPendingUnbinds() throws(Status) {
        var from: UInt64 = 0
        var to = UInt64.max
        for attempt in 0..<BindAttempt.quietRangeTries {
            do throws(Status) {
                try place(from: from, to: to)
            } catch {
                if attempt == 0 { throw error }
                break
            }
            guard let unbind = vm.pointee.pending.firstUnfinished(overlapping: searchedRange(of: makeBinding())) else {
                return
            }
            vm.pointee.ranges.remove(vma.node)
            if vma.pointee.options.isHigh {
                to = unbind.pointee.binding.start
            } else {
                from = unbind.pointee.binding.end
            }
        }
        try place(from: 0, to: .max)
    }

    private static var quietRangeTries: Int { 8 }

    private func place(from: UInt64, to: UInt64) throws(Status) {
        let options = vma.pointee.options
        let alignment = options.alignment != 0 ? options.alignment : naturalAlignment(vma.size)
        try vm.pointee.ranges.insert(
            vma.node, size: vma.size, alignment: max(alignment, vm.pointee.alignment), color: options.color,
            placement: options.isHigh ? .high : .low, from: from, to: to)
    }

    /// The largest page size of the VM that fits the buffer.
    private func naturalAlignment(_ size: UInt64) -> UInt64 {
        var alignment = vm.pointee.alignment
        var sizes = vm.pointee.options.pageSizes
        while sizes != 0 {
            let next = sizes & (~sizes &+ 1)
            if next <= size { alignment = next }
            sizes &= sizes &- 1
        }
        return alignment
    }

    private func makeBinding() -> Binding {
        let pages = vma.pointee.bo.pages
        return Binding(
            start: vma.node.pointee.start, size: vma.size, physical: pages.pointee.physical,
            isLocal: pages.pointee.isLocal, isReadOnly: vma.pointee.options.isReadOnly)
    }

    // MARK: Pending unbinds in the way

    /// Where pending unbinds are in the way of a binding: next to it too, if colors matter (P12), and in all of a page
    /// table whose mode changes (P9).
    private func searchedRange(of binding: Binding) -> ClosedRange<UInt64> {
        var range = binding.start...(binding.end &- 1)
        if vm.pointee.options.coloring {
            range = range.lowerBound.subtractingSaturating(pageSize)...range.upperBound.addingSaturating(pageSize)
        }
        return vm.roundedToTables(range, of: binding)
    }

    /// Finds what the VM's policy says to wait for, and an edge from each, or else `blocker`.
    private mutating func collectDependencies(of binding: Binding) {
        let isTimeline = vm.pointee.options.policy == .timeline
        let range = searchedRange(of: binding)
        let unbinds = vm.pointee.pending.unfinished(in: range)
        dependencies.overlapping = UInt64(unbinds.count)
        if !isTimeline {
            vm.pointee.pending.forEachToAwait(of: unbinds) { resource in depend(on: resource.fence) }
        }
        dependencies.awaited = dependencies.overlapping
        if isTimeline, let unbind = vm.pointee.pending.pointee.lastScheduled, !unbind.isSignalled {
            // It comes after all that are pending.
            dependencies.awaited = UInt64(max(0, vm.pointee.pendingCount.load(ordering: .relaxed)))
            depend(on: unbind)
        }
        // The pages themselves may still be on their way from where the buffer was.
        vma.pointee.bo.pointee.reservation.forEachUnsignalled(usage: .kernel) { move in
            depend(on: move)
        }
        if blocker == nil, let first = edges {
            workMemory = device.cache(.bindWork).take()
            bindUserMemory = device.cache(.await).take()
            if workMemory == nil || bindUserMemory == nil { block(on: first.pointee.fence) }
        }
    }

    private mutating func depend(on fence: FencePointer) {
        if blocker != nil { return }
        guard reaction == .await, let edge = device.cache(.await).takeAwait(on: fence, function: bindAwaitFired) else {
            block(on: fence)
            return
        }
        edge.pointee.next = edges
        edges = edge
    }

    private mutating func block(on unbind: FencePointer) {
        unbind.retain()
        blocker = unbind
    }

    // MARK: Success

    /// The entries are there. Nothing fails from here on.
    private mutating func installPlaced(_ binding: Binding, _ placed: SoftwareSpace.Placed) -> Outcome {
        let boID = vma.pointee.bo.pointee.id
        install(binding, boID: boID).pointee.writtenIn = placed.generation
        count(now: waitedFor.awaited > 0 ? device.now : 0)
        vm.pointee.history.record(
            .bound, start: binding.start, size: binding.size, boID: boID,
            time: device.pointee.executor.approximateNow, isApproximate: true)
        return .done(entries: placed.entries)
    }

    /// The entries will be written when what is in the way has gone. Nothing fails from here on.
    private mutating func installReserved(_ binding: Binding) -> Outcome {
        let boID = vma.pointee.bo.pointee.id
        let now = device.now
        let resource = install(binding, boID: boID)
        count(now: now)
        vm.pointee.history.record(.bindScheduled, start: binding.start, size: binding.size, boID: boID, time: now)
        return .underWay(startWork(resource, at: now))
    }

    private mutating func install(_ binding: Binding, boID: UInt64) -> ResourcePointer {
        let resource = ResourcePointer.initialize(
            resourceMemory!, vm: vm, pages: vma.pointee.bo.pages, binding: binding, boID: boID,
            timelineAwait: timelineAwait)
        resourceMemory = nil
        timelineAwait = nil
        vma.pointee.resource = resource
        vma.pointee.address.store(binding.start, ordering: .relaxed)
        vma.pointee.bo.pointee.boundCount = vma.pointee.bo.pointee.boundCount &+ 1
        return resource
    }

    private func count(now: UInt64) {
        let stats = vm.pointee.stats
        stats.pointee.binds &+= 1
        if waitedFor.awaited > 0 {
            _ = stats.pointee.bindWaitNanoseconds.wrappingAdd(now.subtractingSaturating(calledAt), ordering: .relaxed)
        }
        let awaited = waitedFor.awaited + dependencies.awaited
        if awaited == 0 { return }
        stats.pointee.bindsWaited &+= 1
        stats.pointee.awaited &+= awaited
        stats.pointee.awaitedNotOverlapping &+= awaited.subtractingSaturating(
            waitedFor.overlapping + dependencies.overlapping)
    }

    private mutating func startWork(_ resource: ResourcePointer, at now: UInt64) -> FencePointer {
        let work = BindWorkPointer.initialize(workMemory!, vm: vm, resource: resource, calledAt: now)
        workMemory = nil
        isLeftToWork = true
        // One reference is the VMA's, one the later unbind's edge, one the caller's; the first is the work's own.
        work.fence.retain()
        vma.pointee.bindFence = work.fence
        work.fence.retain()
        let user = bindUserMemory!.bindMemory(to: Await.self, capacity: 1)
        user.initialize(to: Await(fence: work.fence, function: unbindAwaitFired, context: nil))
        bindUserMemory = nil
        vma.addUser(user)
        work.fence.retain()
        var next = edges
        edges = nil
        while let edge = next {
            next = edge.pointee.next
            work.await(edge)
        }
        work.commit()
        return work.fence
    }

    private mutating func freeUnused() {
        if let memory = resourceMemory { device.cache(.resource).give(memory) }
        if let memory = timelineAwait { device.cache(.await).give(memory) }
        if let memory = workMemory { device.cache(.bindWork).give(memory) }
        if let memory = bindUserMemory { device.cache(.await).give(memory) }
        while let edge = edges {
            edges = edge.pointee.next
            device.free(edge)
        }
    }
}
