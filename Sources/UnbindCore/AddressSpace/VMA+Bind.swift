// Binding (i915_vma_pin_ww and i915_vma_bind).
//
// Under the buffer's reservation and the VM's lock: take a range, reserve the page tables, look for pending unbinds in the
// way, and either write the entries at once or leave them to a BindWork that awaits those unbinds. Everything that the
// later unbind will need is reserved here. Each step that fails undoes those before it.
//
// The caller that wants to wait does so afterwards, on the bind fence and with no lock held (P31).

import Synchronization

extension UnsafeMutablePointer where Pointee == VMA {
    /// Binds without waiting for pending unbinds. The bind fence, with a reference; nil if the VMA is bound already or the
    /// bind was done at once.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: closed, noSpace, noMemory; deadlock or interrupted only if there was no memory to await an unbind, so that
    ///   it had to be waited for.
    func bindWithoutWaiting() throws(Status) -> FencePointer? {
        let calledAt = pointee.vm.pointee.device.now
        while true {
            var attempt = BindAttempt(vma: self, calledAt: calledAt)
            switch try attempt.run() {
            case .done(let entries):
                let device = pointee.vm.pointee.device
                device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: entries))
                return nil
            case .underWay(let fence): return fence
            case .blocked(let fence):
                defer { fence.drop() }
                try pointee.vm.pointee.device.wait(
                    for: fence)
            }
        }
    }

    /// Waits for what is in the way, then binds. A failure leaves everything as it was: nothing is taken before the wait
    /// is over, so that there is nothing to undo (P24), and no lock is held during it (P31).
    func bindAndWait(interruptible: Bool) throws(Status) {
        let device = pointee.vm.pointee.device
        let calledAt = device.now
        var awaited: UInt64 = 0
        var overlaps: UInt64 = 0
        while true {
            var attempt = BindAttempt(vma: self, calledAt: calledAt, waitsFirst: true)
            if awaited > 0 {
                attempt.awaitedBefore = awaited
                attempt.overlapsBefore = overlaps
            }
            let outcome = try attempt.run()
            switch outcome {
            case .done(let entries):
                device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: entries))
                return
            case .underWay(let fence):
                defer { fence.drop() }
                try device.wait(for: fence, interruptible: interruptible)
                return
            case .blocked(let fence):
                if awaited == 0 {
                    awaited = attempt.awaitedCount
                    overlaps = attempt.overlapCount
                }
                defer { fence.drop() }
                try device.wait(for: fence, interruptible: interruptible)
            }
        }
    }
}

/// One try at binding, and what has been made for it so far.
private struct BindAttempt {
    enum Outcome {
        /// Bound; so many entries were written (0 if it was bound before).
        case done(entries: UInt64)
        /// The bind fence, with a reference.
        case underWay(FencePointer)
        /// There is no memory to await this unbind (a reference): wait for it and try again.
        case blocked(FencePointer)
    }

    let vma: VMAPointer
    let vm: VMPointer
    let device: DevicePointer
    let calledAt: UInt64
    var resourceMemory: UnsafeMutableRawPointer?
    var timelineAwait: UnsafeMutableRawPointer?
    var workMemory: UnsafeMutableRawPointer?
    /// Edges from the unbinds in the way.
    var awaits: AwaitPointer?
    /// The edge from the bind to a later unbind of it: made last, as the fence is the work's.
    var bindUserMemory: UnsafeMutableRawPointer?
    var awaitedCount: UInt64 = 0
    var overlapCount: UInt64 = 0

    /// A synchronous bind: an unbind in the way is given back, to be waited for.
    let waitsFirst: Bool
    /// What earlier attempts have waited for.
    var awaitedBefore: UInt64 = 0
    var overlapsBefore: UInt64 = 0

    init(vma: VMAPointer, calledAt: UInt64, waitsFirst: Bool = false) {
        self.waitsFirst = waitsFirst
        self.vma = vma
        vm = vma.pointee.vm
        device = vm.pointee.device
        self.calledAt = calledAt
    }

    mutating func run() throws(Status) -> Outcome {
        defer { freeUnused() }
        resourceMemory = try UnsafeMutablePointer<VMAResource>.makeMemory(vm: vm)
        if vm.pointee.options.policy == .timeline {
            timelineAwait = device.cache(.await).take()
            if timelineAwait == nil { throw Status.noMemory }
        }
        let reservation = vma.pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        defer { reservation.pointee.lock.release() }
        try reservation.reserve(1)
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        var isBound = false
        defer { if !isBound { reservation.unreserve(1) } }

        if vm.isClosed { throw Status.closed }
        vm.pointee.pending.reap()
        if vma.node.pointee.isAllocated { return outcomeWhenBound() }
        try takeRange()
        defer { if !isBound { vm.pointee.ranges.remove(vma.node) } }
        let binding = makeBinding()
        if let blocker = collectAwaits(binding) { return .blocked(blocker) }
        try vm.pointee.space.reserve(binding)
        isBound = true
        return install(binding)
    }

    private func outcomeWhenBound() -> Outcome {
        if vma.lockedState == .binding, let fence = vma.pointee.bindFence {
            fence.retain()
            return .underWay(fence)
        }
        return .done(entries: 0)
    }

    private func takeRange() throws(Status) {
        let options = vma.pointee.options
        let size = vma.size
        if let address = options.fixedAddress {
            try vm.pointee.ranges.reserve(vma.node, start: address, size: size, color: options.color)
        } else {
            let alignment = options.alignment != 0 ? options.alignment : naturalAlignment(size)
            try vm.pointee.ranges.insert(
                vma.node, size: size, alignment: max(alignment, vm.pointee.alignment), color: options.color,
                placement: options.isHigh ? .high : .low, from: 0, to: vm.pointee.options.size)
        }
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
        let pages = vma.pointee.bo.pointee.pages
        return Binding(
            start: vma.node.pointee.start, size: vma.size, physical: pages.pointee.physical,
            isLocal: pages.pointee.isLocal, isReadOnly: vma.pointee.options.isReadOnly)
    }

    /// Reserves an edge from each unbind that the policy says to await. If there is no memory for one, that unbind's
    /// fence is given back instead, with a reference: it has to be waited for.
    private mutating func collectAwaits(_ binding: Binding) -> FencePointer? {
        var start = binding.start
        var last = binding.start + (binding.size - 1)
        if vm.pointee.options.coloring {
            start = start.subtractingSaturating(pageSize)
            last = last.addingSaturating(pageSize)
        }
        var blocker: FencePointer?
        let isTimeline = vm.pointee.options.policy == .timeline
        var overlaps: UInt64 = 0
        var list = awaits
        let device = self.device
        let waitsFirst = self.waitsFirst
        vm.pointee.pending.forEachUnfinished(start: start, last: last) { resource in
            overlaps += 1
            if isTimeline { return true }
            if waitsFirst {
                if blocker == nil {
                    resource.fence.retain()
                    blocker = resource.fence
                }
                return true
            }
            guard let edge = try? device.makeAwait(on: resource.fence, function: bindAwaitFired) else {
                resource.fence.retain()
                blocker = resource.fence
                return false
            }
            edge.pointee.next = list
            list = edge
            return true
        }
        awaits = list
        overlapCount = overlaps
        awaitedCount = overlaps
        if isTimeline, waitsFirst, let lastUnbind = vm.pointee.pending.pointee.lastScheduled, !lastUnbind.isSignalled {
            awaitedCount = UInt64(max(0, vm.pointee.pendingCount.load(ordering: .relaxed)))
            lastUnbind.retain()
            return lastUnbind
        }
        if isTimeline, let lastUnbind = vm.pointee.pending.pointee.lastScheduled, !lastUnbind.isSignalled {
            awaitedCount = UInt64(max(0, vm.pointee.pendingCount.load(ordering: .relaxed)))
            if let edge = try? device.makeAwait(on: lastUnbind, function: bindAwaitFired) {
                awaits = edge
            } else {
                lastUnbind.retain()
                return lastUnbind
            }
        }
        if blocker == nil, let first = awaits {
            workMemory = device.cache(.bindWork).take()
            bindUserMemory = device.cache(.await).take()
            if workMemory == nil || bindUserMemory == nil {
                blocker = first.pointee.fence
                blocker!.retain()
            }
        }
        return blocker
    }

    /// Nothing fails from here on.
    private mutating func install(_ binding: Binding) -> Outcome {
        let bo = vma.pointee.bo
        let now = device.now
        let resource = ResourcePointer.initialize(
            resourceMemory!, vm: vm, pages: bo.pointee.pages, binding: binding, boID: bo.pointee.id,
            timelineAwait: timelineAwait)
        resourceMemory = nil
        timelineAwait = nil
        vma.pointee.resource = resource
        vma.pointee.address.store(binding.start, ordering: .relaxed)
        let stats = vm.pointee.stats
        stats.pointee.binds &+= 1
        vm.pointee.history.record(
            .bindScheduled, start: binding.start, size: binding.size, boID: bo.pointee.id, time: now)
        if awaitedBefore > 0 {
            stats.pointee.bindsWaited &+= 1
            stats.pointee.awaited &+= awaitedBefore
            stats.pointee.awaitedNotOverlapping &+= awaitedBefore.subtractingSaturating(overlapsBefore)
            _ = stats.pointee.bindWaitNanoseconds.wrappingAdd(
                now.subtractingSaturating(calledAt), ordering: .relaxed)
        }
        guard awaits != nil else {
            let entries = vm.pointee.space.write(binding)
            vm.pointee.history.record(
            .bound, start: binding.start, size: binding.size, boID: bo.pointee.id, time: now)
            return .done(entries: entries)
        }
        stats.pointee.bindsWaited &+= 1
        stats.pointee.awaited &+= awaitedCount
        stats.pointee.awaitedNotOverlapping &+= awaitedCount.subtractingSaturating(overlapCount)
        return .underWay(startWork(resource))
    }

    private mutating func startWork(_ resource: ResourcePointer) -> FencePointer {
        let work = BindWorkPointer.initialize(workMemory!, vm: vm, resource: resource, calledAt: calledAt)
        workMemory = nil
        // One reference is the VMA's, one the later unbind's edge, one the caller's; the first is the work's own.
        work.fence.retain()
        vma.pointee.bindFence = work.fence
        work.fence.retain()
        let user = bindUserMemory!.bindMemory(to: Await.self, capacity: 1)
        user.initialize(to: Await(fence: work.fence, function: unbindAwaitFired, context: nil))
        bindUserMemory = nil
        vma.addUser(user)
        work.fence.retain()
        var next = awaits
        awaits = nil
        while let edge = next {
            next = edge.pointee.next
            work.awaitUnbind(edge)
        }
        work.commit()
        return work.fence
    }

    private mutating func freeUnused() {
        if let memory = resourceMemory { device.cache(.resource).give(memory) }
        if let memory = timelineAwait { device.cache(.await).give(memory) }
        if let memory = workMemory { device.cache(.bindWork).give(memory) }
        if let memory = bindUserMemory { device.cache(.await).give(memory) }
        while let edge = awaits {
            awaits = edge.pointee.next
            device.free(edge)
        }
    }
}
