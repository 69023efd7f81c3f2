// What a finished job must have done: to the naive memory, to its results, to its error, to the list of faults.

import CUnbind
import Glibc

extension Simulation {
    /// Takes the effect of a job whose fence has signalled.
    func apply(_ job: SimulationJob) throws {
        guard !job.isApplied else { return }
        job.isApplied = true
        let error = job.fence.error
        let isLost = job.bindings.contains { $0.vma.buffer.moves.isKnownLost($0.generation) }
        let mayBeLost = job.bindings.contains { $0.vma.buffer.moves.mayBeLost($0.generation) }
        let inherited = job.waits.map(\.error).filter { $0 != 0 } + (isLost || mayBeLost && error == -EIO ? [-EIO] : [])
        if error != 0 { outcome.coverage.dyingJobs += 1 }
        for binding in job.bindings { noteUse(of: binding) }
        if !inherited.isEmpty {
            try require(
                inherited.contains(error), "\(job.fence.name) has error \(error), waited for fences with \(inherited)")
            return
        }
        let hasReason = job.commands.contains { command in
            switch command {
            case .wait(let fence): fence.error != 0
            case .stray: true
            default: false
            }
        }
        if !hasReason {
            let fault = faults.first { $0.queue_id == job.queue.id && $0.job_seqno == job.seqno }
            let text = fault.map { ", a fault of kind \($0.kind) at \(hex($0.address))" } ?? ""
            try require(error == 0, "\(job.fence.name) has error \(error) and no reason for it\(text)")
        }
        for (index, command) in job.commands.enumerated() {
            switch command {
            case .wait(let fence):
                // Its handle was dropped meanwhile: an unbind's, which carries no error.
                if !fence.isObserved { continue }
                guard let position = fence.position, position < job.fence.position!, fence.time <= job.fence.time else {
                    throw SimulationFailure("\(job.fence.name) did not WAIT for \(fence.name)")
                }
                if fence.error == 0 { continue }
                try require(
                    error == fence.error, "\(job.fence.name) has error \(error), its WAIT met error \(fence.error)")
                return
            case .stray(let address, let isWrite, let kinds, let mayPass, let binding):
                if mayPass, error == 0 { continue }
                try require(error == -EFAULT, "\(job.fence.name) strayed and has error \(error)")
                try expectFault(
                    of: job, command: index, address: address, isWrite: isWrite, kinds: kinds, over: binding)
                return
            default:
                try applyToMemory(command, of: job)
            }
        }
        try require(error == 0, "\(job.fence.name) has error \(error) and no reason for it")
    }

    /// What was in older memories of the buffer stays as it is from now on.
    private func noteUse(of binding: SimulationBinding) {
        let buffer = binding.vma.buffer
        let contents = UnsafeRawBufferPointer(start: buffer.expected, count: buffer.size)
        let isHeld = liveHolds.contains { $0.binding.vma.buffer === buffer }
        buffer.moves.willWrite(binding.generation, after: contents, isHeld: isHeld)
    }

    private func applyToMemory(_ command: SimulationCommand, of job: SimulationJob) throws {
        switch command {
        case .fill(let place, let size, var value):
            let target = place.buffer.expected + place.offset
            for offset in stride(from: 0, to: min(size, 4), by: 4) { memcpy(target + offset, &value, 4) }
            var done = 4
            while done < size {
                let piece = min(done, size - done)
                memcpy(target + done, target, piece)
                done += piece
            }
        case .copy(let target, let source, let size):
            memcpy(target.buffer.expected + target.offset, source.buffer.expected + source.offset, size)
        case .store(let place, var value):
            memcpy(place.buffer.expected + place.offset, &value, 8)
        case .load(let place, let slot):
            let value = (place.buffer.expected + place.offset).loadUnaligned(as: UInt64.self)
            let result = job.results[slot]
            try require(
                result == value,
                "\(job.fence.name) loaded \(String(result, radix: 16)), not \(String(value, radix: 16))")
        default:
            break
        }
    }

    private func expectFault(
        of job: SimulationJob, command: Int, address: UInt64, isWrite: Bool, kinds: [UInt32],
        over binding: SimulationBinding?
    ) throws {
        let found = faults.filter { $0.queue_id == job.queue.id && $0.job_seqno == job.seqno }
        try require(found.count == 1, "\(job.fence.name) faulted; \(found.count) faults were reported")
        let fault = found[0]
        expectedFaults += 1
        try require(kinds.contains(fault.kind), "\(job.fence.name): fault of kind \(fault.kind), expected \(kinds)")
        try require(fault.address == address, "\(job.fence.name): fault at \(fault.address), not \(address)")
        let access = isWrite ? UInt32(UNBIND_ACCESS_WRITE) : UInt32(UNBIND_ACCESS_READ)
        try require(fault.access == access, "\(job.fence.name): fault of access \(fault.access)")
        try require(
            fault.command_index == UInt32(command), "\(job.fence.name): fault in command \(fault.command_index)")
        try require(fault.vm_id == job.queue.space.id, "\(job.fence.name): fault in vm \(fault.vm_id)")
        try require(fault.time_ns <= job.fence.time, "\(job.fence.name): fault after its end")
        if let binding {
            try require(
                fault.last_bo_id == binding.vma.buffer.id && fault.last_start == binding.start
                    && fault.last_size == binding.vma.size,
                "\(job.fence.name): the fault names bo \(fault.last_bo_id) at \(fault.last_start)+\(fault.last_size)")
        }
    }
}
