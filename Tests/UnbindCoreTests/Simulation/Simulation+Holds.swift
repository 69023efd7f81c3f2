// Holds: a held unbind's fence does not signal, its memory stays and reads as it was, and nothing else changes.

import CUnbind
import Glibc

extension Simulation {
    var liveHolds: [SimulationHold] { holds.filter { $0.handle != nil } }

    func holdSomething() throws {
        // They would make a calm program's waits end in -EDEADLK.
        if plan.isCalm { return }
        switch random.below(10) {
        case 0..<4: try holdVMA()
        case 4..<6: try holdAddress()
        case 6: if let hold = random.pickOptional(liveHolds) { try check(hold) }
        default:
            guard let hold = random.pickOptional(liveHolds.filter { !$0.isForgotten }) else { return }
            try check(hold)
            try release(hold)
        }
    }

    private func holdVMA() throws {
        let likely = liveVMAs.filter { $0.binding != nil }
        guard let vma = random.pickOptional(random.chance(15) ? liveVMAs : likely) else { return }
        var handle: OpaquePointer?
        let status = try withFailures("vma_hold") { unbind_vma_hold(vma.handle, &handle) }
        say("hold vma \(vma.index): \(status)")
        let expected = vma.binding == nil ? -EINVAL : 0
        try require(status == expected, "hold of vma \(vma.index) gave \(status), not \(expected)")
        try require((handle != nil) == (status == 0), "hold of vma \(vma.index): out_hold")
        if let handle { try record(handle, of: vma.binding!) }
    }

    /// At an address where it is clear what the GPU finds.
    private func holdAddress() throws {
        let open = openSpaces.filter { $0.handle != nil }
        guard let space = random.pickOptional(open) else { return }
        let known = space.bindings + space.pending.map(\.binding)
        guard let target = random.pickOptional(known) else { return }
        let address = target.start + random.next() % target.vma.size
        let owner = space.bindings.first { $0.start <= address && address < $0.end }
        let near = space.pending.filter { $0.binding.low <= address && address < $0.binding.high }
        if near.contains(where: { $0.fence.isDone == nil || $0.wasImmediate != false }) { return }
        // A guard has no memory to hold.
        let unbinding = near.first { unbind in
            unbind.fence.isDone == false && unbind.binding.start <= address && address < unbind.binding.end
        }
        let found = owner?.isBound == true ? owner : unbinding?.binding ?? owner
        let isGuarded = space.bindings.contains { $0 !== owner && $0.low <= address && address < $0.high }
        guard !isGuarded, let found else { return }
        var handle: OpaquePointer?
        let status = try withFailures("vm_hold") { unbind_vm_hold(space.handle, address, &handle) }
        say("hold \(hex(address)) of vm \(space.index): \(status)")
        try require(status == 0 && handle != nil, "hold of \(hex(address)) in vm \(space.index) gave \(status)")
        try record(handle!, of: found)
    }

    private func record(_ handle: OpaquePointer, of binding: SimulationBinding) throws {
        let fence = try record(.hold, nil)
        let hold = SimulationHold(handle, binding, fence)
        hold.isForgotten = random.chance(6)
        fence.isNeverSignalled = hold.isForgotten
        say("  is \(fence.name) on vma \(binding.vma.index)")
        if random.chance(20) {
            try require(unbind_hold_ref(handle) == handle, "hold_ref")
            hold.references += 1
        }
        holds.append(hold)
        binding.holds.append(hold)
        outcome.coverage.holds += 1
        for unbind in binding.vma.space.pending where unbind.binding === binding { unbind.fence.mustFollow(fence) }
        try check(hold)
    }

    /// Compares what it says and what it reads with the model.
    func check(_ hold: SimulationHold) throws {
        let binding = hold.binding
        let buffer = binding.vma.buffer
        var info = makeHeaderStruct(unbind_hold_info())
        try require(unbind_hold_get_info(hold.handle, &info) == 0, "\(hold.fence.name): get_info")
        try require(
            info.address == binding.start && info.size == binding.vma.size && info.bo_id == buffer.id,
            "\(hold.fence.name) is of bo \(info.bo_id) at \(hex(info.address))+\(hex(info.size))")
        let isBroken = info.flags & UInt32(UNBIND_HOLD_BROKEN) != 0
        try require(isBroken == (hold.fence.isDone == true), "\(hold.fence.name): broken is \(isBroken)")
        let isUnbinding = info.flags & UInt32(UNBIND_HOLD_UNBINDING) != 0
        if !isBroken {
            let isUnbound = binding.vma.binding !== binding
            try require(isUnbinding == isUnbound, "\(hold.fence.name): unbinding is \(isUnbinding)")
        }
        if binding.generation == buffer.moves.generation {
            let isLocal = info.flags & UInt32(UNBIND_HOLD_LOCAL) != 0
            try require(isLocal == buffer.isLocal, "\(hold.fence.name): local is \(isLocal)")
        }
        let isReadOnly = info.flags & UInt32(UNBIND_HOLD_READ_ONLY) != 0
        try require(isReadOnly == binding.isReadOnly, "\(hold.fence.name): read only is \(isReadOnly)")
        try checkBytes(of: hold)
    }

    private func checkBytes(of hold: SimulationHold) throws {
        let binding = hold.binding
        let buffer = binding.vma.buffer
        let count = 1 + random.below(0x1000)
        let page = random.below(Int(binding.vma.size / 0x1000))
        let offset = UInt64(page * 0x1000 + random.below(0x1001 - count))
        var bytes = [UInt8](repeating: 0, count: count)
        let outside = unbind_hold_read(hold.handle, binding.vma.size - UInt64(count) + 1, &bytes, UInt64(count))
        try require(outside == -EINVAL, "\(hold.fence.name) was read past its end")
        try require(unbind_hold_read(hold.handle, offset, &bytes, UInt64(count)) == 0, "\(hold.fence.name): read")
        let isWritten = jobs.contains { job in
            job.fence.isDone != true
                && job.bindings.contains { $0.vma.buffer === buffer && $0.generation <= binding.generation }
        }
        guard !isWritten, let place = binding.vma.bufferOffset(of: offset) else { return }
        let now = UnsafeRawBufferPointer(start: buffer.expected, count: buffer.size)
        let known = buffer.moves.contents(of: binding.generation, now: now, at: Int(place), count: count)
        guard let known else { return }
        try require(bytes == known, "\(hold.fence.name) on bo \(buffer.index): other bytes at \(hex(place))")
    }

    /// Drops a reference. The last one ends the hold, and an unbind that waited for nothing else.
    func release(_ hold: SimulationHold) throws {
        hold.references -= 1
        say("drop a reference to \(hold.fence.name), \(hold.references) left")
        if hold.references == 0 { noteEnd(of: hold) }
        withoutMemory { unbind_hold_unref(hold.handle) }
        if hold.references > 0 { return }
        hold.handle = nil
        try drainSignals()
        if hold.binding.isHeld { return }
        for unbind in hold.binding.vma.space.pending where unbind.binding === hold.binding {
            if unbind.wasImmediate != true { continue }
            let fence = unbind.fence
            try require(fence.isDone != false, "\(fence.name) waits for more than its holds")
        }
    }

    /// What it delays may signal from now on.
    func noteEnd(of hold: SimulationHold) {
        if hold.fence.position != nil { return }
        hold.fence.position = signalled.count
        hold.fence.time = unbind_device_now(device)
        signalled.append(hold.fence)
    }
}
