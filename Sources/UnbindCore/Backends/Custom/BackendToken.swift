// BackendToken: one thing that a backend has begun, to be completed by unbind_backend_complete.
//
// Part of what waits for it, used again and again: armed before the function is called, parked when the function has
// returned UNBIND_BACKEND_PENDING. The completion may come before that, from any thread: whoever is second goes on, the
// caller within its own run, or the completion by submitting the work item.

import CUnbind
import Synchronization

typealias BackendTokenPointer = UnsafeMutablePointer<BackendToken>

struct BackendToken: ~Copyable {
    private enum State {
        static var idle: UInt32 { 0 }
        static var armed: UInt32 { 1 }
        static var parked: UInt32 { 2 }
        static var completed: UInt32 { 3 }
    }

    fileprivate let executor: ExecutorPointer
    fileprivate let item: WorkItemPointer
    /// Whose submits it stands for; nil: those of no queue.
    let engine: EnginePointer?
    /// What is begun ends by itself, and who waits for the device to be idle waits for it.
    private let isAwaited: Bool
    private let state = Atomic<UInt32>(State.idle)
    private let error = Atomic<Int32>(0)
    /// Counted by the executor as begun elsewhere.
    private let isCounted = Atomic<Bool>(false)

    init(executor: ExecutorPointer, item: WorkItemPointer, engine: EnginePointer? = nil, isAwaited: Bool) {
        self.executor = executor
        self.item = item
        self.engine = engine
        self.isAwaited = isAwaited
    }

    /// Before the call.
    func arm() {
        error.store(0, ordering: .relaxed)
        state.store(State.armed, ordering: .releasing)
    }

    /// The call has returned that it is pending. True: the item will be submitted, and may be running elsewhere now.
    func park() -> Bool {
        if isAwaited {
            isCounted.store(true, ordering: .relaxed)
            executor.workBeganElsewhere()
        }
        return state.compareExchange(
            expected: State.armed, desired: State.parked, ordering: .acquiringAndReleasing
        ).exchanged
    }

    /// What was begun has ended so. After park has answered false, or in the item's run.
    func takeResult() -> Int32 {
        if isCounted.load(ordering: .relaxed) {
            isCounted.store(false, ordering: .relaxed)
            executor.workElsewhereEnded()
        }
        state.store(State.idle, ordering: .relaxed)
        return error.load(ordering: .acquiring)
    }

    /// True if the item is to be submitted.
    fileprivate func complete(error result: Int32) -> Bool {
        var old = state.load(ordering: .acquiring)
        while old == State.armed || old == State.parked {
            error.store(result < 0 ? result : 0, ordering: .releasing)
            let exchange = state.compareExchange(
                expected: old, desired: State.completed, ordering: .acquiringAndReleasing)
            if exchange.exchanged { return old == State.parked }
            old = exchange.original
        }
        return false
    }
}

extension UnsafeMutablePointer where Pointee == BackendToken {
    /// What the backend's functions get.
    var handle: OpaquePointer { OpaquePointer(self) }

    /// - Locking: nothing may be held that comes after the executor's lock. Any thread.
    func complete(error: Int32) {
        // Both may be gone as soon as it is complete.
        let (executor, item) = (pointee.executor, pointee.item)
        if pointee.complete(error: error) { executor.submit(item) }
    }
}
