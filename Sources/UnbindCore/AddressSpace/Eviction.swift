// Eviction: which bound VMAs have to make way, and taking their ranges (i915_gem_evict.c).
//
// Chosen and carried out under one hold of the VM's lock, and everything that can fail comes before the first VMA is
// touched: a request that cannot be met takes nothing from anybody. What makes way is unbound asynchronously: whoever
// gets its range awaits the unbind, which awaits the GPU work, like any other unbind that is in the way. So an eviction
// never waits, and never takes a range from under work that still uses it.
//
// Pinned VMAs and those whose binding somebody holds stay. The others go in the order of their last use, those that no
// GPU work uses before those that are likely to be idle soonest.
//
// - Locking: the VM's lock for everything but `settle` and `end`, which are called with nothing held.

import Synchronization

struct Eviction {
    private struct Victim {
        let vma: VMAPointer
        /// The unbind, once it is scheduled; with the reference that was the VMA's.
        var resource: ResourcePointer?
        var schedule = UnbindSchedule.deferred
    }

    private let vm: VMPointer
    private let memory: UnsafeMutablePointer<Memory>
    private var victims: UnsafeMutablePointer<Victim>?
    private(set) var count = 0
    private var capacity = 0
    private var isScheduled = false
    private var isSettled = false
    /// For the unbinds; what is left at the end is given back.
    private var powerReferences: Int

    /// Takes over the power references.
    init(_ vm: VMPointer, powerReferences: Int) {
        self.vm = vm
        self.powerReferences = powerReferences
        memory = vm.pointee.device.pointee.memory
    }

    // MARK: Choosing

    /// Room for the request: the start of its node. `moved`, if there is one, is bound and gives up its range for it.
    /// - Failure: noSpace, noMemory.
    mutating func makeRoom(for request: BindRequest, moving moved: VMAPointer?) throws(Status) -> UInt64 {
        if let fixed = request.fixedAddress {
            let start = fixed &- request.guardSize
            guard fixed >= request.guardSize, request.nodeSize <= vm.pointee.ranges.pointee.end &- start else {
                throw Status.noSpace
            }
            try chooseInTheWay(
                of: start, size: request.nodeSize, color: request.color, request.eviction, moving: moved)
            return start
        }
        if let start = vm.pointee.ranges.freePlace(for: request) {
            if let moved { try choose(only: moved) }
            return start
        }
        var scan = EvictionScan(
            vm.pointee.ranges, size: request.nodeSize, alignment: request.placementAlignment, color: request.color,
            placement: request.isHigh ? .high : .best, from: request.lowest, to: request.limit)
        let isFound = offer(to: &scan, request.eviction, moving: moved)
        var first = takeBack(from: &scan, but: moved)
        guard isFound, let start = scan.place else { throw Status.noSpace }
        if let moved {
            moved.pointee.nextVictim = first
            first = moved
        }
        try adopt(first)
        return start
    }

    /// What is in the way of that range: all of it, or the failure is noSpace.
    mutating func chooseInTheWay(
        of start: UInt64, size: UInt64, color: UInt32, _ leave: BindRequest.Eviction, moving moved: VMAPointer? = nil
    ) throws(Status) {
        var nodes = vm.pointee.ranges.nodesInTheWay(of: start, size: size, color: color)
        var first = moved
        moved?.pointee.nextVictim = nil
        while let node = nodes.nextNode() {
            let vma = VMAPointer(containing: node)
            if vma == moved { continue }
            guard vma.isEvictable(leave) else { throw Status.noSpace }
            vma.pointee.nextVictim = first
            first = vma
        }
        try adopt(first)
    }

    /// Every VMA that may be evicted.
    mutating func chooseAll(_ leave: BindRequest.Eviction) throws(Status) {
        var first: VMAPointer?
        var next = vm.pointee.mostRecent
        while let vma = next {
            next = vma.pointee.lessRecent
            if !vma.isEvictable(leave) { continue }
            vma.pointee.nextVictim = first
            first = vma
        }
        try adopt(first)
    }

    private mutating func choose(only vma: VMAPointer) throws(Status) {
        vma.pointee.nextVictim = nil
        try adopt(vma)
    }

    /// Idle ones first; each in order of use. True when there is room.
    private func offer(to scan: inout EvictionScan, _ leave: BindRequest.Eviction, moving moved: VMAPointer?) -> Bool {
        if let moved, scan.add(moved.node) { return true }
        if leave == .none { return false }
        if offer(to: &scan, .idle, but: moved) { return true }
        return leave == .any && offer(to: &scan, .any, but: moved)
    }

    private func offer(to scan: inout EvictionScan, _ leave: BindRequest.Eviction, but moved: VMAPointer?) -> Bool {
        var next = vm.pointee.leastRecent
        while let vma = next {
            next = vma.pointee.moreRecent
            if vma == moved || vma.node.pointee.isCandidate || !vma.isEvictable(leave) { continue }
            if scan.add(vma.node) { return true }
        }
        return false
    }

    /// Ends the scan and lists what has to go, besides the one that goes in any case. Looks at no more of the list than
    /// `offer` did.
    private func takeBack(from scan: inout EvictionScan, but moved: VMAPointer?) -> VMAPointer? {
        if let moved, moved.node.pointee.isCandidate { _ = scan.remove(moved.node) }
        var first: VMAPointer?
        var last: VMAPointer?
        var next = vm.pointee.leastRecent
        while scan.hasCandidates, let vma = next {
            next = vma.pointee.moreRecent
            if !vma.node.pointee.isCandidate || !scan.remove(vma.node) { continue }
            vma.pointee.nextVictim = nil
            if let last { last.pointee.nextVictim = vma } else { first = vma }
            last = vma
        }
        return first
    }

    /// Turns the list that the VMAs form into one of our own, which outlasts the lock.
    private mutating func adopt(_ first: VMAPointer?) throws(Status) {
        var next = first
        var needed = 0
        while let vma = next {
            needed += 1
            next = vma.pointee.nextVictim
        }
        if needed == 0 { return }
        guard let victims = memory.allocateArray(of: Victim.self, count: needed) else { throw Status.noMemory }
        self.victims = victims
        capacity = needed
        next = first
        while let vma = next {
            (victims + count).initialize(to: Victim(vma: vma))
            count += 1
            next = vma.pointee.nextVictim
        }
    }

    // MARK: Carrying out

    /// For who waits before anything is touched: GPU work that uses one of them, with a reference.
    func firstBlocker() -> FencePointer? {
        for index in 0..<count {
            if let blocker = victims![index].vma.firstBlocker() { return blocker }
        }
        return nil
    }

    /// The unbind fence that the n-th will have, and whether its node reaches into the range.
    func unbindFence(_ index: Int, inTheWayOf range: ClosedRange<UInt64>) -> FencePointer? {
        let vma = victims![index].vma
        let node = vma.node.pointee
        guard node.start <= range.upperBound, node.end > range.lowerBound else { return nil }
        return vma.pointee.resource!.fence
    }

    /// There are more unbinds to schedule than power references for them.
    var lacksPower: Bool { vm.power != nil && count > powerReferences }

    /// Takes the ranges. Nothing fails from here on.
    mutating func schedule() {
        isScheduled = true
        for index in 0..<count {
            let vma = victims![index].vma
            let resource = vma.pointee.resource!
            // Its buffer is needed until the end; whatever has a range has not been freed.
            vma.retain()
            victims![index].resource = resource
            if vm.power != nil {
                resource.set(.holdsPower)
                powerReferences -= 1
            }
            resource.set(.makesWay)
            victims![index].schedule = vma.scheduleUnbind(of: resource)
        }
    }

    /// Whether that is the unbind of one that has been cleared already.
    func isCleared(_ unbind: FencePointer) -> Bool {
        for index in 0..<count where victims![index].resource!.fence == unbind { return isCleared(index) }
        return false
    }

    private func isCleared(_ index: Int) -> Bool {
        switch victims![index].schedule {
        case .atOnce, .immediate: true
        case .ready, .deferred: false
        }
    }

    /// Completes what is over and hands the rest to whom it concerns.
    /// - Locking: nothing may be held.
    mutating func settle() {
        if !isScheduled || isSettled { return }
        isSettled = true
        for index in 0..<count {
            let victim = victims![index]
            if victim.vma.finishUnbind(of: victim.resource!, victim.schedule) { powerReferences += 1 }
        }
    }

    /// Of the n-th, once it is scheduled.
    func unbindFence(_ index: Int) -> FencePointer { victims![index].resource!.fence }

    /// Settles and frees the list.
    /// - Locking: nothing may be held.
    mutating func end() {
        settle()
        for _ in 0..<powerReferences { vm.power?.put() }
        powerReferences = 0
        guard let victims else { return }
        if isScheduled {
            for index in 0..<count {
                victims[index].resource!.fence.drop()
                victims[index].vma.drop()
            }
        }
        memory.deallocateArray(victims, count: capacity)
        self.victims = nil
        count = 0
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// Whether it may be made to go.
    /// - Locking: the VM's lock is held.
    fileprivate func isEvictable(_ leave: BindRequest.Eviction) -> Bool {
        guard leave != .none, pointee.pinCount == 0, let resource = pointee.resource else { return false }
        if resource.isHeld { return false }
        return leave == .any || !isUsed
    }

    private var isUsed: Bool {
        var next = pointee.users
        while let user = next {
            if !user.pointee.fence.isSignalled { return true }
            next = user.pointee.next
        }
        return false
    }
}

extension UnsafeMutablePointer where Pointee == RangeAllocator {
    /// Where `insert` would put it; nil if there is no room.
    fileprivate func freePlace(for request: BindRequest) -> UInt64? {
        let wanted = RangeRequest(
            size: request.nodeSize, alignment: request.placementAlignment, color: request.color,
            start: max(request.lowest, pointee.start), end: min(request.limit, pointee.end),
            fromTop: request.isHigh)
        return freePlace(for: wanted, placement: request.isHigh ? .high : .low)
    }
}
