// The lock of buffers on the simulated executor against a naive model: contexts and threads without one lock, give way,
// begin again and unlock, at once and by callbacks at later times. Every result, every owner and the clock must agree.
//
// UNBIND_SEED=k runs one seed.

import CUnbind
import Glibc
import Testing

@testable import UnbindCore

/// What should happen.
private struct LockModel {
    struct Context {
        var age = 0
        var held: Set<Int> = []
        var isWounded = false
        var contended: Int?
        var prelocked: Int?
    }
    enum Holder: Equatable { case nobody, plain, context(Int) }
    struct Event: Equatable {
        let time: UInt64
        let context: Int?
        let buffer: Int
    }

    var contexts: [Context]
    var holders: [Holder]
    var events: [Event] = []
    var now: UInt64 = 0
    var lastAge = 0
    var eventResults: [Int32] = []

    init(contexts count: Int, buffers: Int) {
        contexts = (0..<count).map { Context(age: $0) }
        lastAge = count
        holders = Array(repeating: .nobody, count: buffers)
    }

    func holder(_ context: Int?) -> Holder { context.map { .context($0) } ?? .plain }

    mutating func take(_ buffer: Int, _ context: Int?) {
        holders[buffer] = holder(context)
        if let context { contexts[context].held.insert(buffer) }
    }

    mutating func unlock(_ buffer: Int, _ context: Int?) -> Int32 {
        if holders[buffer] != holder(context) { return -EINVAL }
        holders[buffer] = .nobody
        if let context {
            contexts[context].held.remove(buffer)
            if contexts[context].prelocked == buffer { contexts[context].prelocked = nil }
            if contexts[context].held.isEmpty { contexts[context].isWounded = false }
        }
        return 0
    }

    mutating func unlockAll(_ context: Int) { for buffer in contexts[context].held { _ = unlock(buffer, context) } }

    /// The events run until one gives the buffer up.
    private mutating func waitFor(_ buffer: Int) -> Bool {
        while holders[buffer] != .nobody {
            guard let next = events.min(by: { $0.time < $1.time }) else { return false }
            events.removeAll { $0 == next }
            now = max(now, next.time)
            eventResults.append(unlock(next.buffer, next.context))
        }
        return true
    }

    mutating func lock(_ buffer: Int, _ context: Int?) -> Int32 {
        if let context {
            if contexts[context].prelocked == buffer {
                contexts[context].prelocked = nil
                return 0
            }
            if holders[buffer] == .context(context) { return -EALREADY }
            if contexts[context].isWounded {
                contexts[context].contended = buffer
                return -EDEADLK
            }
            if case .context(let other) = holders[buffer], contexts[other].age > contexts[context].age {
                contexts[other].isWounded = true
            }
        } // Who locks without a context is younger than all that have begun.
        if !waitFor(buffer) {
            if let context { contexts[context].contended = buffer }
            return -EDEADLK
        }
        take(buffer, context)
        return 0
    }

    mutating func tryLock(_ buffer: Int, _ context: Int?) -> Int32 {
        if let context, holders[buffer] == .context(context) { return lock(buffer, context) }
        if holders[buffer] != .nobody { return -EBUSY }
        take(buffer, context)
        return 0
    }

    mutating func retry(_ context: Int) -> Int32 {
        guard let buffer = contexts[context].contended else { return 0 }
        unlockAll(context)
        let status = lock(buffer, context)
        if status != 0 { return status }
        contexts[context].contended = nil
        contexts[context].prelocked = buffer
        return 1
    }

    /// A call that fails leaves the context as it was, but for what it was told to give way for.
    mutating func lockArray(_ buffers: [Int], _ context: Int) -> Int32 {
        let (prelocked, contended) = (contexts[context].prelocked, contexts[context].contended)
        let status = lockAll(buffers, context)
        if status != 0 { contexts[context].prelocked = prelocked }
        if status != 0, status != -EDEADLK { contexts[context].contended = contended }
        return status
    }

    private mutating func lockAll(_ buffers: [Int], _ context: Int) -> Int32 {
        let before = contexts[context].held
        while true {
            var failure: Int32 = 0
            for buffer in buffers {
                let status = lock(buffer, context)
                if status != 0, status != -EALREADY {
                    failure = status
                    break
                }
            }
            if failure == 0 { return 0 }
            for buffer in contexts[context].held.subtracting(before) { _ = unlock(buffer, context) }
            if failure != -EDEADLK || !before.isEmpty { return failure }
            let again = retry(context)
            if again < 0 { return again }
        }
    }

    /// A callback must not use a context while a call with it waits.
    func mayWait(_ context: Int?) -> Bool {
        guard let context else { return true }
        return !events.contains { $0.context == context }
    }
}

/// Unlocks when its fence signals.
private final class UnlockEvent {
    let buffer: OpaquePointer
    let context: UnsafeMutablePointer<unbind_lock_context>?
    let results: EventResults
    let storage = UnsafeMutablePointer<unbind_fence_callback>.allocate(capacity: 1)

    init(
        buffer: OpaquePointer, context: UnsafeMutablePointer<unbind_lock_context>?, results: EventResults,
        device: OpaquePointer, time: UInt64
    ) {
        self.buffer = buffer
        self.context = context
        self.results = results
        storage.initialize(to: unbind_fence_callback())
        var fence: OpaquePointer?
        #expect(unbind_fence_create_timed(device, time, &fence) == 0)
        let status = unbind_fence_add_callback(
            fence, storage,
            { _, data in
                let event = Unmanaged<UnlockEvent>.fromOpaque(data!).takeRetainedValue()
                event.results.all.append(unbind_bo_unlock(event.buffer, event.context))
            }, Unmanaged.passRetained(self).toOpaque())
        #expect(status == 0)
        unbind_fence_unref(fence)
    }

    deinit { storage.deallocate() }
}

private final class EventResults {
    var all: [Int32] = []
}

@Suite struct LockModelTests {
    @Test("locks do what a naive model of wound/wait says, in virtual time", arguments: 0..<300)
    func agreesWithModel(seed: Int) {
        if let only = SeedReport.number("UNBIND_SEED"), only != seed { return }
        var random = RandomSource(seed: UInt64(seed) &+ 77)
        let contextCount = 2 + random.next(below: 4)
        let gpu = DirectedGPU()
        let buffers = (0..<(2 + random.next(below: 6))).map { _ in gpu.makeBuffer() }
        let contexts = UnsafeMutablePointer<unbind_lock_context>.allocate(capacity: contextCount)
        for index in 0..<contextCount { #expect(unbind_lock_context_init(contexts + index, gpu.device) == 0) }
        var model = LockModel(contexts: contextCount, buffers: buffers.count)
        let results = EventResults()
        var lastTime: UInt64 = 0

        func pointer(_ context: Int?) -> UnsafeMutablePointer<unbind_lock_context>? { context.map { contexts + $0 } }

        for step in 0..<200 {
            let buffer = random.next(below: buffers.count)
            let context = random.next(below: contextCount)
            let maybe: Int? = random.next(below: 8) == 0 ? nil : context
            var (got, expected): (Int32, Int32) = (0, 0)
            switch random.next(below: 12) {
            case 0..<4:
                if !model.mayWait(maybe) { continue }
                expected = model.lock(buffer, maybe)
                got = unbind_bo_lock(buffers[buffer], pointer(maybe), 0)
            case 4:
                expected = model.tryLock(buffer, maybe)
                got = unbind_bo_trylock(buffers[buffer], pointer(maybe))
            case 5, 6:
                expected = model.unlock(buffer, maybe)
                got = unbind_bo_unlock(buffers[buffer], pointer(maybe))
            case 7:
                if !model.mayWait(context) { continue }
                expected = model.retry(context)
                got = unbind_lock_context_retry(contexts + context, 0)
            case 8:
                if !model.mayWait(context) { continue }
                let list = (0..<random.next(below: 5)).map { _ in random.next(below: buffers.count) }
                expected = model.lockArray(list, context)
                let handles: [OpaquePointer?] = list.map { buffers[$0] }
                got = unbind_bo_lock_array(handles, UInt32(list.count), 1, contexts + context, 0)
            case 9:
                model.unlockAll(context)
                unbind_lock_context_unlock_all(contexts + context)
                if random.next(below: 2) == 0, model.mayWait(context) {
                    expected = model.lock(buffer, context)
                    if expected == 0 { model.contexts[context].contended = nil }
                    got = unbind_bo_lock_slow(buffers[buffer], contexts + context, 0)
                }
            case 10:
                if random.next(below: 4) != 0 { continue }
                model.unlockAll(context)
                model.contexts[context] = LockModel.Context(age: model.lastAge)
                model.lastAge += 1
                unbind_lock_context_fini(contexts + context)
                got = unbind_lock_context_init(contexts + context, gpu.device)
            default:
                lastTime = max(lastTime, model.now) + 1 + UInt64(random.next(below: 50))
                model.events.append(LockModel.Event(time: lastTime, context: maybe, buffer: buffer))
                _ = UnlockEvent(
                    buffer: buffers[buffer], context: pointer(maybe), results: results, device: gpu.device,
                    time: lastTime)
            }
            let isEqual = got == expected && results.all == model.eventResults && unbind_device_now(gpu.device) == model.now
            #expect(isEqual, "seed \(seed) step \(step): \(got), not \(expected)")
            if !isEqual { break }
            check(model, contexts, buffers, "seed \(seed) step \(step)")
        }
        for index in 0..<contextCount { unbind_lock_context_fini(contexts + index) }
        contexts.deallocate()
        gpu.close()
    }

    private func check(
        _ model: LockModel, _ contexts: UnsafeMutablePointer<unbind_lock_context>, _ buffers: [OpaquePointer],
        _ comment: String
    ) {
        for (index, handle) in buffers.enumerated() {
            let bo = BufferObjectPointer(handle)
            switch model.holders[index] {
            case .nobody: #expect(!bo.pointee.outerLock.isHeld, "\(comment)")
            case .plain: #expect(bo.isLocked(by: nil) && bo.pointee.outerLock.owner == nil, "\(comment)")
            case .context(let context):
                let owner = UnsafeMutableRawPointer(contexts + context).assumingMemoryBound(to: LockContext.self)
                #expect(bo.isLocked(by: owner), "\(comment)")
            }
        }
        for (index, context) in model.contexts.enumerated() {
            let isWounded = context.isWounded && !context.held.isEmpty
            #expect(unbind_lock_context_is_wounded(contexts + index) == (isWounded ? 1 : 0), "\(comment)")
            let pointer = UnsafeMutableRawPointer(contexts + index).assumingMemoryBound(to: LockContext.self)
            #expect(pointer.pointee.acquired == context.held.count, "\(comment)")
        }
    }

    @Test("a lock context fits the storage that the header gives it, a cursor as well, and the word is where it is said")
    func layout() {
        #expect(MemoryLayout<LockContext>.size <= MemoryLayout<unbind_lock_context>.size)
        #expect(MemoryLayout<LockContext>.alignment <= MemoryLayout<unbind_lock_context>.alignment)
        #expect(MemoryLayout<ReservationCursor>.size <= MemoryLayout<unbind_fence_cursor>.size)
        #expect(MemoryLayout<ReservationCursor>.alignment <= MemoryLayout<unbind_fence_cursor>.alignment)
        let device = TestDevice(.manual)
        let context = LockContextPointer.allocate(capacity: 1)
        context.initialize(to: LockContext(device: device.pointer))
        #expect(UnsafeRawPointer(context.word) == UnsafeRawPointer(context.pointee.word.address))
        context.end()
        context.deallocate()
        let fence = mustHave { () throws(Status) in try device.pointer.makeTimedFence(at: .max) }
        let timed = UnsafeMutableRawPointer(fence).assumingMemoryBound(to: TimedFence.self)
        withUnsafePointer(to: &timed.pointee.item) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(timed) + TimedFence.itemOffset)
        }
        withUnsafePointer(to: &timed.pointee.callback) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(timed) + TimedFence.callbackOffset)
        }
        withUnsafePointer(to: &timed.pointee.relay) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(timed) + TimedFence.relayOffset)
        }
        fence.drop()
        device.close()
    }
}
