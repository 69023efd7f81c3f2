// SyncobjWaiter: what its thread does: gather, wait, tell.

import CSystem
import Synchronization

extension UnsafeMutablePointer where Pointee == SyncobjWaiter {
    /// Nanoseconds of one wait in the kernel. Only a kick that could not be sent is as late as that.
    private var longestWait: UInt64 { 1_000_000_000 }

    func work() {
        var arrays: WaitArrays?
        var patience = KernelPatience()
        while true {
            // First: a kick after the look at the timelines changes it.
            let rung = pointee.bell.load(ordering: .acquiring)
            guard let count = gather(&arrays) else { break }
            let status = wait(arrays!, count: count, rung: rung)
            pointee.lock.acquire()
            pointee.isWaiting = false
            pointee.lock.release()
            for index in 1..<count {
                complete(arrays!.timelines[index]!, upTo: status.raw == 0 ? arrays!.points[index] : 0, error: 0)
            }
            if status.raw == 0 || status == .timedOut {
                patience = KernelPatience()
            } else if !patience.bear(status) {
                pointee.lock.acquire()
                pointee.isLost = true
                pointee.lock.release()
            }
        }
        // When it has been stopped there is none.
        completeAllAsLost()
        arrays?.free(memory: pointee.memory)
    }

    /// What is to be waited for; nil at the end, or when the device is lost. The arrays are replaced by larger ones if
    /// there are.
    private func gather(_ arrays: inout WaitArrays?) -> Int? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        if pointee.isStopping || pointee.isLost { return nil }
        if let larger = pointee.larger {
            // The memory seam is a leaf.
            arrays?.free(memory: pointee.memory)
            arrays = larger
            pointee.larger = nil
        }
        let arrays = arrays!
        arrays.handles[0] = pointee.kick.handle
        arrays.points[0] = pointee.kickPoint + 1
        var count = 1
        var next = pointee.firstTimeline
        while let timeline = next {
            if timeline.pointee.count > 0 {
                arrays.handles[count] = timeline.pointee.syncobj.handle
                arrays.points[count] = timeline.pointee.entries[timeline.pointee.first].point
                arrays.timelines[count] = timeline
                timeline.pointee.isGathered = true
                count &+= 1
            }
            next = timeline.pointee.next
        }
        pointee.isWaiting = true
        pointee.isInKernel = count > 1
        pointee.isKicked = false
        return count
    }

    /// Waits, and asks how far each timeline has got then: the points are replaced by that. The result is 0, timedOut,
    /// or what the kernel says.
    private func wait(_ arrays: WaitArrays, count: Int, rung: UInt32) -> Status {
        if count == 1 {
            _ = csys_futex_wait(pointee.bell.address, rung, .max)
            return Status(raw: 0)
        }
        do throws(Status) {
            let deadline = Int64(csys_monotonic_ns() &+ longestWait)
            try pointee.node.waitForAny(arrays.handles, points: arrays.points, count: count, deadline: deadline)
            try pointee.node.signalledPoints(arrays.handles + 1, points: arrays.points + 1, count: count - 1)
            return Status(raw: 0)
        } catch {
            return error
        }
    }

    /// Tells those whose points have signalled. A timeline may go once its last one was told.
    private func complete(_ timeline: KernelTimelinePointer, upTo point: UInt64, error: Int32) {
        var hasMore = true
        var taken = InlineArray<32, PointCompletion?>(repeating: nil)
        while hasMore {
            var count = 0
            pointee.lock.acquire()
            if timeline.pointee.isDead {
                unlink(timeline)
                pointee.lock.release()
                return timeline.dispose()
            }
            while count < taken.count, timeline.pointee.count > 0 {
                let first = timeline.pointee.entries[timeline.pointee.first]
                if first.point > point { break }
                taken[count] = first
                count &+= 1
                timeline.pointee.first = (timeline.pointee.first &+ 1) & (timeline.pointee.capacity - 1)
                timeline.pointee.count = timeline.pointee.count - 1
            }
            hasMore = count == taken.count && timeline.pointee.count > 0
            timeline.pointee.isGathered = hasMore
            pointee.lock.release()
            for index in 0..<count { taken[index]!.function(taken[index]!.context, error) }
        }
    }

    /// Nothing is added any more; what was is told.
    private func completeAllAsLost() {
        while true {
            pointee.lock.acquire()
            var next = pointee.firstTimeline
            while let timeline = next, timeline.pointee.count == 0 { next = timeline.pointee.next }
            // Its owner leaves it to this thread.
            next?.pointee.isGathered = true
            pointee.lock.release()
            guard let timeline = next else { return }
            RaceWindow.lossIsToBeTold.pass(self)
            complete(timeline, upTo: .max, error: Status.lost.raw)
        }
    }
}
