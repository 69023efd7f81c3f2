// Closing a device: everything that was accepted comes to its end, every fence signals, and what the caller forgot is
// counted.

import CSystem
import Synchronization

struct LeakReport {
    var vms: UInt32 = 0
    var bos: UInt32 = 0
    var vmas: UInt32 = 0
    var queues: UInt32 = 0
    var fences: UInt32 = 0
    var boBytes: UInt64 = 0
    var unbindsCompleted: UInt64 = 0
    var fencesCancelled: UInt64 = 0
    var timelines: UInt32 = 0
    var holds: UInt32 = 0
    var locks: UInt32 = 0
    var ranges: UInt32 = 0

    var isEmpty: Bool {
        vms == 0 && bos == 0 && vmas == 0 && queues == 0 && fences == 0 && timelines == 0 && holds == 0
            && locks == 0 && ranges == 0
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// - Failure: closed, when it is (being) closed already; deadlock, from within the device's own work or a
    ///   callback.
    func close() throws(Status) -> LeakReport {
        if pointee.executor.isRunningOnThisThread { throw Status.deadlock }
        guard
            pointee.stateWord.compareExchange(
                expected: Device.State.open.rawValue, desired: Device.State.closing.rawValue,
                ordering: .acquiringAndReleasing
            ).exchanged
        else { throw Status.closed }

        var report = LeakReport()
        // No VM, caller's fence or hold is added once the state has changed (all look at it under the lock), so one
        // pass over each ends all; what they set free then runs to its end.
        report.unbindsCompleted = closeVMs()
        report.fencesCancelled = cancelCallerFences()
        breakHolds()
        drain()
        pointee.executor.stop()
        pointee.stateWord.store(Device.State.closed.rawValue, ordering: .releasing)

        report.vms = liveHandles(.vm)
        report.bos = liveHandles(.bufferObject)
        report.vmas = liveHandles(.vma)
        report.queues = liveHandles(.queue)
        report.fences = liveHandles(.fence)
        report.timelines = liveHandles(.timeline)
        report.holds = liveHandles(.hold)
        report.locks = liveHandles(.lock)
        report.ranges = liveHandles(.rangeTracker)
        report.boBytes = pointee.boHandleBytes.load(ordering: .relaxed)
        if !report.isEmpty { logLeaks(report) }
        return report
    }

    /// Closes every VM and gives the number of unbinds that were pending in them.
    private func closeVMs() -> UInt64 {
        var pending: UInt64 = 0
        var next = liveVM(after: nil)
        while let vm = next {
            // Closed already, it may be so by a thread that is still at it: what that has not come to is unbound here.
            do throws(Status) { try vm.close() } catch { vm.unbindAll() }
            next = liveVM(after: vm)
            vm.drop()
        }
        pointee.lock.acquire()
        next = pointee.firstVM
        while let vm = next {
            pending += UInt64(vm.pointee.pendingCount.load(ordering: .relaxed))
            next = vm.pointee.nextInDevice
        }
        pointee.lock.release()
        return pending
    }

    /// The next VM of the list, or the first, with a reference. The one before must be held by a reference too.
    private func liveVM(after previous: VMPointer?) -> VMPointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var next = previous == nil ? pointee.firstVM : previous!.pointee.nextInDevice
        while let vm = next {
            if vm.tryRetain() { return vm }
            next = vm.pointee.nextInDevice
        }
        return nil
    }

    /// What a backend has begun may take as long as GPU work does.
    private func restForBackend() {
        var word: UInt32 = 0
        _ = csys_futex_wait(&word, 0, csys_monotonic_ns() &+ 100_000)
    }

    private func cancelCallerFences() -> UInt64 {
        var cancelled: UInt64 = 0
        while let fence = takeListedCallerFence() {
            if fence.signal(error: Status.closed.raw, at: now) { cancelled += 1 }
            if fence.pointee.kind == .timed { fence.stopTimer() }
            if fence.pointee.kind == .imported { fence.stopWatching() }
            fence.drop()
        }
        return cancelled
    }

    /// Runs until no job, bind or unbind is under way, and no array or point waits for one. Each ends by itself now
    /// that nothing of the caller's holds it back.
    private func drain() {
        while true {
            try? pointee.executor.waitIdle(timeout: .max, absolute: false, interruptible: false)
            if pointee.outstanding.load(ordering: .acquiring) == 0 { break }
            if pointee.backend == nil { sched_yield() } else { restForBackend() }
        }
        // What ended last may still be on its way out of its work item, on another thread.
        try? pointee.executor.waitIdle(timeout: .max, absolute: false, interruptible: false)
    }
}
