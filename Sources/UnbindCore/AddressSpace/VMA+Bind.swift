// Binding (i915_vma_pin_ww and i915_vma_bind); each try is a BindAttempt.
//
// Two ways to deal with pending unbinds that are in the way: an asynchronous bind takes its range at once and has its
// entries written when they are done; a synchronous bind waits for them before it takes anything, so that a wait that
// fails has changed nothing (P24). Neither holds a lock while it waits (P31).

extension UnsafeMutablePointer where Pointee == VMA {
    /// Binds without waiting for pending unbinds. The bind fence, with a reference; nil if the VMA is bound already
    /// or the bind was done at once.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: closed, noSpace, noMemory; deadlock only if there was no memory to await an unbind, so that it had
    ///   to be waited for. A pin: also busy, again.
    func bindWithoutWaiting(_ request: BindRequest) throws(Status) -> FencePointer? {
        try bind(request, onPendingUnbinds: .await, interruptible: false)
    }

    /// Binds and waits until that is done. A failure leaves everything as it was.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: as bindWithoutWaiting; interrupted and deadlock from the wait.
    func bindAndWait(_ request: BindRequest, interruptible: Bool) throws(Status) {
        guard let fence = try bind(request, onPendingUnbinds: .wait, interruptible: interruptible) else { return }
        // All that the caller or the GPU could hold up has been waited for: this ends by itself.
        defer { fence.drop() }
        try pointee.vm.pointee.device.wait(for: fence)
        if pointee.vm.pointee.backendSpace == nil || fence.error == 0 { return }
        // The backend could not map it. Somebody else may have taken the binding away already, and bound it anew.
        if case .scheduled(let unbind) = tryUnbind(UnbindManner(respectsSuccess: true)) { unbind.drop() }
        throw Status(raw: fence.error)
    }

    /// The present binding is one in name: a backend could not map it.
    /// - Locking: the VM's lock is held.
    var hasFailed: Bool {
        guard let fence = pointee.bindFence, fence.isSignalled else { return false }
        return fence.error != 0
    }

    private func bind(
        _ request: BindRequest, onPendingUnbinds reaction: BindAttempt.Reaction, interruptible: Bool
    ) throws(Status) -> FencePointer? {
        let device = pointee.vm.pointee.device
        // Read only when it comes to waiting: the clock is a good part of what a bind costs.
        var calledAt: UInt64 = 0
        var waitedFor = BindDependencies()
        var power = pointee.vm.power
        power?.get()
        defer { power?.put() }
        var powerReferences = 0
        while true {
            var attempt = BindAttempt(
                vma: self, request: request, calledAt: calledAt, reaction: reaction, waitedFor: waitedFor,
                powerReferences: powerReferences)
            let outcome = try attempt.run()
            if attempt.isLeftToWork { power = nil }
            switch outcome {
            case .done(let entries):
                // Time passes for the caller: it has written the entries itself.
                device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: entries))
                return nil
            case .underWay(let fence): return fence
            case .blocked(let fence):
                defer { fence.drop() }
                // Waiting for an unbind from within the work that may be about to complete it would last for ever.
                if reaction == .await, device.pointee.executor.isRunningOnThisThread { throw Status.noMemory }
                if waitedFor.awaited == 0 {
                    waitedFor = attempt.dependencies
                    calledAt = device.now
                }
                try device.wait(for: fence, interruptible: interruptible)
                powerReferences = 0
            case .needsPower(let count):
                // The device is awake, for the bind.
                for _ in 0..<count { power?.get() }
                powerReferences = count
            }
        }
    }
}
