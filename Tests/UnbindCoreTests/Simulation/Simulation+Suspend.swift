// Suspending and resuming: the page tables come back as they were, but for what was bound and unbound meanwhile.

import CUnbind
import Glibc

extension Simulation {
    func suspendOrResumeSomething() throws {
        guard let space = random.pickOptional(spaces.filter { $0.handle != nil }) else { return }
        if random.chance(space.isSuspended ? 80 : 10) { try resume(space) } else { try suspend(space) }
    }

    private func suspend(_ space: SimulationSpace) throws {
        if plan.isCalm {
            // Whether a job is in flight would depend on the policy.
            try require(unbind_device_wait_idle(device, UInt64.max, 0) == 0, "wait_idle")
            try drainSignals()
        } else if random.chance(50) {
            try require(unbind_device_run(device, 0, nil) == 0, "run")
            try drainSignals()
        }
        let inFlight = jobs.filter { $0.queue.space === space && $0.fence.isDone == false }
        var expected = inFlight.isEmpty ? Int32(0) : -EBUSY
        if space.isSuspended { expected = -EINVAL }
        if space.isClosed { expected = -ENOENT }
        let status = withoutMemory { unbind_vm_suspend(space.handle) }
        say("suspend vm \(space.index): \(status)")
        try require(status == expected, "suspend of vm \(space.index) gave \(status), not \(expected)")
        try drainSignals()
        if status != 0 { return }
        space.isSuspended = true
        outcome.coverage.suspends += 1
        space.losePending()
    }

    func resume(_ space: SimulationSpace) throws {
        let expected = space.isClosed ? -ENOENT : space.isSuspended ? Int32(0) : -EINVAL
        let before = memory.allocateCalls
        if expected == 0 {
            // What became bound while it was suspended is seen here, before time passes.
            try drainSignals()
            space.losePending()
        }
        let status = unbind_vm_resume(space.handle)
        say("resume vm \(space.index): \(status)")
        try require(status == expected, "resume of vm \(space.index) gave \(status), not \(expected)")
        try require(memory.allocateCalls == before, "resume of vm \(space.index) allocated memory")
        try drainSignals()
        if status != 0 { return }
        space.isSuspended = false
        outcome.coverage.resumedPages += walkPages(space.handle!)?.count ?? 0
    }
}

extension SimulationUnbind {
    /// Its VM was suspended, or is. Without its bind it may still be to come.
    mutating func lose() {
        wasBound = false
        if binding.bind.isDone == true { isLost = true }
    }
}

extension SimulationSpace {
    func losePending() {
        for index in pending.indices { pending[index].lose() }
    }
}
