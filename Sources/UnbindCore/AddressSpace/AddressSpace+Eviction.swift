// Evicting on request (i915_gem_evict_something, i915_gem_evict_for_node, i915_gem_evict_vm).
//
// The synchronous form waits for the GPU work of those chosen before it touches any of them, with no lock held, and
// then looks again: what was chosen may have changed. So a wait that fails has evicted nobody. The asynchronous form,
// which the kernel does not have, schedules the unbinds at once.

import Synchronization

enum EvictionTarget {
    /// Room for something, wherever it is.
    case room(BindRequest)
    case range(start: UInt64, size: UInt64, color: UInt32)
    /// Whatever may be evicted.
    case everything
}

private enum EvictionOutcome {
    case scheduled
    /// This is to be waited for, with a reference.
    case blocked(FencePointer)
    case needsPower(Int)
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// - Locking: nothing may be held.
    /// - Failure: closed; noSpace if something that may not be evicted is in the way; noMemory; with `waits`
    ///   interrupted and deadlock. Nothing has been evicted then.
    func evict(
        _ target: EvictionTarget, _ leave: BindRequest.Eviction, waits: Bool, interruptible: Bool
    ) throws(Status) {
        let device = pointee.device
        power?.get()
        defer { power?.put() }
        var powerReferences = 0
        while true {
            var eviction = Eviction(self, powerReferences: powerReferences)
            defer { eviction.end() }
            powerReferences = 0
            var user: FencePointer?
            switch try choose(target, leave, waits: waits, &eviction) {
            case .scheduled:
                eviction.settle()
                if !waits { return }
                // Their work has ended: so do the unbinds, by themselves.
                for index in 0..<eviction.count { try device.wait(for: eviction.unbindFence(index)) }
                return
            case .blocked(let fence): user = fence
            case .needsPower(let count):
                // The device is awake, for this call.
                for _ in 0..<count { power?.get() }
                powerReferences = count
            }
            guard let user else { continue }
            defer { user.drop() }
            try device.wait(for: user, interruptible: interruptible)
        }
    }

    /// Schedules the unbinds, or says what comes first.
    private func choose(
        _ target: EvictionTarget, _ leave: BindRequest.Eviction, waits: Bool, _ eviction: inout Eviction
    ) throws(Status) -> EvictionOutcome {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if isClosed { throw Status.closed }
        pointee.pending.reap()
        switch target {
        case .room(let request): _ = try eviction.makeRoom(for: request, moving: nil)
        case .range(let start, let size, let color):
            try eviction.chooseInTheWay(of: start, size: size, color: color, leave)
        case .everything: try eviction.chooseAll(leave)
        }
        if waits, let user = eviction.firstBlocker() { return .blocked(user) }
        if eviction.lacksPower { return .needsPower(eviction.count) }
        eviction.schedule()
        return .scheduled
    }
}
