// BindAttempt: one try at binding a VMA.
//
// Under the buffer's reservation and the VM's lock: take a range, look for pending unbinds in the way, reserve the
// page tables, and either write the entries at once or leave them to a BindWork that awaits those unbinds. Everything
// that the later unbind will need is reserved here. What a try that fails has taken goes back.
//
// When the range is somebody else's who has to make way (Eviction), or the VMA is bound elsewhere and moves, the range
// is only chosen at first: those unbinds are scheduled, and it is taken, when nothing can fail any more.

import Synchronization

/// The pending unbinds that a bind waits for.
struct BindDependencies {
    var awaited: UInt64 = 0
    /// Of them, those that overlap its range.
    var overlapping: UInt64 = 0
}

/// Its methods are all mutating: for another one the compiler copies the whole.
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
        /// Nothing was bound: try again with so many power references, for the unbinds of those who make way.
        case needsPower(Int)
    }

    let vma: VMAPointer
    let vm: VMPointer
    let device: DevicePointer
    let request: BindRequest
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
    var workMemory: UnsafeMutableRawPointer?
    /// For the edge from the bind to a later unbind of it: made last, as the fence is the work's.
    var bindUserMemory: UnsafeMutableRawPointer?
    /// Edges from the unbinds in the way.
    var edges: AwaitPointer?
    var blocker: FencePointer?
    /// The page list of a view, made for this binding.
    private var viewPages: PageListPointer?
    var eviction: Eviction
    /// Of the edges, those from unbinds of VMAs that make way.
    var evictedEdges: UInt64 = 0

    init(
        vma: VMAPointer, request: BindRequest, calledAt: UInt64, reaction: Reaction, waitedFor: BindDependencies,
        powerReferences: Int
    ) {
        self.vma = vma
        vm = vma.pointee.vm
        device = vm.pointee.device
        self.request = request
        eviction = Eviction(vm, powerReferences: powerReferences)
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
        let backend = vm.pointee.backendSpace
        if let backend { try backend.checkBind(of: vma, request) }
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }

        if vm.isClosed { throw Status.closed }
        if vma.pointee.bo.pointee.isLost.load(ordering: .relaxed) { throw Status.lost }
        let isMoving = vma.node.pointee.isAllocated
        if isMoving {
            if !vma.isMisplaced(for: request) { return try outcomeWhenBound() }
            if vma.pointee.pinCount != 0 { throw Status.busy }
            // A wait for the end of the old binding could last for ever, with everything changed by then.
            if reaction == .wait, let resource = vma.pointee.resource, resource.isHeld { throw Status.busy }
        }
        if let view = vma.pointee.view { viewPages = try pages.makeView(view.pointee) }
        // Here, because it reaps, and because from the first edge until all are armed nothing may be reaped.
        if !vm.pointee.pending.reserve() { throw Status.noMemory }
        defer { if !isBound { vm.pointee.pending.unreserve() } }
        let start = try isMoving ? eviction.makeRoom(for: request, moving: vma) : takeRange()
        defer { if !isBound, !isMoving, vma.node.pointee.isAllocated { vm.pointee.ranges.remove(vma.node) } }
        var binding = makeBinding(at: start)
        let range = start...(start &+ (request.nodeSize &- 1))
        let searched = searchedRange(around: range, of: binding)
        let modes = vm.tableModes(wantedBy: binding)
        defer { vm.pointee.pending.endLending() }
        collectDependencies(in: searched)
        if blocker == nil, eviction.count > 0 { try awaitEvicted(searched) }
        if let backend { try prepareWork(for: backend) }
        if let blocker { return .blocked(blocker) }
        if eviction.lacksPower { return .needsPower(eviction.count) }
        if eviction.count > 0 { try vm.pointee.ranges.reserveInsertion() }
        if edges == nil, vm.pointee.isPlain, eviction.count == 0, viewPages == nil {
            let placed = try vm.pointee.space.place(binding)
            isBound = true
            return installPlaced(binding, placed)
        }
        if let stream = vm.pointee.stream { try stream.reserve() }
        defer { if !isBound { vm.pointee.stream?.unreserve() } }
        try vm.reserveEntries(of: binding, pages)
        isBound = true
        if eviction.count > 0 { evict(start) }
        vm.decideTableModes(modes, for: &binding)
        return installReserved(binding)
    }

    mutating func take(_ kind: CacheKind) throws(Status) -> UnsafeMutableRawPointer {
        guard let memory = device.cache(kind).take() else { throw Status.noMemory }
        return memory
    }

    /// Those to be bound: the view's, or the buffer's own.
    var pages: PageListPointer { viewPages ?? vma.pointee.bo.pages }

    // MARK: Bound already

    /// Whoever waits waits for the present binding first, and looks again.
    private mutating func outcomeWhenBound() throws(Status) -> Outcome {
        let fence = vma.pointee.bindFence.flatMap { $0.isSignalled ? nil : $0 }
        if vm.pointee.backendSpace != nil, vma.hasFailed { throw Status(raw: vma.pointee.bindFence!.error) }
        if reaction == .wait, let fence {
            fence.retain()
            return .blocked(fence)
        }
        if request.pins, vma.pointee.pinCount == VMA.pinLimit { throw Status.again }
        let outcome: Outcome
        if vma.pointee.resource!.pointee.isReadOnly && !request.isReadOnly {
            outcome = try upgrade(after: fence)
        } else if let fence {
            fence.retain()
            outcome = .underWay(fence)
        } else {
            outcome = .done(entries: 0)
        }
        if request.pins { vma.pointee.pinCount = vma.pointee.pinCount &+ 1 }
        return outcome
    }

    /// Adds write access to the present binding, which keeps its resource, its address and all that awaits it.
    /// - Failure: noMemory; nothing has changed then.
    private mutating func upgrade(after bindFence: FencePointer?) throws(Status) -> Outcome {
        let resource = vma.pointee.resource!
        var binding = resource.pointee.binding
        binding.isReadOnly = false
        if vm.pointee.backendSpace != nil { throw Status.unsupported }
        if bindFence == nil && device.pointee.gpu.invalidationCost == 0 {
            resource.set(.isReadOnly, false)
            let entries = resource.upgradeEntries(to: binding)
            vm.invalidate(start: binding.start, size: binding.size)
            return .done(entries: entries)
        }
        workMemory = try take(.bindWork)
        bindUserMemory = try take(.await)
        if let bindFence {
            guard let edge = device.cache(.await).takeAwait(on: bindFence, function: bindAwaitFired) else {
                throw Status.noMemory
            }
            edge.pointee.next = edges
            edges = edge
        } else {
            resource.set(.isUpgraded)
        }
        resource.set(.isReadOnly, false)
        return .underWay(startWork(resource, at: device.now, isUpgrade: true))
    }

    // MARK: Pending unbinds in the way

    /// Where pending unbinds are in the way of a range: next to it too, if colors matter (P12), and in all of a page
    /// table whose mode changes (P9).
    mutating func searchedRange(around node: ClosedRange<UInt64>, of binding: Binding) -> ClosedRange<UInt64> {
        var range = node
        if vm.pointee.options.coloring {
            range = range.lowerBound.subtractingSaturating(pageSize)...range.upperBound.addingSaturating(pageSize)
        }
        if eviction.count > 0, vm.pointee.options.hasTableModes {
            // Those who make way have a say in the modes, and will have none.
            let first = roundDown(binding.start, to: PageSize.large)
            let last = (binding.end &- 1) | (PageSize.large &- 1)
            return Swift.min(range.lowerBound, first)...Swift.max(range.upperBound, last)
        }
        return vm.roundedToTables(range, of: binding)
    }

    /// Finds what the VM's policy says to wait for, and an edge from each, or else `blocker`.
    private mutating func collectDependencies(in range: ClosedRange<UInt64>) {
        let isTimeline = vm.pointee.options.policy == .timeline
        let unbinds = vm.pointee.pending.unfinished(in: range)
        dependencies.overlapping = UInt64(unbinds.count)
        if !isTimeline {
            vm.pointee.pending.forEachToAwait(of: unbinds) { resource in depend(on: resource) }
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

    /// What is published has a reference of its own until it is reaped: when its edge is armed, at the latest, it
    /// counts on that no more.
    private mutating func depend(on unbind: ResourcePointer) {
        if blocker != nil { return }
        let cache = device.cache(.await)
        vm.pointee.pending.lend()
        let edge = reaction == .await ? cache.takeAwait(borrowing: unbind.fence, function: bindUnbindEnded) : nil
        add(edge, on: unbind.fence)
    }

    /// Where the page tables are a backend's, every bind is left to a BindWork.
    @inline(never)
    private mutating func prepareWork(for backend: BackendSpacePointer) throws(Status) {
        if !backend.canAlias {
            // Of this buffer anywhere: it is never mapped twice.
            vm.pointee.pending.forEachUnfinished(overlapping: 0...UInt64.max) { resource, _ in
                if resource.pointee.boID == vma.pointee.bo.pointee.id { depend(on: resource.fence) }
                return true
            }
        }
        if blocker != nil { return }
        if workMemory == nil { workMemory = try take(.bindWork) }
        if bindUserMemory == nil { bindUserMemory = try take(.await) }
    }

    private mutating func depend(on fence: FencePointer) {
        if blocker != nil { return }
        let edge = reaction == .await ? device.cache(.await).takeAwait(on: fence, function: bindAwaitFired) : nil
        add(edge, on: fence)
    }

    private mutating func add(_ edge: AwaitPointer?, on fence: FencePointer) {
        guard let edge else { return block(on: fence) }
        edge.pointee.next = edges
        edges = edge
    }

    private mutating func block(on unbind: FencePointer) {
        unbind.retain()
        blocker = unbind
    }

    // MARK: Success

    /// The entries are there. Nothing fails from here on.
    private mutating func installPlaced(
        _ binding: Binding, _ placed: SoftwareSpace.Placed
    ) -> Outcome {
        let boID = vma.pointee.bo.pointee.id
        install(binding, boID: boID, isForLater: false).pointee.writtenIn = placed.generation
        count(now: waitedFor.awaited > 0 ? device.now : 0)
        vm.pointee.pending.reap(
            recording: .bound, of: binding, boID: boID, time: device.pointee.executor.approximateNow,
            isApproximate: true)
        return .done(entries: placed.entries)
    }

    /// The entries are written now, or when what is in the way has gone. Nothing fails from here on.
    private mutating func installReserved(_ binding: Binding) -> Outcome {
        let boID = vma.pointee.bo.pointee.id
        let now = device.now
        let isForLater = edges != nil || vm.pointee.backendSpace != nil
        let resource = install(binding, boID: boID, isForLater: isForLater)
        if let stream = vm.pointee.stream { stream.recordBind(resource, isPending: isForLater) }
        count(now: now)
        if edges != nil {
            vm.pointee.history.record(.bindScheduled, start: binding.start, size: binding.size, boID: boID, time: now)
            let fence = startWork(resource, at: now)
            vm.pointee.pending.endLending()
            vm.pointee.pending.reap()
            return .underWay(fence)
        }
        vm.pointee.pending.reap(recording: .bindScheduled, of: binding, boID: boID, time: now)
        if isForLater { return .underWay(startWork(resource, at: now)) }
        let entries = resource.writeEntries(binding)
        vm.pointee.history.record(.bound, start: binding.start, size: binding.size, boID: boID, time: now)
        return .done(entries: entries)
    }

    private mutating func install(_ binding: Binding, boID: UInt64, isForLater: Bool) -> ResourcePointer {
        let resource = ResourcePointer.initialize(
            resourceMemory!, vm: vm, pages: pages, binding: binding, boID: boID, timelineAwait: timelineAwait)
        resourceMemory = nil
        timelineAwait = nil
        if viewPages != nil { resource.set(.keepsPages) }
        viewPages = nil
        vma.pointee.resource = resource
        vm.enterByRecency(vma)
        if request.pins { vma.pointee.pinCount = 1 }
        vma.pointee.address.store(binding.start, ordering: .relaxed)
        let state = isForLater ? VMAState.binding : VMAState.bound
        vma.pointee.stateHint.store(state.rawValue, ordering: .releasing)
        return resource
    }

    private mutating func count(now: UInt64) {
        let stats = vm.pointee.stats
        stats.pointee.binds &+= 1
        if waitedFor.awaited > 0 {
            _ = stats.pointee.bindWaitNanoseconds.wrappingAdd(now.subtractingSaturating(calledAt), ordering: .relaxed)
        }
        let awaited = waitedFor.awaited + dependencies.awaited + evictedEdges
        if awaited == 0 { return }
        stats.pointee.bindsWaited &+= 1
        stats.pointee.awaited &+= awaited
        stats.pointee.awaitedNotOverlapping &+= awaited.subtractingSaturating(
            waitedFor.overlapping + dependencies.overlapping + evictedEdges)
    }

    private mutating func startWork(
        _ resource: ResourcePointer, at now: UInt64, isUpgrade: Bool = false
    ) -> FencePointer {
        let work = BindWorkPointer.initialize(
            workMemory!, vm: vm, resource: resource, calledAt: now, isUpgrade: isUpgrade)
        workMemory = nil
        isLeftToWork = true
        // One reference is the VMA's, one the later unbind's edge, one the caller's; the first is the work's own.
        work.fence.retain()
        vma.pointee.bindFence?.drop()
        vma.pointee.bindFence = work.fence
        work.fence.retain()
        let user = bindUserMemory!.bindMemory(to: Await.self, capacity: 1)
        user.initialize(to: Await(fence: work.fence, function: unbindAwaitFired))
        bindUserMemory = nil
        vma.addUser(user)
        work.fence.retain()
        work.await(edges)
        edges = nil
        return work.fence
    }

    /// With no lock held.
    private mutating func freeUnused() {
        eviction.end()
        viewPages?.drop()
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
