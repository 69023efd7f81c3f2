// Losing what the tables hold, and having it written again (i915_ggtt_suspend_vm, gen8_ppgtt restore).
//
// Suspending empties every table at once, without regard to who wrote what; the tables stay with those that reserved
// them, so that writing them again needs no memory. Each loss begins a new generation: a binding is in the tables if it
// was written in the present one. Nobody walks the tables meanwhile: the caller has seen to it that no job is in
// flight.

import Synchronization

extension UnsafeMutablePointer where Pointee == SoftwareSpace {
    /// Empties the tables. Until `resume` nothing is written to them.
    func suspend() {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        invariant(!pointee.isSuspended, "page tables were suspended twice")
        pointee.isSuspended = true
        pointee.generation = pointee.generation &+ 1
        lose(pointee.root)
    }

    /// From now on entries are written again.
    func resume() {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        invariant(pointee.isSuspended, "page tables were resumed that were not suspended")
        pointee.isSuspended = false
    }

    /// As deep as there are levels.
    private func lose(_ table: PageTablePointer) {
        table.pointee.writers = 0
        table.pointee.smallWriters = 0
        for index in 0..<PageTableLevel.entryCount {
            if table.pointee.entries[index].load(ordering: .relaxed) != 0 {
                table.pointee.entries[index].store(0, ordering: .releasing)
            }
            if table.pointee.level > 0, let child = table.child(index) { lose(child) }
        }
    }
}
