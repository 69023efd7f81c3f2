// The comparison with the model after each step.

import CUnbind
import Glibc

extension Simulation {
    func checkStep() throws {
        try drainSignals()
        for fence in fences where fence.position == nil && fence.handle != nil {
            try require(
                unbind_fence_is_signaled(fence.handle) == 0, "\(fence.name) has signalled without calling back")
        }
        for space in spaces { try checkStates(in: space) }
        for space in spaces {
            space.forgetFinished()
            if space.handle != nil {
                try checkStatistics(of: space)
                try checkPages(of: space)
            }
        }
        try checkFaults()
        try checkReleases()
    }

    // MARK: Fences

    /// Checks every signal since the last call against what it had to come after, in the order in which they came.
    func drainSignals() throws {
        while processed < signalled.count {
            let fence = signalled[processed]
            processed += 1
            if let callback = fence.callback {
                callback.deallocate()
                fence.callback = nil
            }
            try require(fence.time != UInt64.max, "\(fence.name): no timestamp in its callback")
            try require(fence.time <= unbind_device_now(device), "\(fence.name) signalled in the future")
            for copy in fence.must where copy.kind == .copy { copy.isInferredDone = true }
            for dependency in fence.observedDependencies() {
                guard let position = dependency.position, position < fence.position! else {
                    throw SimulationFailure("\(fence.name) signalled before \(dependency.name)")
                }
                try require(
                    dependency.time <= fence.time,
                    "\(fence.name) at \(fence.time) is earlier than \(dependency.name) at \(dependency.time)")
            }
            if fence.kind == .unbind { try require(fence.error == 0, "\(fence.name) carries error \(fence.error)") }
            if let buffer = fence.buffer { try checkError(of: fence, buffer) }
            if fence.kind == .job, let job = jobs.first(where: { $0.fence === fence }) { try apply(job) }
        }
    }

    /// A bind carries an error if the memory was lost on its way, a move if the copy failed with nobody to make up for it.
    private func checkError(of fence: SimulationFence, _ buffer: SimulationBuffer) throws {
        if fence.kind == .move {
            try buffer.moves.moveEnded(fence.generation, error: fence.error, fence.name)
            if fence.error != 0 { outcome.coverage.losses += 1 }
            return
        }
        let isExpected = fence.error == 0
            ? !buffer.moves.isKnownLost(fence.generation)
            : fence.error == -EIO && buffer.moves.mayBeLost(fence.generation)
        try require(isExpected, "\(fence.name) carries error \(fence.error)")
        if fence.error != 0 { buffer.moves.isLost = true }
    }

    /// With nothing left to run: whatever is unfinished has a fence of the caller's or a hold behind it.
    func checkIdle() throws {
        try drainSignals()
        var next: UInt64 = 0
        try require(unbind_device_next_event(device, &next) == 0 && next == UInt64.max, "idle, next event at \(next)")
        for fence in fences where fence.isDone != true && fence.kind != .caller {
            if fence.isBlocked() { continue }
            try require(fence.handle == nil, "\(fence.name) has not signalled, though nothing keeps it")
            fence.isInferredDone = true
        }
        for space in spaces {
            space.forgetFinished()
            for binding in space.bindings where binding.bind.isDone == true {
                let state = unbind_vma_state(binding.vma.handle)
                try require(
                    state == Int32(UNBIND_VMA_BOUND), "vma \(binding.vma.index): state \(state), nothing keeps it")
            }
        }
        for buffer in liveBuffers {
            if buffer.moves.mayBeLost || buffer.moves.pendingCopy != nil { continue }
            let isBusy = jobs.contains { job in
                job.fence.isDone != true && job.bindings.contains { $0.vma.buffer === buffer }
            }
            if isBusy { continue }
            try require(memcmp(buffer.cpu, buffer.expected, buffer.size) == 0, differenceText(buffer))
        }
    }

    private func differenceText(_ buffer: SimulationBuffer) -> String {
        let found = buffer.cpu.assumingMemoryBound(to: UInt8.self)
        let expected = buffer.expected.assumingMemoryBound(to: UInt8.self)
        let offset = (0..<buffer.size).first { found[$0] != expected[$0] } ?? 0
        return "bo \(buffer.index): byte \(offset) is \(found[offset]), not \(expected[offset])"
    }

    // MARK: VMAs and page tables

    private func checkStates(in space: SimulationSpace) throws {
        for vma in space.vmas {
            let state = unbind_vma_state(vma.handle)
            let address = unbind_vma_address(vma.handle)
            guard let binding = vma.binding else {
                try require(state == Int32(UNBIND_VMA_UNBOUND), "vma \(vma.index) is unbound, state \(state)")
                try require(address == vma.fixed ?? UInt64.max, "vma \(vma.index) is unbound, address \(address)")
                continue
            }
            try require(address == binding.start, "vma \(vma.index): address \(address), was \(binding.start)")
            try require(unbind_vma_size(vma.handle) == vma.size, "vma \(vma.index): size")
            let pins = Int(unbind_vma_pin_count(vma.handle))
            try require(pins == vma.pins, "vma \(vma.index) has \(pins) pins, not \(vma.pins)")
            if state == Int32(UNBIND_VMA_BOUND) {
                if !binding.isBound {
                    try require(
                        binding.bind.couldBeDone, "vma \(vma.index) is bound while an overlapping unbind is unfinished")
                }
                // It stays bound while write access is being added.
                if binding.bind.handle == nil, !binding.isUpgraded { binding.bind.isInferredDone = true }
                binding.isBound = true
            } else {
                try require(state == Int32(UNBIND_VMA_BINDING), "vma \(vma.index): state \(state)")
                try require(!binding.isBound, "vma \(vma.index) was bound and is no longer")
                try require(
                    binding.bind.position == nil, "vma \(vma.index) is not bound, its bind fence has signalled")
            }
        }
    }

    private func checkPages(of space: SimulationSpace) throws {
        if space.isClosed {
            var page = makeHeaderStruct(unbind_page())
            try require(unbind_vm_find_page(space.handle, 0, &page) == -ENOENT, "find_page in a closed VM")
            return
        }
        if space.isSuspended {
            try require(walkPages(space.handle!) == [], "vm \(space.index) is suspended and has pages")
            return
        }
        // Walking many pages after every step takes long: every eighth step then.
        let bytes = space.bindings.reduce(0) { $0 + $1.vma.size }
        if bytes > 0x20_0000, step % 8 != 0 { return }
        guard let pages = walkPages(space.handle!) else { throw SimulationFailure("find_page went backwards") }
        let bindings = space.bindings
        var covered = [UInt64](repeating: 0, count: bindings.count)
        var waiting = [UInt64](repeating: 0, count: space.pending.count)
        for page in pages {
            try require(
                page.address % page.size == 0 && space.pageSizes & page.size != 0,
                "a page of \(page.size) at \(page.address)")
            if page.buffer == 0 {
                try checkLeftover(page, in: space, &waiting)
                continue
            }
            guard let index = bindings.firstIndex(where: { $0.start <= page.address && page.address < $0.end }) else {
                throw SimulationFailure("page \(hex(page.address)) of bo \(page.buffer) in nobody's range")
            }
            try check(page, of: bindings[index])
            covered[index] += page.size
        }
        for (binding, bytes) in zip(bindings, covered) where binding.isBound {
            try require(
                bytes == binding.vma.mappedBytes
                    || (bytes == 0 && binding.vma.buffer.moves.mayBeLost(binding.generation)),
                "vma \(binding.vma.index) is bound, \(bytes) bytes are mapped")
        }
        for (unbind, bytes) in zip(space.pending, waiting) where unbind.wasBound && !unbind.fence.couldBeCleared {
            try require(
                bytes == unbind.binding.vma.mappedBytes
                    || unbind.binding.vma.buffer.moves.mayBeLost(unbind.binding.generation),
                "\(unbind.fence.name) still waits, only \(bytes) bytes of vma \(unbind.binding.vma.index) are mapped")
        }
    }

    private func check(_ page: SimulationPage, of binding: SimulationBinding) throws {
        let vma = binding.vma
        let text = "page \(hex(page.address)) of vma \(vma.index)"
        try require(page.address + page.size <= binding.end, "\(text) ends outside it")
        try require(page.buffer == vma.buffer.id, "\(text): bo \(page.buffer), not \(vma.buffer.id)")
        let first = vma.bufferOffset(of: page.address - binding.start)
        let last = vma.bufferOffset(of: page.address + page.size - 1 - binding.start)
        try require(
            page.offset == first && page.offset + page.size - 1 == last, "\(text): offset \(hex(page.offset))")
        let expected =
            (binding.isReadOnly ? 0 : UInt32(UNBIND_PAGE_WRITABLE)) | (vma.buffer.isLocal ? UInt32(UNBIND_PAGE_LOCAL) : 0)
        // While write access is being added, it is there or not.
        let mask = binding.isUpgraded && binding.bind.isDone != true ? ~UInt32(UNBIND_PAGE_WRITABLE) : .max
        try require(page.flags & mask == expected & mask, "\(text): flags \(page.flags), not \(expected)")
        // Written before the bind is reported only if nothing had to be waited for any more.
        try require(binding.isBound || binding.written.couldBeDone, "\(text) was written too early")
    }

    private func checkLeftover(_ page: SimulationPage, in space: SimulationSpace, _ waiting: inout [UInt64]) throws {
        var isExplained = false
        for (index, unbind) in space.pending.enumerated() {
            let binding = unbind.binding
            if !unbind.isLost, unbind.wasImmediate != true, binding.start <= page.address && page.address + page.size <= binding.end {
                waiting[index] += page.size
                isExplained = true
            }
        }
        // Or it is written already, and its VMA is not reported as bound before that has taken its time.
        for binding in space.bindings where !binding.isBound && binding.written.couldBeDone {
            if binding.start <= page.address && page.address + page.size <= binding.end { isExplained = true }
        }
        if !isExplained {
            let known = space.pending.map {
                "\($0.fence.name) at \(hex($0.binding.start))+\(hex($0.binding.vma.size))"
            }
            throw SimulationFailure("vm \(space.index): \(page) is of no vma, pending are \(known)")
        }
        try require(page.offset == 0, "page \(hex(page.address)) of no vma has an offset")
    }

    func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

    // MARK: Figures

    private func checkStatistics(of space: SimulationSpace) throws {
        let stats = spaceStats(space.handle)
        let text = "stats of vm \(space.index):"
        try require(
            stats.unbinds == stats.unbinds_immediate + stats.unbinds_deferred,
            "\(text) \(stats.unbinds) unbinds, \(stats.unbinds_immediate) + \(stats.unbinds_deferred)")
        try require(stats.unbinds == space.unbinds, "\(text) \(stats.unbinds) unbinds, made \(space.unbinds)")
        try require(
            stats.pending == stats.unbinds - stats.unbinds_completed,
            "\(text) \(stats.pending) pending, \(stats.unbinds) - \(stats.unbinds_completed)")
        let known = UInt64(space.pending.count { $0.fence.isDone == false })
        try require(
            stats.pending >= known && stats.pending <= UInt64(space.pending.count),
            "\(text) \(stats.pending) pending, expected \(known)...\(space.pending.count)")
        try require(stats.pending_peak >= stats.pending, "\(text) peak \(stats.pending_peak)")
        if space.policy == UNBIND_POLICY_RANGES, !space.hasColors {
            try require(
                stats.awaited_not_overlapping == 0, "\(text) \(stats.awaited_not_overlapping) awaited, not overlapping")
        }
        try require(stats.binds <= space.binds, "\(text) \(stats.binds) binds, made \(space.binds)")
        let bound = space.bindings.filter(\.isBound)
        try require(
            stats.bound >= UInt64(bound.count) && stats.bound <= UInt64(space.bindings.count),
            "\(text) \(stats.bound) bound, expected \(bound.count)...\(space.bindings.count)")
        if bound.count == space.bindings.count {
            try require(
                stats.bound_bytes == bound.reduce(0) { $0 + $1.high - $1.low }, "\(text) bound_bytes \(stats.bound_bytes)")
        }
    }

    private func checkFaults() throws {
        try require(faults.count >= expectedFaults, "faults: \(faults.count), explained \(expectedFaults)")
        if processedFaults == faults.count { return }
        processedFaults = faults.count
        for fault in faults {
            let isOfJob = jobs.contains { $0.queue.id == fault.queue_id && $0.seqno == fault.job_seqno }
            try require(isOfJob, "a fault names queue \(fault.queue_id), job \(fault.job_seqno)")
        }
    }

    private func checkReleases() throws {
        for buffer in releases {
            try require(buffer.handle == nil, "bo \(buffer.index) was released with a reference")
            try require(!liveVMAs.contains { $0.buffer === buffer }, "bo \(buffer.index) was released with a vma")
            for space in spaces {
                let user = space.pending.first { $0.binding.vma.buffer === buffer && !$0.fence.couldBeDone }
                try require(user == nil, "bo \(buffer.index) was released with \(user!.fence.name) pending")
            }
            let hold = liveHolds.first { $0.binding.vma.buffer === buffer }
            try require(hold == nil, "bo \(buffer.index) was released while it is held")
        }
        try require(Set(releases.map(\.index)).count == releases.count, "a bo was released twice")
    }
}
