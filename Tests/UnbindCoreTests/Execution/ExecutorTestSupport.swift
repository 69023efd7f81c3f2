import CSystem
import Glibc
import Testing

@testable import UnbindCore

/// Passes what the compiler cannot see to be safe to another thread.
struct Shared<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

/// A thread of the test's own.
final class TestThread: @unchecked Sendable {
    private final class Body {
        let run: () -> Void
        init(_ run: @escaping () -> Void) { self.run = run }
    }

    let handle: pthread_t

    init(_ run: @escaping () -> Void) {
        var thread = pthread_t()
        let body = Unmanaged.passRetained(Body(run))
        let status = pthread_create(
            &thread, nil,
            { raw in
                // The test runner's threads block all signals, and new threads inherit that.
                var signals = sigset_t()
                sigemptyset(&signals)
                pthread_sigmask(SIG_SETMASK, &signals, nil)
                Unmanaged<Body>.fromOpaque(raw!).takeRetainedValue().run()
                return nil
            }, body.toOpaque())
        precondition(status == 0)
        handle = thread
    }

    func join() { pthread_join(handle, nil) }

    func interrupt() { pthread_kill(handle, SIGUSR1) }
}

/// A work item that runs a closure. Lives until its TestExecutor is finished.
final class TestWork {
    let item: WorkItemPointer
    let body: (UInt64) -> Void

    init(label: UInt64 = 0, _ body: @escaping (UInt64) -> Void) {
        self.body = body
        item = .allocate(capacity: 1)
        item.initialize(
            to: WorkItem(label: label, context: Unmanaged.passUnretained(self).toOpaque()) { context, time in
                Unmanaged<TestWork>.fromOpaque(context).takeUnretainedValue().body(time)
            })
    }

    deinit { item.deallocate() }
}

/// An executor with its memory, which must all have been given back in the end.
final class TestExecutor {
    let memory = TestMemory()
    let device = UnsafeMutableRawPointer.allocate(byteCount: 8, alignment: 8)
    let pointer: ExecutorPointer
    private var works: [TestWork] = []

    init(_ kind: ExecutorKind, workers: Int = 1, seed: UInt64 = 1) {
        do throws(Status) {
            pointer = try ExecutorPointer.make(
                kind: kind, workerCount: workers, seed: seed, memory: memory.pointer, device: device)
        } catch {
            preconditionFailure("no executor: \(error.raw)")
        }
    }

    func work(label: UInt64 = 0, _ body: @escaping (UInt64) -> Void) -> TestWork {
        let work = TestWork(label: label, body)
        works.append(work)
        return work
    }

    func finish() {
        pointer.stop()
        pointer.free()
        works.removeAll()
        device.deallocate()
    }
}

/// The status a call throws, or nil.
func status(_ body: () throws(Status) -> Void) -> Status? {
    do throws(Status) {
        try body()
        return nil
    } catch {
        return error
    }
}

func isReadable(_ descriptor: Int32) -> Bool {
    var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return Glibc.poll(&poll, 1, 0) == 1
}

/// SIGUSR1 does nothing but interrupt. With SA_RESTART, as signal(2) sets it: a wait must end even so.
func ignoreSignalsLoudly() {
    var action = sigaction()
    action.__sigaction_handler.sa_handler = { _ in }
    action.sa_flags = SA_RESTART
    sigaction(SIGUSR1, &action, nil)
}

let millisecond: UInt64 = 1_000_000
