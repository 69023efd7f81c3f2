// XeSpace: unmaps that the kernel does after something it waits for by itself.
//
// A bind queue works in order, so what waits there delays all that comes after it. Therefore these have queues of
// their own, the lanes, and a lane takes an unmap only if all that its predecessors there wait for comes before
// something that this one waits for as well: then nothing is delayed by what it has nothing to do with. If no lane will
// do, the library waits itself.
//
// Used by one thread at a time, as updates are.

import CLibDRM
import CSystem
import CUnbind

struct XeLane {
    let queue: XeBindQueue
    /// What the last unmap there waits for.
    fileprivate var waits = InlineArray<4, KernelWait>(repeating: KernelWait(syncobj: Syncobj(handle: 0), point: 0))
    fileprivate var waitCount = 0
    /// The last point that somebody has waited for.
    fileprivate var awaitedPoint: UInt64 = 0

    init(queue: XeBindQueue) { self.queue = queue }

    static var count: Int { 3 }

    fileprivate var isIdle: Bool { awaitedPoint == queue.timeline.pointee.lastPoint }

    /// What waits for these waits for all that is under way here, too.
    fileprivate func precedes(_ later: UnsafeBufferPointer<KernelWait>) -> Bool {
        for index in 0..<waitCount {
            let wait = waits[index]
            if !later.contains(where: { $0.syncobj == wait.syncobj && $0.point >= wait.point }) { return false }
        }
        return true
    }
}

extension UnsafeMutablePointer where Pointee == XeBackend {
    func makeLanes(space: UInt32) throws(Status) -> UnsafeMutablePointer<XeLane> {
        guard let lanes = pointee.memory.allocateArray(of: XeLane.self, count: XeLane.count) else {
            throw Status.noMemory
        }
        var made = 0
        do throws(Status) {
            while made < XeLane.count {
                (lanes + made).initialize(to: XeLane(queue: try makeBindQueue(space: space, room: 1)))
                made += 1
            }
        } catch {
            for index in 0..<made { destroy(lanes[index].queue) }
            pointee.memory.deallocateArray(lanes, count: XeLane.count)
            throw error
        }
        return lanes
    }

    func freeLanes(_ lanes: UnsafeMutablePointer<XeLane>) {
        for index in 0..<XeLane.count { destroy(lanes[index].queue) }
        pointee.memory.deallocateArray(lanes, count: XeLane.count)
    }
}

extension UnsafeMutablePointer where Pointee == XeSpace {
    /// Unmaps when the kernel has seen `waits` signal. The result is for `awaitUnmap`.
    /// - Failure: again: no lane will do; others as the kernel has them. Nothing happens then.
    func unmap(
        _ ranges: UnsafePointer<unbind_backend_range>, count: Int, after waits: UnsafeBufferPointer<KernelWait>
    ) throws(Status) -> UInt64 {
        guard let lanes = pointee.lanes, count <= XeSpace.mostRanges, let index = chooseLane(lanes, for: waits) else {
            throw Status.again
        }
        let lane = lanes + index
        let queue = lane.pointee.queue
        for index in 0..<count { (pointee.operations + index).initialize(to: operation(ranges[index])) }
        try bind(pointee.operations, count: count, on: queue.id, after: waits, signalling: queue.outFence)
        queue.timeline.skip()
        for index in 0..<waits.count { lane.pointee.waits[index] = waits[index] }
        lane.pointee.waitCount = waits.count
        return UInt64(index + 1) << 56 | queue.timeline.pointee.lastPoint
    }

    private func chooseLane(
        _ lanes: UnsafeMutablePointer<XeLane>, for waits: UnsafeBufferPointer<KernelWait>
    ) -> Int? {
        var idle: Int?
        for index in 0..<XeLane.count {
            if lanes[index].isIdle {
                idle = idle ?? index
            } else if lanes[index].precedes(waits) {
                return index
            }
        }
        return idle
    }

    /// The completion follows when all has been unmapped up to there.
    /// - Failure: lost.
    func awaitUnmap(_ place: UInt64, completion: PointCompletion) throws(Status) {
        let lane = pointee.lanes.unsafelyUnwrapped + (Int(place >> 56) - 1)
        let point = place & (1 << 56 - 1)
        try lane.pointee.queue.timeline.reserve(growing: false)
        lane.pointee.awaitedPoint = max(lane.pointee.awaitedPoint, point)
        lane.pointee.queue.timeline.watch(completion, at: point)
    }
}
