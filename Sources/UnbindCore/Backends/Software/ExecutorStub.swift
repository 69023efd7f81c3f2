// Stands in for Execution/Executor until that is there: one list, virtual time, run by whoever calls runOne.

struct Executor: ~Copyable {
    fileprivate var time: UInt64 = 0
    fileprivate var sequence: UInt64 = 0
    fileprivate var first: WorkItemPointer?
    fileprivate let lock = FutexLock(.executor)
    init() {}
}

typealias ExecutorPointer = UnsafeMutablePointer<Executor>

extension UnsafeMutablePointer where Pointee == Executor {
    var now: UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.time
    }

    func submit(_ item: WorkItemPointer) { submit(item, at: now) }

    func submit(_ item: WorkItemPointer, at time: UInt64) {
        pointee.lock.acquire()
        invariant(!item.pointee.isQueued, "an item was submitted twice")
        item.pointee.isQueued = true
        item.pointee.due = time
        item.pointee.sequence = pointee.sequence
        pointee.sequence &+= 1
        item.pointee.next = pointee.first
        pointee.first = item
        pointee.lock.release()
    }

    /// Runs the piece of work that is due first; false if there is none.
    func runOne() -> Bool {
        pointee.lock.acquire()
        guard var best = pointee.first else {
            pointee.lock.release()
            return false
        }
        var item = best.pointee.next
        while let candidate = item {
            if (candidate.pointee.due, candidate.pointee.sequence) < (best.pointee.due, best.pointee.sequence) {
                best = candidate
            }
            item = candidate.pointee.next
        }
        if pointee.first == best {
            pointee.first = best.pointee.next
        } else {
            var before = pointee.first!
            while before.pointee.next != best { before = before.pointee.next! }
            before.pointee.next = best.pointee.next
        }
        best.pointee.isQueued = false
        pointee.time = Swift.max(pointee.time, best.pointee.due)
        let (function, context, due) = (best.pointee.function, best.pointee.context, best.pointee.due)
        pointee.lock.release()
        function(context, due)
        return true
    }
}
