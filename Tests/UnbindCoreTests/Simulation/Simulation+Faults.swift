// Faults: allocations that fail at random moments, and copies that do.
//
// A call that says -ENOMEM has changed nothing, and works when it is made again with memory. What must not need any
// memory is called with none to be had.

import CUnbind
import Glibc

extension Simulation {
    /// Makes the allocations of the next calls fail, now and then.
    func startFailing() -> Bool {
        if plan.isCalm || !random.chance(20) { return false }
        memory.failAllocations(after: random.pick([0, 0, 1, 2, 3, 5, 8]), count: random.pick([1, 1, 2, Int.max]))
        return true
    }

    /// A call whose allocations may fail: refused for that, it is compared with the model and made again.
    func withFailures(_ name: String, _ call: () -> Int32) throws -> Int32 {
        if !startFailing() { return call() }
        let status = call()
        if memory.stopFailing() == 0 || status != -ENOMEM { return status }
        say("\(name): refused for want of memory")
        try noteRefusal()
        return call()
    }

    /// A call has failed for want of memory: all is as the model has it.
    func noteRefusal() throws {
        outcome.coverage.refusals += 1
        try checkStep()
    }

    /// A call that needs no memory.
    @discardableResult
    func withoutMemory<T>(_ call: () -> T) -> T {
        if plan.isCalm || !random.chance(25) { return call() }
        memory.failAllocations(after: 0, count: Int.max)
        defer { memory.stopFailing() }
        return call()
    }

    /// Copies are made in the order of the moves, so it is known which will fail if none is under way.
    func failCopies() throws {
        if !plan.isCalm { try failCopies(random.pick([0, 1, 1, 2, 5])) }
    }

    func failCopies(_ count: Int) throws {
        try require(
            unbind_device_fail_next(device, UInt32(UNBIND_FAIL_COPY), UInt32(count)) == 0, "fail_next of copies")
        let underWay = buffers.contains { $0.moves.pendingCopy != nil }
        say("the next \(count) copies fail, under way: \(underWay)")
        failingCopies = underWay ? nil : count
        if underWay { for buffer in buffers { buffer.moves.copiesMayFail() } }
    }
}
