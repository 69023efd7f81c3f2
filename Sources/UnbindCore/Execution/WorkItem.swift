// WorkItem: one piece of work for an Executor. Embedded in the object it works on, so that submitting never allocates.
//
// An item is submitted at most once at a time; it may be submitted again from within its own function.

struct WorkItem {
    /// `time` is when the work became due on the device's clock: the present, or earlier if the executor was late. A
    /// simulated engine goes on from there.
    typealias Function = @convention(c) (_ context: UnsafeMutableRawPointer, _ time: UInt64) -> Void

    let function: Function
    let context: UnsafeMutableRawPointer
    /// For the schedule's digest: the same work has the same label in every run.
    let label: UInt64

    // For the executor.
    var due: UInt64 = 0
    var sequence: UInt64 = 0
    var next: UnsafeMutablePointer<WorkItem>?
    var child: UnsafeMutablePointer<WorkItem>?
    /// Among the timers: the sibling before it, or its parent.
    var previous: UnsafeMutablePointer<WorkItem>?
    var isQueued = false
    /// Queued among the timers, not on the ready list.
    var isTimed = false

    init(label: UInt64, context: UnsafeMutableRawPointer, function: @escaping Function) {
        self.label = label
        self.context = context
        self.function = function
    }
}

typealias WorkItemPointer = UnsafeMutablePointer<WorkItem>
