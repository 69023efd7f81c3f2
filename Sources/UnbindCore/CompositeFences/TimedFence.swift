// TimedFence: a fence that signals at a time of the device's clock; or that follows another, but signals with -ETIME if
// that has not signalled by then (the timer of i915_sw_fence_await_dma_fence).
//
// The timer and the fence that is followed may come at one time, on two threads: the first signals, and takes back the
// other. Each of the two holds a reference to this fence, to the followed one, and a piece of the work that closing the
// device waits for; whoever takes it back, or is called, drops them.
//
// A fence that follows another ends by itself. A timed one may be far off, so the device lists it and cancels it when
// it is closed.

typealias TimedFencePointer = UnsafeMutablePointer<TimedFence>

struct TimedFence: ~Copyable {
    /// First: a pointer to it is a pointer to the TimedFence.
    fileprivate var base: CallerFence
    /// The timer; at `itemOffset`.
    var item: WorkItem
    /// On the fence that is followed; at `callbackOffset`.
    var callback: FenceCallback
    /// At `relayOffset`.
    var relay = RelayItem()
    /// What is followed, if anything; a counted reference for the timer and one for the callback, as long as they are.
    fileprivate let followed: FencePointer?

    static var itemOffset: Int { roundUp(MemoryLayout<CallerFence>.size, to: MemoryLayout<WorkItem>.alignment) }
    static var callbackOffset: Int {
        roundUp(itemOffset + MemoryLayout<WorkItem>.size, to: MemoryLayout<FenceCallback>.alignment)
    }
    static var relayOffset: Int {
        roundUp(callbackOffset + MemoryLayout<FenceCallback>.size, to: MemoryLayout<RelayItem>.alignment)
    }
    /// What the schedule's digest knows the timers by.
    static var workLabel: UInt64 { 3 }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// A fence that signals at `time`, within this call if that is not to come; .max: never. With a reference.
    /// - Failure: closed; noMemory.
    func makeTimedFence(at time: UInt64) throws(Status) -> FencePointer {
        try checkOpen()
        let timed = try TimedFencePointer.make(device: self, following: nil)
        if time <= now {
            timed.fence.signal(at: now)
            return timed.fence
        }
        do throws(Status) {
            try ifOpen {
                list(UnsafeMutableRawPointer(timed).assumingMemoryBound(to: CallerFence.self))
                if time != .max { timed.willStartTimer() }
            }
        } catch {
            timed.fence.drop()
            throw error
        }
        if time != .max { timed.startTimer(at: time) }
        return timed.fence
    }

    /// A fence that signals with `fence`, or with -ETIME at `deadline` if that comes first; .max: has none. With a
    /// reference.
    /// - Failure: closed; noMemory.
    func makeFence(following fence: FencePointer, until deadline: UInt64) throws(Status) -> FencePointer {
        try checkOpen()
        if fence.isSignalled {
            fence.retain()
            return fence
        }
        let timed = try TimedFencePointer.make(device: self, following: fence)
        if deadline <= now {
            timed.fence.signal(error: Status.timedOut.raw, at: now)
            return timed.fence
        }
        do throws(Status) {
            try ifOpen {
                timed.willFollow()
                if deadline != .max { timed.willStartTimer() }
            }
        } catch {
            timed.fence.drop()
            throw error
        }
        timed.follow()
        if deadline != .max { timed.startTimer(at: deadline) }
        return timed.fence
    }
}

extension UnsafeMutablePointer where Pointee == TimedFence {
    fileprivate static func make(
        device: DevicePointer, following fence: FencePointer?
    ) throws(Status) -> TimedFencePointer {
        guard let memory = device.cache(.timedFence).take() else { throw Status.noMemory }
        let timed = memory.bindMemory(to: TimedFence.self, capacity: 1)
        let base = CallerFence(fence: Fence(home: device.fenceHome(.timed)), device: device)
        timed.initialize(
            to: TimedFence(
                base: base,
                item: WorkItem(label: TimedFence.workLabel, context: memory, function: timeHasCome),
                callback: FenceCallback(function: followedSignalled, context: memory), followed: fence))
        device.retain()
        return timed
    }

    var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    private var item: WorkItemPointer { memberPointer(of: self, at: TimedFence.itemOffset, as: WorkItem.self) }
    private var relay: RelayItemPointer { memberPointer(of: self, at: TimedFence.relayOffset, as: RelayItem.self) }
    private var callback: UnsafeMutablePointer<FenceCallback> {
        memberPointer(of: self, at: TimedFence.callbackOffset, as: FenceCallback.self)
    }

    // MARK: The two ends

    /// What the timer or the callback holds.
    private func holdForEnd() {
        fence.retain()
        pointee.followed?.retain()
        fence.device.workBegan()
    }

    private func dropEnd() {
        let device = fence.device
        pointee.followed?.drop()
        fence.drop()
        device.workEnded()
    }

    fileprivate func willStartTimer() { holdForEnd() }
    fileprivate func willFollow() { holdForEnd() }

    fileprivate func startTimer(at time: UInt64) {
        fence.device.pointee.executor.submit(item, at: time)
        // Signalled before there was a timer to take back: then nobody else takes it.
        if fence.isSignalled { stopTimer() }
    }

    /// The fence has signalled. The timer, if it is still to come, is taken back.
    fileprivate func stopTimer() {
        if fence.device.pointee.executor.cancel(item) { dropEnd() }
    }

    fileprivate func follow() {
        let followed = pointee.followed.unsafelyUnwrapped
        if followed.add(callback) { return }
        fence.signal(error: followed.error, at: fence.device.now)
        dropEnd()
    }

    /// The timer.
    fileprivate func end(at time: UInt64) {
        let error = pointee.followed == nil ? 0 : Status.timedOut.raw
        fence.signal(error: error, at: fence.device.now)
        // If it cannot be taken back it has been called: then it drops what it holds itself.
        if let followed = pointee.followed, followed.remove(callback) { dropEnd() }
        dropEnd()
    }

    /// The callback. Not in place: what is followed may follow another, and so on.
    fileprivate func endWithFollowed() {
        Relay.hand(relay, context: UnsafeMutableRawPointer(self)) { context in
            let timed = context.assumingMemoryBound(to: TimedFence.self)
            let error = timed.pointee.followed.unsafelyUnwrapped.error
            timed.fence.signalInTurn(error: error, at: timed.fence.device.now)
            timed.stopTimer()
            timed.dropEnd()
        }
    }
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// Of a timed fence that somebody else has signalled.
    func stopTimer() { UnsafeMutableRawPointer(self).assumingMemoryBound(to: TimedFence.self).stopTimer() }
}

private func timeHasCome(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: TimedFence.self).end(at: time)
}

private func followedSignalled(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let context = callback.assumingMemoryBound(to: FenceCallback.self).pointee.context
    context.unsafelyUnwrapped.assumingMemoryBound(to: TimedFence.self).endWithFollowed()
}

func releaseTimedFence(_ memory: UnsafeMutableRawPointer) {
    let timed = memory.assumingMemoryBound(to: TimedFence.self)
    let object = memory.assumingMemoryBound(to: CallerFence.self)
    let device = object.pointee.device
    device.pointee.lock.acquire()
    if object.pointee.isListed { device.unlink(object) }
    device.pointee.lock.release()
    timed.deinitialize(count: 1)
    device.cache(.timedFence).give(memory)
    device.drop()
}
