// One step of a program: which operation, and the operations on fences and time.

import CUnbind
import Glibc

extension Simulation {
    func operate() throws {
        switch random.below(148) {
        case 100..<110: try pinOrUnpinSomething()
        case 110..<118: try evictSomething()
        case 118..<131: try holdSomething()
        case 131..<140: try moveSomething()
        case 140..<145: try unbindBuffer()
        case 145..<147: try failCopies()
        case 147: if let space = random.pickOptional(openSpaces) { try close(space) }
        case 0..<26: try bindSomething()
        case 26..<42: try unbindSomething()
        case 42..<57: try submitSomething()
        case 57..<70: try addUser()
        case 70..<76: try signalSomething()
        case 76..<82: try runSomething()
        case 82..<87: try waitForSomething()
        case 87..<89: try makeBuffer()
        case 89..<92: try makeVMA()
        case 92..<94: try dropSomething()
        case 94..<98: try suspendOrResumeSomething()
        case 98: if let space = random.pickOptional(openSpaces) { try makeQueue(in: space) }
        default:
            // Seldom, and not the only one: a closed VM has little left to show.
            if openSpaces.count > 1, random.chance(50) { try close(random.pick(openSpaces)) }
        }
    }

    // MARK: Users

    private func addUser() throws {
        let wantsAny = random.chance(15)
        let bound = liveVMAs.filter { $0.binding != nil }
        guard let vma = random.pickOptional(wantsAny ? liveVMAs : bound) else { return }
        let fence: SimulationFence
        if plan.isCalm {
            guard let queue = liveQueues.first(where: { !$0.space.isClosed && !$0.space.isSuspended }) else { return }
            fence = try submitDelay(on: queue)
        } else if random.chance(60) || fences.isEmpty {
            fence = try makeFence()
        } else {
            let candidates = fences.filter { $0.handle != nil && ($0.kind == .caller || $0.kind == .job) }
            guard let old = random.pickOptional(candidates) else { return }
            fence = old
        }
        let status = try withFailures("add_user") { unbind_vma_add_user(vma.handle, fence.handle) }
        say("add_user \(fence.name) to vma \(vma.index): \(status)")
        let expected = vma.space.isClosed ? -ENOENT : vma.binding == nil ? -EINVAL : 0
        try require(
            status == expected || (vma.space.isClosed && status == -EINVAL), "add_user gave \(status), not \(expected)")
        if status == 0 { vma.binding!.users.append(fence) }
    }

    private func makeFence() throws -> SimulationFence {
        var handle: OpaquePointer?
        let status = try withFailures("fence_create") { unbind_fence_create(device, &handle) }
        try require(status == 0 && handle != nil, "fence_create: \(status)")
        let fence = try record(.caller, handle)
        fence.isNeverSignalled = random.chance(6)
        if random.chance(10), let target = random.pickOptional(unsignalledByCaller), target !== fence {
            fence.chained = target
        }
        return fence
    }

    var unsignalledByCaller: [SimulationFence] {
        fences.filter { $0.kind == .caller && $0.position == nil && !$0.isNeverSignalled }
    }

    private func signalSomething() throws {
        if random.chance(10), let old = random.pickOptional(fences.filter { $0.handle != nil }) {
            // Not allowed: signalled already, or a fence of the library's.
            if old.kind == .caller, old.position == nil { return }
            try require(unbind_fence_signal(old.handle, 0) == -EINVAL, "\(old.name) could be signalled again")
            return
        }
        guard let fence = random.pickOptional(unsignalledByCaller) else { return }
        try signal(fence, error: random.chance(15) ? random.pick([-EIO, -ENOSPC, -4095]) : 0)
    }

    func signal(_ fence: SimulationFence, error: Int32) throws {
        let status = withoutMemory { unbind_fence_signal(fence.handle, error) }
        say("signal \(fence.name) with \(error): \(status)")
        try require(status == 0, "signal of \(fence.name) gave \(status)")
        try require(fence.position != nil, "\(fence.name): the callback did not run within unbind_fence_signal")
        try require(fence.error == error, "\(fence.name) carries \(fence.error), not \(error)")
    }

    // MARK: Time

    private func runSomething() throws {
        if random.chance(50) {
            let limit = UInt32(random.pick([0, 1, 1, 2, 5]))
            var ran: UInt32 = 0
            let status = withoutMemory { unbind_device_run(device, limit, &ran) }
            say("run \(limit): \(status), ran \(ran)")
            try require(status == 0 && (limit == 0 || ran <= limit), "run: \(status), ran \(ran) of \(limit)")
            if limit == 0 { try checkIdle() }
            return
        }
        let now = unbind_device_now(device)
        let target = now + random.next() % random.pick([1_000, 50_000, 1_000_000])
        let status = withoutMemory { unbind_device_run_until(device, target) }
        say("run_until \(target): \(status)")
        try require(status == 0, "run_until: \(status)")
        try require(unbind_device_now(device) == target, "run_until: the clock shows \(unbind_device_now(device))")
    }

    private func waitForSomething() throws {
        let timeout = random.pick([0, 1_000, 100_000, UInt64.max])
        switch random.below(4) {
        case 0:
            let status = withoutMemory { unbind_device_wait_idle(device, UInt64.max, 0) }
            say("wait_idle: \(status)")
            try require(status == 0, "wait_idle: \(status)")
            try checkIdle()
        case 1:
            guard let buffer = random.pickOptional(liveBuffers) else { return }
            let users = unfinishedUsers(of: buffer)
            let status = withoutMemory { unbind_bo_wait(buffer.handle, timeout, 0) }
            say("bo_wait bo \(buffer.index) \(timeout): \(status)")
            try drainSignals()
            try checkWait(status, timeout, users, "bo_wait of bo \(buffer.index)")
        default:
            guard let fence = random.pickOptional(fences.filter { $0.handle != nil }) else { return }
            let isAbsolute = random.chance(30)
            let deadline = isAbsolute && timeout != UInt64.max ? unbind_device_now(device) + timeout : timeout
            let flags = isAbsolute ? UInt32(UNBIND_WAIT_ABSOLUTE) : 0
            let status = withoutMemory { unbind_fence_wait(fence.handle, deadline, flags) }
            say("wait \(fence.name) \(timeout): \(status)")
            try drainSignals()
            try checkWait(status, isAbsolute && timeout != UInt64.max ? 1 : timeout, [fence], "wait for \(fence.name)")
        }
    }

    /// All that the library knows to use the buffer.
    private func unfinishedUsers(of buffer: SimulationBuffer) -> [SimulationFence] {
        var users: [SimulationFence] = []
        for space in spaces {
            for binding in space.bindings where binding.vma.buffer === buffer { users += binding.users }
            for unbind in space.pending where unbind.binding.vma.buffer === buffer { users.append(unbind.fence) }
        }
        if let move = buffer.moves.last { users.append(move) }
        return users.filter { $0.isDone != true }
    }

    private func checkWait(_ status: Int32, _ timeout: UInt64, _ fences: [SimulationFence], _ what: String) throws {
        switch status {
        case 0:
            for fence in fences {
                try require(
                    fence.isDone != false && fence.couldBeDone, "\(what) returned before \(fence.name) signalled")
                if fence.handle == nil { fence.isInferredDone = true }
            }
        case -ETIME:
            try require(timeout != UInt64.max, "\(what) without a limit gave -ETIME")
            try require(fences.contains { $0.isDone != true }, "\(what) gave -ETIME, yet all is done")
        case -EDEADLK:
            try require(timeout != 0, "\(what) gave -EDEADLK without waiting")
            try require(fences.contains { $0.isBlocked() }, "\(what) gave -EDEADLK, yet nothing blocks")
        default:
            throw SimulationFailure("\(what) gave \(status)")
        }
    }
}
