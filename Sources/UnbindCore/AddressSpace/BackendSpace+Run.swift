// The steps of a BackendSpace's work.
//
// A step makes one call, or finds that it has none to make. How a call ended is the same whether it was done at once,
// or begun and completed later: then the work comes back to that step with the result.
//
// What must not fail is tried again after a pause that grows, for about ten seconds of the executor's clock.

import CSystem
import CUnbind

/// What there is to do after a step.
enum BackendOutcome {
    case goOn
    /// Come again after so long.
    case later(UInt64)
    /// The completion submits the work, which may be running already.
    case pending
    /// Nothing is left to do; the VM may be gone.
    case rest
}

/// How often, and after how long, something is tried again.
private enum Retry {
    static var limit: Int { 512 }
    static var shortest: UInt64 { 50_000 }
    static var longest: UInt64 { 20_000_000 }

    static func pause(after count: Int) -> UInt64 { min(longest, shortest << UInt64(min(count, 16))) }
}

extension UnsafeMutablePointer where Pointee == BackendSpace {
    func run(at time: UInt64) {
        let executor = pointee.backend.pointee.device.pointee.executor
        while true {
            switch step(at: time) {
            case .goOn: break
            case .pending, .rest: return
            case .later(let pause):
                executor.submit(item, at: time.addingSaturating(pause))
                return
            }
        }
    }

    private func step(at time: UInt64) -> BackendOutcome {
        switch pointee.step {
        case .take: return take(at: time)
        case .unmap: return unmap()
        case .handedOver: return awaitHandedOver()
        case .invalidate: return invalidate()
        case .unmapped:
            completeUnmapped(at: time)
            return .goOn
        case .map: return map(at: time)
        case .transfer: return transfer()
        case .transferred:
            endTransfer()
            return .goOn
        }
    }

    private func take(at time: UInt64) -> BackendOutcome {
        if beginTransfer() { return .goOn }
        letOffersGather()
        var offerCount = 0
        if !takeReady(&offerCount) {
            pointee.vm!.drop()
            return .rest
        }
        if offerCount > 0 { handOver(offerCount, at: time) }
        pointee.unbinds = AddressOrder.sorted(pointee.unbinds)
        pointee.binds = AddressOrder.sorted(pointee.binds)
        beginBinds(at: time)
        pointee.step = .map
        if pointee.unbinds != nil { beginUnbinds(at: time) }
        return .goOn
    }

    // MARK: Calls

    /// Makes a call, or takes the result of the one that was pending. Nil: it is pending now, and nothing here is ours.
    func perform(_ call: (OpaquePointer) -> Int32) -> Int32? {
        if pointee.isResumed {
            pointee.isResumed = false
            return token.pointee.takeResult()
        }
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        pointee.isResumed = true
        token.pointee.arm()
        let result = call(token.handle)
        if result == UNBIND_BACKEND_PENDING {
            if token.pointee.park() { return nil }
            pointee.isResumed = false
            return token.pointee.takeResult()
        }
        pointee.isResumed = false
        return result < 0 ? result : 0
    }

    func update() -> Int32? {
        let batch = pointee.batch
        if !pointee.isResumed {
            pointee.updates.add(1)
            pointee.updatedRanges.add(UInt64(batch.pointee.count))
        }
        let ops = pointee.backend.pointee.ops
        let (context, handle) = (pointee.backend.pointee.context, pointee.handle)
        let link = pointee.step == .map ? pointee.backend.pointee.link?.update : nil
        return perform { token in
            guard let link else {
                return ops.update(context, handle, batch.pointee.ranges, UInt32(batch.pointee.count), token)
            }
            return link(
                context, handle, batch.pointee.ranges, UInt32(batch.pointee.count), bindsTaken,
                UnsafeMutableRawPointer(self), token)
        }
    }

    /// What to do about a call that must not fail and has. Nil: the device is lost.
    func retry(after status: Int32) -> BackendOutcome? {
        guard status == -EINTR || status == -EAGAIN || status == -ENOMEM, pointee.retries < Retry.limit else {
            pointee.retries = 0
            pointee.backend.lose(status)
            return nil
        }
        let pause = Retry.pause(after: pointee.retries)
        pointee.retries = pointee.retries &+ 1
        return .later(pause)
    }

    /// For all that was unmapped.
    private func invalidate() -> BackendOutcome {
        guard let function = pointee.backend.pointee.ops.invalidate, pointee.unmappedEnd != 0,
            !pointee.backend.isLost || pointee.isResumed
        else {
            pointee.step = pointee.transfer == nil ? .unmapped : .transferred
            return .goOn
        }
        if !pointee.isResumed { pointee.invalidations.add(1) }
        let (context, handle) = (pointee.backend.pointee.context, pointee.handle)
        let (start, end) = (pointee.unmappedStart, pointee.unmappedEnd)
        guard let status = perform({ token in function(context, handle, start, end &- start, token) }) else {
            return .pending
        }
        if status != 0, let outcome = retry(after: status) { return outcome }
        pointee.retries = 0
        if status != 0 { markLost(from: pointee.unbinds) }
        pointee.step = pointee.transfer == nil ? .unmapped : .transferred
        return .goOn
    }
}
