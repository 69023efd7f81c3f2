// Suspending and resuming an address space whose page tables a backend has: all that is mapped is unmapped, and later
// mapped again. Its bindings stay.
//
// The work of the BackendSpace does both, between two of its rounds; so no bind and no unbind of the VM is half-way
// then. A binding's `writtenIn` changes in advance, under the VM's lock, when the list is made: a mapping that is split
// meanwhile has pieces of the state to come, and an unbind waits for this work anyway. What is bound while the VM
// is suspended becomes `suspended` without a call; what is unbound then has nothing to unmap.
//
// The calls wait: a job that is submitted after a resume finds everything mapped.

import CSystem
import Synchronization

extension UnsafeMutablePointer where Pointee == BackendSpace {
    private var executor: ExecutorPointer { pointee.backend.pointee.device.pointee.executor }

    /// - Locking: nothing may be held.
    /// - Failure: unsupported: the backend may leave what it unmaps; closed; invalid: suspended already; busy: a job
    ///   is in flight, or a mapping under way is being split; noMemory; lost; deadlock.
    func suspend() throws(Status) {
        try checkCanSuspend()
        let vm = pointee.vm!
        if executor.isRunningOnThisThread { throw Status.deadlock }
        do {
            vm.pointee.lock.acquire()
            defer { vm.pointee.lock.release() }
            if vm.isClosed { throw Status.closed }
            if vm.isSuspended { throw Status.invalid }
            if vm.pointee.jobsInFlight.load(ordering: .acquiring) != 0 { throw Status.busy }
            vm.pointee.suspendedFlag.store(true, ordering: .releasing)
            pointee.isTransferring = true
        }
        try transfer(.suspend)
    }

    /// - Locking: nothing may be held.
    /// - Failure: unsupported, closed, deadlock as above; invalid: not suspended; busy: a suspend or resume is under
    ///   way, or a mapping is being split; noMemory, lost, what the backend says: it stays suspended.
    func resume() throws(Status) {
        try checkCanSuspend()
        let vm = pointee.vm!
        if executor.isRunningOnThisThread { throw Status.deadlock }
        do {
            vm.pointee.lock.acquire()
            defer { vm.pointee.lock.release() }
            if vm.isClosed { throw Status.closed }
            if !vm.isSuspended { throw Status.invalid }
            if pointee.isTransferring { throw Status.busy }
            pointee.isTransferring = true
        }
        try transfer(.resume)
    }

    private func checkCanSuspend() throws(Status) {
        if pointee.backend.has(Capability.explicitUnbind) { return }
        pointee.backend.pointee.device.log(.error) {
            $0.text("an address space cannot be suspended: its backend leaves what it unmaps where it was")
        }
        throw Status.unsupported
    }

    /// Hands the work a transfer, with more room as long as it wants that, and waits for its end.
    private func transfer(_ kind: BackendTransfer.Kind) throws(Status) {
        let device = pointee.backend.pointee.device
        // A close waits until it is over: the executor is not stopped before.
        if !device.tryBeginWork() {
            endTransferring(kind, hasFailed: true)
            throw Status.closed
        }
        defer { device.workEnded() }
        var capacity = 64
        while true {
            let transfer: BackendTransferPointer
            do throws(Status) {
                try pointee.backend.checkNotLost()
                transfer = try .make(kind, capacity: capacity, memory: device.pointee.memory)
            } catch {
                endTransferring(kind, hasFailed: true)
                throw error
            }
            try run(transfer)
            let (status, needed) = (transfer.pointee.status, transfer.pointee.needed)
            transfer.free()
            if needed > capacity {
                capacity = needed
                continue
            }
            if status != 0 { throw Status(raw: status) }
            return
        }
    }

    /// - Failure: deadlock: the transfer is the work's.
    private func run(_ transfer: BackendTransferPointer) throws(Status) {
        pointee.lock.acquire()
        pointee.requested = transfer
        let starts = start()
        pointee.lock.release()
        if starts { executor.submit(item) }
        do throws(Status) {
            let word = memberPointer(of: transfer, at: BackendTransfer.wordOffset, as: Atomic<UInt32>.self)
            try executor.wait(forWord: word, interruptible: false)
        } catch {
            pointee.lock.acquire()
            let hasEnded = transfer.pointee.word.load(ordering: .acquiring) != 0
            if !hasEnded { transfer.pointee.isAbandoned = true }
            pointee.lock.release()
            if !hasEnded { throw error }
        }
    }

    /// - Locking: the VM's must not be held.
    private func endTransferring(_ kind: BackendTransfer.Kind, hasFailed: Bool) {
        let vm = pointee.vm!
        vm.pointee.lock.acquire()
        pointee.isTransferring = false
        if (kind == .suspend) == hasFailed { vm.pointee.suspendedFlag.store(false, ordering: .releasing) }
        vm.pointee.lock.release()
    }

    // MARK: The work

    /// Begins what a call waits for. False: nothing.
    func beginTransfer() -> Bool {
        pointee.lock.acquire()
        let requested = pointee.requested
        pointee.requested = nil
        pointee.lock.release()
        guard let transfer = requested else { return false }
        pointee.transfer = transfer
        pointee.unmappedStart = .max
        pointee.unmappedEnd = 0
        resetLimit()
        transfer.pointee.status = fill(transfer)
        pointee.step = transfer.pointee.status != 0 || transfer.pointee.needed > 0 ? .transferred : .transfer
        return true
    }

    /// Lists the bindings. An error, or 0.
    private func fill(_ transfer: BackendTransferPointer) -> Int32 {
        let vm = pointee.vm!
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        if pointee.splits.load(ordering: .acquiring) != 0 { return Status.busy.raw }
        let suspends = transfer.pointee.kind == .suspend
        let old = suspends ? VMAResource.mapped : VMAResource.suspended
        let new = suspends ? VMAResource.suspended : VMAResource.mapped
        var count = 0
        forEachBinding(includingPending: suspends) { resource, _ in
            if resource.pointee.writtenIn == old { count += 1 }
        }
        if count > transfer.pointee.capacity {
            transfer.pointee.needed = count &+ count / 8
            return 0
        }
        forEachBinding(includingPending: suspends) { resource, mapping in
            if resource.pointee.writtenIn != old { return }
            resource.pointee.writtenIn = new
            transfer.add(resource, mapping)
        }
        transfer.sort()
        return 0
    }

    /// - Locking: the VM's is held.
    private func forEachBinding(includingPending: Bool, _ body: (ResourcePointer, MappingFlags) -> Void) {
        let vm = pointee.vm!
        var next = vm.pointee.ranges.firstNode(endingAfter: 0)
        while let node = next {
            next = vm.pointee.ranges.next(after: node)
            let vma = VMAPointer(containing: node)
            if let resource = vma.pointee.resource { body(resource, vma.mapping?.flags ?? MappingFlags()) }
        }
        if !includingPending { return }
        vm.pointee.pending.forEachUnfinished(overlapping: 0...(.max)) { resource, _ in
            body(resource, MappingFlags())
            return true
        }
    }

    func transfer() -> BackendOutcome {
        let transfer = pointee.transfer!
        let unmaps = transfer.pointee.kind == .suspend || transfer.pointee.limit != nil
        if !pointee.isResumed {
            if pointee.backend.isLost {
                transfer.pointee.status = Status.lost.raw
                pointee.step = .transferred
                return .goOn
            }
            transfer.gather(into: pointee.batch)
            if pointee.batch.isEmpty {
                pointee.step = unmaps ? .invalidate : .transferred
                return .goOn
            }
        }
        guard let status = update() else { return .pending }
        if status == 0 {
            pointee.retries = 0
            if unmaps { noteUnmapped() }
            transfer.pointee.place = transfer.pointee.end
        } else if status == -ENOBUFS, pointee.batch.pointee.count > 1 {
            pointee.batch.pointee.limit = pointee.batch.pointee.count / 2
        } else if unmaps {
            if let outcome = retry(after: status) { return outcome }
        } else {
            transfer.pointee.status = status
            transfer.turnBack()
        }
        return .goOn
    }

    /// What was to be transferred has been, or not.
    func endTransfer() {
        let transfer = pointee.transfer!
        let (kind, wantsRoom) = (transfer.pointee.kind, transfer.pointee.needed > transfer.pointee.capacity)
        if pointee.backend.isLost { transfer.pointee.status = Status.lost.raw }
        let hasFailed = transfer.pointee.status != 0
        if hasFailed, transfer.pointee.count > 0 { takeBack(kind) }
        transfer.dropEntries()
        pointee.transfer = nil
        pointee.step = .take
        if !hasFailed, !wantsRoom { pointee.isSuspended = kind == .suspend }
        if hasFailed || !wantsRoom { endTransferring(kind, hasFailed: hasFailed) }
        pointee.lock.acquire()
        let isAbandoned = transfer.pointee.isAbandoned
        let word = memberPointer(of: transfer, at: BackendTransfer.wordOffset, as: Atomic<UInt32>.self)
        let address = word.pointee.address
        word.pointee.store(1, ordering: .releasing)
        pointee.lock.release()
        // The call may have freed it.
        executor.wake(wordAt: address)
        if !isAbandoned { return }
        transfer.free()
        if wantsRoom, !hasFailed { endTransferring(kind, hasFailed: true) }
    }

    /// The state that was to come has not: of the pieces of mappings that were split meanwhile, too. In a VM that is
    /// suspended nothing is mapped; on a lost device nobody knows.
    private func takeBack(_ kind: BackendTransfer.Kind) {
        let vm = pointee.vm!
        let old = kind == .suspend ? VMAResource.suspended : VMAResource.mapped
        let new = pointee.backend.isLost ? VMAResource.lost : VMAResource.suspended
        vm.pointee.lock.acquire()
        forEachBinding(includingPending: true) { resource, _ in
            if resource.pointee.writtenIn == old { resource.pointee.writtenIn = new }
        }
        vm.pointee.lock.release()
    }
}
