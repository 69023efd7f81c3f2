// Suspending and resuming an address space: its bindings stay, its page tables' contents go and come back.
//
// While it is suspended binds and unbinds go on as ever, but write and clear no entry; everything that is bound when it
// is resumed gets its entries then. So nobody has to wait for the resume but who wants to submit a job. Unbinds wait
// for their users, are held, and stay in the way of binds, as in a VM at work.

import Synchronization

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// Written under the lock.
    var isSuspended: Bool { pointee.suspendedFlag.load(ordering: .acquiring) }

    /// Empties the page tables and the TLBs.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: closed; invalid if it is suspended; busy while a job is in flight; what BackendSpace says. Nothing
    ///   changes then.
    func suspend() throws(Status) {
        if let backend = pointee.backendSpace { return try backend.suspend() }
        let device = pointee.device
        let power = power
        power?.get()
        defer { power?.put() }
        do {
            pointee.lock.acquire()
            defer { pointee.lock.release() }
            if isClosed { throw Status.closed }
            if isSuspended { throw Status.invalid }
            if pointee.jobsInFlight.load(ordering: .acquiring) != 0 { throw Status.busy }
            pointee.suspendedFlag.store(true, ordering: .releasing)
            pointee.space.suspend()
            invalidate(start: 0, size: .max)
        }
        device.pointee.executor.charge(device.pointee.gpu.invalidationCost)
    }

    /// Writes the entries of all that is bound. Needs no memory, but with a backend.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: closed; invalid if it is not suspended; what BackendSpace says.
    func resume() throws(Status) {
        if let backend = pointee.backendSpace { return try backend.resume() }
        let device = pointee.device
        let power = power
        power?.get()
        defer { power?.put() }
        var entries: UInt64 = 0
        do {
            pointee.lock.acquire()
            defer { pointee.lock.release() }
            if isClosed { throw Status.closed }
            if !isSuspended { throw Status.invalid }
            pointee.space.resume()
            var next = pointee.ranges.firstNode(endingAfter: 0)
            while let node = next {
                next = pointee.ranges.next(after: node)
                if let resource = VMAPointer(containing: node).pointee.resource {
                    entries &+= resource.rewriteEntries()
                }
            }
            pointee.suspendedFlag.store(false, ordering: .releasing)
        }
        device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: entries))
    }
}
