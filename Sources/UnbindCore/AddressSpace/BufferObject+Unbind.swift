// Unbinding a buffer object from every address space (i915_gem_object_unbind).
//
// What an owner of memory does before the memory moves or goes. Each VMA is tried without waiting if that is asked
// for, and there is one answer (-EBUSY) for everything that cannot be done that way; such a VMA is then unbound
// with waiting, if that is allowed or there is nothing to wait for.
//
// The walk keeps a reference to the VMA it is at, and so its place in the list; VMAs made meanwhile are not met.

struct ObjectUnbindOptions {
    /// GPU work on a VMA may be waited for.
    var waitsForActive = false
    /// A VM that is closing is waited for, rather than reported.
    var waitsForClosing = false
    /// Nothing is unbound: only whether anything is bound is told.
    var onlyTests = false
    /// A VM whose lock is taken is reported, rather than waited for.
    var triesLock = false
    /// The unbinds are scheduled, not waited for, where that is possible.
    var isAsynchronous = false
    var interruptible = false
}

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// Stops at the first VMA that fails; those before it stay unbound.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: busy (in use, or only testing and bound, or a lock was taken), again (pinned, or its VM is closing),
    ///   interrupted, deadlock.
    func unbindAll(_ options: ObjectUnbindOptions) throws(Status) {
        var current = vma(after: nil)
        while let vma = current {
            do throws(Status) {
                try unbind(vma, options)
            } catch {
                vma.drop()
                throw error
            }
            current = self.vma(after: vma)
            vma.drop()
        }
    }

    private func unbind(_ vma: VMAPointer, _ options: ObjectUnbindOptions) throws(Status) {
        let power = options.onlyTests ? nil : vma.pointee.vm.power
        power?.get()
        defer { power?.put() }
        if !(try vma.isBound(triesLock: options.triesLock)) { return }
        if options.onlyTests { throw Status.busy }
        // Whoever closes a VM unbinds all that is in it; doing a part of that is the same as waiting for it.
        if vma.pointee.vm.isClosed, !options.waitsForClosing { throw Status.again }
        if options.isAsynchronous {
            switch unbindAsynchronously(vma, triesLock: options.triesLock) {
            case .unbound: return
            case .scheduled(let fence):
                fence.drop()
                return
            case .refused(let status): if status != .busy { throw status }
            case .blocked: panic("an unbind that does not wait was blocked")
            }
        }
        let manner = UnbindManner(
            respectsUsers: true, refusesUsers: !options.waitsForActive, respectsPins: true,
            triesLock: options.triesLock)
        try vma.unbindWaiting(manner, interruptible: options.interruptible)?.drop()
    }

    /// Refused with busy is what cannot be done without waiting: pages that a reference does not keep, a view, whose
    /// page list is not the buffer's own (P10), and a policy under which every unbind is waited for. (A slot in the
    /// reservation was taken when the VMA was bound.)
    private func unbindAsynchronously(_ vma: VMAPointer, triesLock: Bool) -> UnbindOutcome {
        if !withPages({ $0.pointee.isCounted }) || vma.pointee.vm.pointee.options.policy == .sync { return .refused(.busy) }
        return vma.tryUnbind(UnbindManner(respectsPins: true, respectsViews: true, triesLock: triesLock))
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// - Failure: busy, if only a try at the VM's lock is allowed and it is taken.
    fileprivate func isBound(triesLock: Bool) throws(Status) -> Bool {
        let vm = pointee.vm
        if !triesLock {
            vm.pointee.lock.acquire()
        } else if !vm.pointee.lock.tryAcquire() {
            throw Status.busy
        }
        defer { vm.pointee.lock.release() }
        return node.pointee.isAllocated
    }
}
