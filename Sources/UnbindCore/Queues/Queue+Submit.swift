// Submitting a job (i915_gem_do_execbuffer, in what concerns the address space).
//
// Everything that can fail comes first: the job with its commands and awaits, a reservation slot and an edge for each
// VMA it uses. Then, under the VM's lock, the job takes its place in the timeline, its fence is attached to each
// VMA's present binding, and it is appended. From then on an unbind of any of those VMAs waits for it.

import Synchronization

/// How a job uses a VMA.
struct VMAUse {
    let vma: VMAPointer
    let usage: FenceUsage
}

extension UnsafeMutablePointer where Pointee == Queue {
    /// An empty job; ends in `submit` or `discard`.
    /// - Failure: noMemory, lost.
    func makeJob(commandCount: Int) throws(Status) -> JobPointer {
        let device = pointee.vm.pointee.device
        if let backend = device.pointee.backend { try backend.checkNotLost() }
        let job = try device.pointee.gpu.makeJob(for: pointee.engine!, commandCount: commandCount)
        device.retain()
        return job
    }

    /// The job is to tell its backend what it uses, if that wants to know.
    /// - Failure: noMemory.
    func prepareUses(of job: JobPointer, count: Int) throws(Status) {
        if pointee.vm.pointee.device.pointee.backend?.pointee.link?.declare == nil { return }
        try job.makeRoomForUses(count)
    }

    /// Appends the job. Its fence, with a reference. The job is not discarded on failure.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: invalid if a VMA is of another VM or unbound; closed; again if the VM is suspended; noMemory.
    func submit(_ job: JobPointer, uses: UnsafeMutableBufferPointer<VMAUse>) throws(Status) -> FencePointer {
        for use in uses where use.vma.pointee.vm != pointee.vm { throw Status.invalid }
        var reserved = 0
        do throws(Status) {
            while reserved < uses.count {
                try uses[reserved].vma.reserveSlot()
                reserved += 1
            }
            let fence = try admit(job, uses: uses)
            for use in uses { use.vma.fillSlot(fence, usage: use.usage) }
            return fence
        } catch {
            for index in 0..<reserved { uses[index].vma.unreserveSlot() }
            throw error
        }
    }

    private func admit(_ job: JobPointer, uses: UnsafeMutableBufferPointer<VMAUse>) throws(Status) -> FencePointer {
        let vm = pointee.vm
        let device = vm.pointee.device
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        if vm.isClosed { throw Status.closed }
        if vm.isSuspended { throw Status.again }
        for use in uses {
            guard use.vma.node.pointee.isAllocated else { throw Status.invalid }
            if let bindFence = use.vma.pointee.bindFence { try job.await(bindFence) }
        }
        let fence = pointee.engine!.admit(job)
        do throws(Status) {
            try attach(fence, to: uses)
        } catch {
            // It was no submit: the next one gets its place.
            pointee.engine!.pointee.lastAdmitted = job.pointee.seqno &- 1
            throw error
        }
        for use in uses { job.addUse(of: use.vma.node.pointee.start, use.vma.node.pointee.size, usage: use.usage) }
        // One for the caller: the engine's own goes when the job ends.
        fence.retain()
        retain()
        device.workBegan()
        _ = vm.pointee.jobsInFlight.wrappingAdd(1, ordering: .relaxed)
        pointee.engine!.append(job)
        return fence
    }

    /// All edges or none.
    private func attach(_ fence: FencePointer, to uses: UnsafeMutableBufferPointer<VMAUse>) throws(Status) {
        let device = pointee.vm.pointee.device
        var edges: AwaitPointer?
        do throws(Status) {
            for _ in uses {
                let edge = try device.makeAwait(on: fence, function: unbindAwaitFired)
                edge.pointee.next = edges
                edges = edge
            }
        } catch {
            while let edge = edges {
                edges = edge.pointee.next
                device.free(edge)
            }
            throw error
        }
        for use in uses {
            let edge = edges!
            edges = edge.pointee.next
            use.vma.addUser(edge)
        }
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// A slot for a fence in the buffer's reservation.
    fileprivate func reserveSlot() throws(Status) {
        let reservation = pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        defer { reservation.pointee.lock.release() }
        try reservation.reserve(1)
    }

    fileprivate func fillSlot(_ fence: FencePointer, usage: FenceUsage) {
        let reservation = pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        reservation.add(fence, usage: usage)
        reservation.pointee.lock.release()
    }

    fileprivate func unreserveSlot() {
        let reservation = pointee.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        reservation.unreserve(1)
        reservation.pointee.lock.release()
    }
}
