// Pins, moves and evictions: what they must give is predicted from the bindings, whom they evict is observed and checked.

import CUnbind
import Glibc

/// What a bind or pin asks for beyond what its VMA was made with.
struct SimulationRequest: CustomStringConvertible {
    var pins = false
    var fixed: UInt64?
    var lowest: UInt64 = 0
    var isReadOnly = false
    var evicts = false
    /// Only what no GPU work uses.
    var sparesUsed = false

    var bindFlags: UInt32 {
        UInt32(isReadOnly ? UNBIND_BIND_READ_ONLY : 0) | UInt32(evicts ? UNBIND_BIND_EVICT : 0)
            | UInt32(sparesUsed ? UNBIND_BIND_NONBLOCK : 0)
    }

    var options: unbind_pin_options {
        var options = makeHeaderStruct(unbind_pin_options())
        options.flags = bindFlags
        if let fixed {
            options.flags |= UInt32(UNBIND_PIN_FIXED)
            options.address = fixed
        } else if lowest > 0 {
            options.flags |= UInt32(UNBIND_PIN_BIAS)
            options.address = lowest
        }
        return options
    }

    func isMisplaced(_ binding: SimulationBinding) -> Bool {
        pins && (fixed.map { $0 != binding.start } ?? false || binding.low < lowest)
    }

    var description: String {
        let place = fixed.map { "at 0x" + String($0, radix: 16) } ?? "above 0x" + String(lowest, radix: 16)
        return "\(place), read only \(isReadOnly), evicts \(evicts), spares used \(sparesUsed)"
    }
}

extension Simulation {
    /// In a calm program whom an eviction takes must not depend on what has finished.
    func chooseEviction(_ request: inout SimulationRequest, isPlaced: Bool) throws {
        if !random.chance(25) { return }
        request.evicts = true
        if plan.isCalm {
            if !isPlaced { try comeToRest() }
        } else {
            request.sparesUsed = random.chance(30)
        }
    }

    private func comeToRest() throws {
        try require(unbind_device_wait_idle(device, UInt64.max, 0) == 0, "wait_idle")
        try drainSignals()
        try checkIdle()
    }

    // MARK: Pins

    func pinOrUnpinSomething() throws {
        let wantsPinned = random.chance(50)
        let likely = liveVMAs.filter { ($0.pins > 0) == wantsPinned && !$0.space.isClosed }
        guard let vma = random.pickOptional(random.chance(10) ? liveVMAs : likely) else { return }
        if random.chance(wantsPinned ? 75 : 10) { try unpin(vma) } else { try pin(vma) }
    }

    private func unpin(_ vma: SimulationVMA) throws {
        let expected = vma.pins > 0 ? Int32(0) : vma.space.isClosed ? -ENOENT : -EINVAL
        let status = unbind_vma_unpin(vma.handle)
        say("unpin vma \(vma.index): \(status)")
        try require(status == expected, "unpin of vma \(vma.index) gave \(status), not \(expected)")
        if status == 0 { vma.pins -= 1 }
    }

    private func pin(_ vma: SimulationVMA) throws {
        let space = vma.space
        var request = SimulationRequest()
        request.pins = true
        request.isReadOnly = random.chance(10)
        let places = [0, 0x20_0000, space.size - 0x40_0000].map { $0 + UInt64(random.below(8)) * 0x1_0000 }
        let address = random.pick(places) & ~(space.smallestPage - 1)
        if vma.fixed == nil, address + vma.size <= space.size {
            switch random.below(4) {
            case 0, 1: request.fixed = address
            case 2: request.lowest = address
            default: break
            }
        }
        try chooseEviction(&request, isPlaced: request.fixed != nil || vma.fixed != nil)
        // A move that overlaps its own place would wait for the hold.
        let isAsync = random.chance(60)
        try bind(vma, request, isAsync: isAsync || vma.binding?.isHeld == true)
    }

    // MARK: Predictions

    /// What a bind or pin may give, as far as the address space decides it.
    func predictedStatus(of vma: SimulationVMA, _ request: SimulationRequest) -> [Int32] {
        let space = vma.space
        if space.isClosed { return [-ENOENT] }
        let moves = vma.buffer.moves
        if moves.isLost { return [-EIO] }
        return statusInSpace(of: vma, request) + (moves.mayBeLost ? [-EIO] : [])
    }

    private func statusInSpace(of vma: SimulationVMA, _ request: SimulationRequest) -> [Int32] {
        let space = vma.space
        if let binding = vma.binding {
            if !request.isMisplaced(binding) { return [0] }
            if vma.pins > 0 { return [-EBUSY] }
        }
        let others = space.bindings.filter { $0.vma !== vma }
        return predictedRoom(request, beside: others) { stay in
            if let start = request.fixed ?? vma.fixed {
                return !space.isTaken(
                    start - vma.guardSize, start + vma.size + vma.guardSize, color: vma.color, by: stay)
            }
            return space.hasRoom(
                vma.size, alignment: space.alignment(of: vma), color: vma.color, above: request.lowest, beside: stay)
        }
    }

    /// `fits`: whether there is room beside those bindings.
    private func predictedRoom(
        _ request: SimulationRequest, beside others: [SimulationBinding], _ fits: ([SimulationBinding]) -> Bool
    ) -> [Int32] {
        if fits(others) { return [0] }
        if !request.evicts { return [-ENOSPC] }
        if !request.sparesUsed { return fits(others.filter(\.staysAnyway)) ? [0] : [-ENOSPC] }
        let isUsed = others.filter { $0.staysAnyway || $0.dependencies.contains { $0.isDone == false } }
        let mayBeUsed = others.filter { $0.staysAnyway || $0.dependencies.contains { $0.isDone != true } }
        return fits(mayBeUsed) ? [0] : fits(isUsed) ? [0, -ENOSPC] : [-ENOSPC]
    }

    // MARK: Observations

    /// The bindings that are gone without the model's having been told.
    func evicted(in space: SimulationSpace, for vma: SimulationVMA?) -> [SimulationBinding] {
        space.bindings.filter { $0.vma !== vma && unbind_vma_state($0.vma.handle) == Int32(UNBIND_VMA_UNBOUND) }
    }

    /// Takes them over, with the old binding of a VMA that has moved. They were scheduled in an order nobody promised.
    @discardableResult
    func scheduleEvicted(
        in space: SimulationSpace, for vma: SimulationVMA?, _ request: SimulationRequest
    ) throws -> [SimulationFence] {
        var gone = evicted(in: space, for: vma)
        for binding in gone {
            let index = binding.vma.index
            try require(request.evicts, "vma \(index) was evicted by a call that must not")
            try require(!binding.staysAnyway, "vma \(index) is pinned or held and was evicted")
            let isUsed = binding.dependencies.contains { $0.isDone == false }
            try require(!request.sparesUsed || !isUsed, "vma \(index) is used and was evicted")
            if let vma, let start = request.fixed ?? vma.fixed {
                let (low, high) = (start - vma.guardSize, start + vma.size + vma.guardSize)
                try require(
                    space.isTaken(low, high, color: vma.color, by: [binding]), "vma \(index) was evicted needlessly")
            }
        }
        outcome.coverage.evictions += gone.count
        if let old = vma?.binding {
            gone.append(old)
            outcome.coverage.moves += 1
        }
        return try scheduleGone(gone)
    }

    /// Bindings that one call has taken away, in an order nobody promised.
    func scheduleGone(_ gone: [SimulationBinding]) throws -> [SimulationFence] {
        let previous = spaces.map { $0.pending.last?.fence }
        return try gone.map { binding in
            let space = binding.vma.space
            let isOrdered = space.policy == UNBIND_POLICY_TIMELINE
            let siblings = isOrdered ? gone.filter { $0 !== binding && $0.vma.space === space } : []
            return try schedule(
                binding, handle: nil, previous: previous[space.index], others: siblings.flatMap(\.dependencies))
        }
    }

    // MARK: Evicting on request

    func evictSomething() throws {
        guard let space = random.pickOptional(spaces.filter { $0.handle != nil }) else { return }
        if plan.isCalm { try comeToRest() }
        var request = SimulationRequest()
        request.evicts = true
        request.sparesUsed = !plan.isCalm && random.chance(30)
        let isAsync = random.chance(60)
        var flags = isAsync ? UInt32(UNBIND_EVICT_ASYNC) : 0
        if request.sparesUsed { flags |= UInt32(UNBIND_EVICT_NONBLOCK) }
        let color = space.hasColors ? UInt32(random.below(3)) : 0
        let size = space.smallestPage * UInt64(1 + random.below(32))
        let blockers = space.bindings.flatMap(\.dependencies) + space.pending.map(\.fence)
        var expected: [Int32] = [0]
        let status: Int32
        switch random.below(8) {
        case 0:
            status = try withFailures("evict_all") { unbind_vm_evict_all(space.handle, flags) }
            say("evict all of vm \(space.index): \(status)")
        case 1...5:
            let target = random.pickOptional(space.bindings)
            let start = min(target.map(\.low) ?? 0, space.size - size)
            expected = predictedRoom(request, beside: space.bindings) {
                !space.isTaken(start, start + size, color: color, by: $0)
            }
            status = try withFailures("evict_range") {
                unbind_vm_evict_range(space.handle, start, size, color, flags)
            }
            say("evict \(hex(size)) at \(hex(start)) of vm \(space.index): \(status)")
        default:
            var native = makeHeaderStruct(unbind_evict_request())
            native.flags = flags
            native.size = random.chance(50) ? size : space.size / 2
            native.color = color
            expected = predictedRoom(request, beside: space.bindings) {
                space.hasRoom(native.size, alignment: space.smallestPage, color: color, beside: $0)
            }
            status = try withFailures("evict_something") { unbind_vm_evict_something(space.handle, &native) }
            say("evict something of \(hex(native.size)) in vm \(space.index): \(status)")
        }
        if space.isClosed { expected = [-ENOENT] }
        try drainSignals()
        if status == -EDEADLK, !isAsync {
            try require(blockers.contains { $0.isBlocked() }, "eviction: -EDEADLK, yet nothing blocks")
        } else {
            try require(expected.contains(status), "eviction gave \(status), not one of \(expected)")
        }
        if status != 0 {
            try require(evicted(in: space, for: nil).isEmpty, "an eviction that failed has evicted")
            return
        }
        for fence in try scheduleEvicted(in: space, for: nil, request) where !isAsync {
            try require(fence.couldBeDone, "an eviction returned before \(fence.name) signalled")
            fence.isInferredDone = true
        }
        space.forgetFinished()
    }
}

extension SimulationBinding {
    /// No eviction takes it.
    var staysAnyway: Bool { vma.pins > 0 || isHeld }
}
