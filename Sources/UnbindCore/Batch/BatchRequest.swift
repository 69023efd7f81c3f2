// BatchRequest: one call of unbind_vm_submit, checked.

enum BatchMode: UInt32 { case sync = 0, async = 1, deferToIdle = 2 }

enum BatchOperationKind: UInt32 { case map = 0, mapNull, mapUser, unmap, unmapAll, prefetch, syncOnly }

struct BatchOperation {
    var kind: BatchOperationKind
    var replaces = true
    var start: UInt64 = 0
    var size: UInt64 = 0
    /// map, mapUser, unmapAll, prefetch: a reference, the list's.
    var bo: BufferObjectPointer?
    var offset: UInt64 = 0
    /// Of the MappingContent.
    var flags: UInt32 = 0
    var cacheLevel: UInt32 = 0
    var region = MemoryRegion.system
}

/// Something to signal when a batch is done.
struct BatchSignal {
    /// A caller's, with a reference; or else
    var fence: FencePointer?
    /// a timeline, with a reference.
    var timeline: TimelinePointer?
    var point: UInt64 = 0
}

/// The lists are the caller's of `submit`, who frees them. Those of waits and signals are nil if nothing is in them.
struct BatchRequest {
    var mode = BatchMode.sync
    var operations: UnsafeMutablePointer<BatchOperation>
    var count: Int
    var waits: UnsafeMutablePointer<FencePointer>?
    var waitCount: Int
    var signals: UnsafeMutablePointer<BatchSignal>?
    var signalCount: Int
    var queue: BindQueuePointer?
    /// The most operations of one piece.
    var limit: Int
    var mayCut = false
    var mayEvict = false
    var mayWait = true
    var interruptible = false
}
