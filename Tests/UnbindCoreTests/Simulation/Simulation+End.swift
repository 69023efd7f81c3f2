// The end of a program: everything comes to rest, the model is compared once more, all is closed and nothing is left.

import CUnbind
import Glibc

extension Simulation {
    /// Signals what the caller still owes and runs until nothing is left to run.
    func settle() throws {
        step += 1
        try failCopies(0)
        for hold in liveHolds where !hold.isForgotten {
            try check(hold)
            while hold.references > 0 { try release(hold) }
        }
        while let fence = random.pickOptional(unsignalledByCaller) {
            try signal(fence, error: 0)
            if random.chance(30) { try require(unbind_device_run(device, 1, nil) == 0, "run at the end") }
            try drainSignals()
        }
        try require(unbind_device_run(device, 0, nil) == 0, "run at the end")
        // Sometimes it stays so until it is closed.
        for space in openSpaces where space.isSuspended && random.chance(80) { try resume(space) }
        step = step / 8 * 8 + 8
        try checkIdle()
        try checkStep()
        if !fences.contains(where: { $0.isNeverSignalled && $0.position == nil }) { try checkRest() }
        outcome.coverage.jobs = jobs.count { $0.isApplied && $0.fence.error == 0 && !$0.commands.isEmpty }
        outcome.digest = deviceStats(device).schedule_digest
        outcome.now = unbind_device_now(device)
        outcome.bytes = liveBuffers.map { [UInt8](UnsafeRawBufferPointer(start: $0.cpu, count: $0.size)) }
        outcome.statistics = [withUnsafeBytes(of: deviceStats(device)) { [UInt8]($0) }]
        outcome.coverage.faults = faults.count
        outcome.coverage.steps = step
        for space in spaces where space.handle != nil {
            let stats = spaceStats(space.handle)
            outcome.coverage.binds += Int(stats.binds)
            outcome.coverage.awaited += Int(stats.awaited)
            outcome.coverage.immediate += Int(stats.unbinds_immediate)
            outcome.coverage.deferred += Int(stats.unbinds_deferred)
            outcome.statistics.append(withUnsafeBytes(of: stats) { [UInt8]($0) })
            outcome.pages.append(space.isClosed ? [] : walkPages(space.handle!) ?? [])
        }
    }

    /// With nothing pending, the page tables are the bound VMAs and nothing else.
    private func checkRest() throws {
        let statistics = deviceStats(device)
        for space in spaces where space.handle != nil {
            let stats = spaceStats(space.handle)
            try require(stats.pending == 0, "vm \(space.index): \(stats.pending) unbinds pending at the end")
            try require(stats.unbinds_completed == space.unbinds, "vm \(space.index): unbinds completed at the end")
            try require(
                stats.bound == UInt64(space.bindings.count), "vm \(space.index): \(stats.bound) bound at the end")
            try require(space.pending.isEmpty, "vm \(space.index): the model has unbinds pending at the end")
        }
        let made = jobs.count + queuedCopies
        try require(
            statistics.jobs >= made && statistics.jobs <= made + perhapsQueuedCopies,
            "\(statistics.jobs) jobs completed of \(made) and perhaps \(perhapsQueuedCopies)")
        try require(statistics.faults == UInt64(faults.count), "\(statistics.faults) faults, reported \(faults.count)")
        try require(expectedFaults == faults.count, "\(faults.count) faults, expected \(expectedFaults)")
    }

    func tearDown() throws {
        step += 1
        let closesFirst = random.chance(25)
        if closesFirst {
            try closeDevice(isEmpty: false)
            try checkClosed()
            try dropEverything()
        } else {
            try dropEverything()
            try closeDevice(isEmpty: true)
        }
        unbind_device_unref(device)
        for buffer in buffers where buffer.wrapped != nil {
            try require(buffer.isReleased, "bo \(buffer.index): its memory was never released")
            let bytes = UnsafeRawBufferPointer(start: buffer.wrapped, count: buffer.size)
            try require(bytes.allSatisfy { $0 == 0xdd }, "bo \(buffer.index) was written after its release")
        }
        try require(Set(releases.map(\.index)).count == releases.count, "a bo was released twice")
        try require(power.references == 0 && power.complaint == nil, "power: \(power.counts)")
        if let complaint = memory.complaint { throw SimulationFailure("allocator: \(complaint)") }
    }

    private func closeDevice(isEmpty: Bool) throws {
        var report = makeHeaderStruct(unbind_leak_report())
        let owed = UInt64(fences.count { $0.kind == .caller && $0.position == nil })
        let pending = spaces.reduce(0) { $0 + $1.pending.count { $0.fence.isDone == false } }
        let held = fences.count { $0.handle != nil }
        for hold in liveHolds { noteEnd(of: hold) }
        let status = withoutMemory { unbind_device_close(device, &report) }
        say("device_close: \(status), \(report)")
        try require(status == 0, "device_close: \(status)")
        try require(report.holds == UInt32(liveHolds.count), "leaked holds: \(report.holds)")
        if isEmpty {
            let leaks = [report.vms, report.bos, report.vmas, report.queues, report.fences]
            try require(leaks.allSatisfy { $0 == 0 } && report.bo_bytes == 0, "leaks: \(report)")
        } else {
            try require(report.fences_cancelled == owed, "\(report.fences_cancelled) fences cancelled, owed \(owed)")
            try require(
                report.unbinds_completed >= pending, "\(report.unbinds_completed) unbinds completed of \(pending)")
            try require(report.vmas == UInt32(liveVMAs.count), "leaked vmas: \(report.vmas) of \(liveVMAs.count)")
            try require(report.queues == UInt32(liveQueues.count), "leaked queues: \(report.queues)")
            try require(report.fences >= UInt32(held), "leaked fences: \(report.fences) of \(held)")
            try require(report.bos >= UInt32(liveBuffers.count), "leaked bos: \(report.bos) of \(liveBuffers.count)")
            try require(report.vms >= UInt32(spaces.count { $0.handle != nil }), "leaked vms: \(report.vms)")
        }
        try require(unbind_device_close(device, nil) == -ENOENT, "the device could be closed twice")
    }

    /// After the close of a device every fence has signalled and everything says that it is closed.
    private func checkClosed() throws {
        for fence in fences where fence.handle != nil {
            try require(fence.position != nil, "\(fence.name) has not signalled by the close of the device")
            if fence.kind == .caller, fence.position! >= processed {
                try require(fence.error == -ENOENT, "\(fence.name) was cancelled with \(fence.error)")
            }
        }
        for space in spaces where !space.isClosed { try markClosed(space) }
        try drainSignals()
        var handle: OpaquePointer?
        try require(unbind_fence_create(device, &handle) == -ENOENT, "fence_create on a closed device")
        try require(unbind_bo_create(device, 0x1000, 0, 0, &handle) == -ENOENT, "bo_create on a closed device")
        try require(unbind_vm_create(device, nil, &handle) == -ENOENT, "vm_create on a closed device")
        try require(unbind_device_run(device, 0, nil) == -ENOENT, "run on a closed device")
        try require(handle == nil, "a failed call wrote its out-parameter")
        for vma in liveVMAs {
            try require(unbind_vma_bind_async(vma.handle, 0, nil) == -ENOENT, "bind on a closed device")
            try require(unbind_vma_state(vma.handle) == Int32(UNBIND_VMA_UNBOUND), "vma \(vma.index) is still bound")
        }
        for hold in liveHolds { try check(hold) }
        for buffer in liveBuffers where !buffer.moves.mayBeLost {
            try require(memcmp(buffer.cpu, buffer.expected, buffer.size) == 0, "bo \(buffer.index) after the close")
        }
    }

    /// Drops every handle, in random order.
    private func dropEverything() throws {
        var drops: [() throws -> Void] = []
        for vma in liveVMAs { drops.append { try self.drop(vma) } }
        for buffer in liveBuffers { drops.append { self.drop(buffer) } }
        for queue in liveQueues { drops.append { self.drop(queue) } }
        for fence in fences where fence.handle != nil { drops.append { try self.dropHandle(fence) } }
        for hold in liveHolds { drops.append { while hold.references > 0 { try self.release(hold) } } }
        for space in spaces {
            drops.append {
                self.say("drop vm \(space.index)")
                try self.markClosed(space)
                unbind_vm_unref(space.handle)
                space.handle = nil
            }
        }
        random.shuffle(&drops)
        for drop in drops {
            try drop()
            try drainSignals()
            try checkReleasesAtEnd()
        }
    }

    private func checkReleasesAtEnd() throws {
        for buffer in releases { try require(buffer.handle == nil, "bo \(buffer.index) was released with a reference") }
    }
}
