// Races whose windows are a few instructions wide: one thread is held up in the window until another one has done what
// does the harm. Each in a process of its own.

import CLibDRM
import CSystem
import CUnbind
import Foundation
import Synchronization
import Testing

@testable import UnbindCore

/// Holds the first thread up that passes a window.
private enum Stage {
    static let window = Atomic<Int>(-1)
    static let isReached = Atomic<Bool>(false)
    static let goesOn = Atomic<Bool>(false)
    static let isLeft = Atomic<Bool>(false)

    static func hold(at wanted: RaceWindow) {
        window.store(wanted.rawValue, ordering: .releasing)
        RaceWindow.visit { window, _ in
            guard window == Stage.window.load(ordering: .acquiring) else { return }
            if Stage.isReached.exchange(true, ordering: .acquiringAndReleasing) { return }
            Stage.sleep(until: Stage.goesOn)
            Stage.isLeft.store(true, ordering: .releasing)
        }
    }

    static func sleep(until flag: borrowing Atomic<Bool>) {
        for _ in 0..<20_000 where !flag.load(ordering: .acquiring) { usleep(1000) }
    }

    static func awaitReached() { sleep(until: isReached) }

    static func goOn() {
        require(isReached.load(ordering: .acquiring))
        goesOn.store(true, ordering: .releasing)
        sleep(until: isLeft)
        require(isLeft.load(ordering: .acquiring))
    }
}

/// Ends the process, and with it the test, with the number of the line.
private func require(_ condition: Bool, _ line: Int32 = #line) {
    if !condition { exit(line) }
}

/// Gives freed memory another content.
private let memory = HookedMemory()

private func options(_ hooks: UnsafePointer<unbind_allocator>, flags: UInt32 = 0) -> unbind_device_options {
    var options = makeHeaderStruct(unbind_device_options())
    options.executor = UInt32(UNBIND_EXECUTOR_POOL)
    options.allocator = hooks
    options.flags = flags
    return options
}

@Suite struct RaceWindowTests {
    @Test("two fences that a batch waits for signal on two threads: the first does not look at what the second has ended")
    func joined() async {
        await #expect(processExitsWith: .success) {
            var hooks = memory.hooks()
            var device: OpaquePointer?
            var space: OpaquePointer?
            withUnsafePointer(to: &hooks) { hooks in
                var options = options(hooks, flags: UInt32(UNBIND_DEVICE_NO_SLABS))
                require(unbind_device_open_software(&options, &device) == 0)
            }
            require(unbind_vm_create(device, nil, &space) == 0)
            var fences: [OpaquePointer?] = [nil, nil]
            for index in 0..<2 { require(unbind_fence_create(device, &fences[index]) == 0) }
            var operation = unbind_op()
            operation.op = UInt32(UNBIND_OP_SYNC_ONLY)
            let waits = fences.map { unbind_sync(fence: $0, timeline: nil, point: 0) }
            waits.withUnsafeBufferPointer { waits in
                var batch = makeHeaderStruct(unbind_batch())
                batch.mode = UInt32(UNBIND_BATCH_ASYNC)
                batch.waits = waits.baseAddress
                batch.wait_count = 2
                require(unbind_vm_submit(space, &operation, 1, &batch) == 0)
            }
            Stage.hold(at: .memberIsCounted)
            let first = UInt(bitPattern: fences[0])
            let thread = PlainThread { _ = unbind_fence_signal(OpaquePointer(bitPattern: first), 0) }
            Stage.awaitReached()
            require(unbind_fence_signal(fences[1], 0) == 0)
            Stage.goOn()
            thread.join()
            for fence in fences { unbind_fence_unref(fence) }
            unbind_vm_unref(space)
            require(unbind_device_close(device, nil) == 0)
            unbind_device_unref(device)
            require(memory.complaint == nil)
        }
    }
}

/// On the mock kernel (Tests/Mock), where Tests/run loads it beneath the tests.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["UNBIND_MOCK_MACHINE"] == "lnl"))
struct ImportedFenceTests {
    /// Makes the machine anew, with another setting.
    private static func remake(_ variable: String, _ value: String) {
        setenv("UNBIND_MOCK_\(variable)", value, 1)
        typealias Restart = @convention(c) () -> Void
        unsafeBitCast(dlsym(nil, "unbind_mock_restart"), to: Restart.self)()
    }

    /// On a file of its own, or that one.
    private static func open(_ file: Int32 = -1) -> OpaquePointer {
        var hooks = memory.hooks()
        var intel = makeHeaderStruct(unbind_intel_options())
        intel.fd = file
        var device: OpaquePointer?
        withUnsafePointer(to: &hooks) { hooks in
            var options = options(hooks)
            require(unbind_device_open_intel(nil, &intel, &options, &device) == 0)
        }
        return device!
    }

    private static func openNode() -> Int32 {
        let node = Glibc.open("/dev/dri/renderD128", O_RDWR | O_CLOEXEC)
        require(node >= 0)
        return node
    }

    private static func descriptor(of handle: UInt32, on node: Int32) -> Int32 {
        var descriptor: Int32 = -1
        require(drmSyncobjHandleToFD(node, handle, &descriptor) == 0)
        return descriptor
    }

    /// The sync object of a device's job that takes a while, and the point that the job is.
    private static func startJob() -> (syncobj: Int32, point: UInt64) {
        let node = openNode()
        let device = open(node)
        var space: OpaquePointer?
        var queue: OpaquePointer?
        var buffer: OpaquePointer?
        var vma: OpaquePointer?
        require(unbind_vm_create(device, nil, &space) == 0)
        require(unbind_queue_create(space, 0, &queue) == 0)
        require(unbind_bo_create(device, 65536, UInt32(UNBIND_REGION_SYSTEM), 0, &buffer) == 0)
        require(unbind_vma_create(space, buffer, nil, &vma) == 0)
        require(unbind_vma_bind(vma, 0) == 0)
        var command = unbind_command()
        command.op = UInt32(UNBIND_COMMAND_STORE)
        command.address = unbind_vma_address(vma)
        withUnsafePointer(to: &command) { command in
            var submit = makeHeaderStruct(unbind_submit())
            submit.commands = command
            submit.command_count = 1
            require(unbind_queue_submit(queue, &submit, nil) == 0)
        }
        for _ in 0..<5000 {
            for number in 1..<32 {
                var handle = UInt32(number)
                var (submitted, reached): (UInt64, UInt64) = (0, 0)
                let last = UInt32(DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED)
                if drmSyncobjQuery2(node, &handle, &submitted, 1, last) == 0,
                    drmSyncobjQuery(node, &handle, &reached, 1) == 0, submitted > max(reached, 1)
                {
                    return (descriptor(of: handle, on: node), submitted)
                }
            }
            usleep(1000)
        }
        exit(#line)
    }

    @Test("a close does not wait for a fence that is being imported")
    func importedWhileClosing() async {
        await #expect(processExitsWith: .success) {
            Self.remake("DELAY", "exec:20000000")
            let (syncobj, point) = Self.startJob()
            let device = Self.open()
            let address = UInt(bitPattern: device)
            Stage.hold(at: .importIsListed)
            let thread = PlainThread {
                var fence: OpaquePointer?
                let device = OpaquePointer(bitPattern: address)
                require(unbind_fence_import_syncobj(device, syncobj, point, &fence) == 0)
                require(unbind_fence_is_signaled(fence) == 1)
                unbind_fence_unref(fence)
            }
            Stage.awaitReached()
            // It waits for the thread that is importing, and for nobody else.
            let opener = PlainThread {
                usleep(100_000)
                Stage.goOn()
            }
            let begin = csys_monotonic_ns()
            require(unbind_device_close(device, nil) == 0)
            require(csys_monotonic_ns() - begin < 10_000_000_000)
            thread.join()
            opener.join()
            unbind_device_unref(device)
            exit(0)
        }
    }

    @Test("whoever tells of an imported fence does not touch a device that may be closed and gone by then")
    func toldWhileClosing() async {
        await #expect(processExitsWith: .success) {
            Self.remake("DELAY", "exec:300000")
            let (syncobj, point) = Self.startJob()
            let device = Self.open()
            var fence: OpaquePointer?
            Stage.hold(at: .watchIsDropped)
            require(unbind_fence_import_syncobj(device, syncobj, point, &fence) == 0)
            unbind_fence_unref(fence)
            Stage.awaitReached()
            let closer = PlainThread { [address = UInt(bitPattern: device)] in
                require(unbind_device_close(OpaquePointer(bitPattern: address), nil) == 0)
                unbind_device_unref(OpaquePointer(bitPattern: address))
            }
            usleep(200_000)
            Stage.goOn()
            closer.join()
            usleep(100_000)
            exit(0)
        }
    }

    @Test("a lost device is closed while it tells those who waited for a fence of somebody else's")
    func lostWhileClosing() async {
        await #expect(processExitsWith: .success) {
            Self.remake("FAIL", "SYNCOBJ_TIMELINE_WAIT:*:EIO")
            let device = Self.open()
            let node = Self.openNode()
            var handle: UInt32 = 0
            require(drmSyncobjCreate(node, UInt32(DRM_SYNCOBJ_CREATE_SIGNALED), &handle) == 0)
            let syncobj = Self.descriptor(of: handle, on: node)
            var fence: OpaquePointer?
            Stage.hold(at: .lossIsToBeTold)
            require(unbind_fence_import_syncobj(device, syncobj, 0, &fence) == 0)
            unbind_fence_unref(fence)
            Stage.awaitReached()
            require(unbind_device_close(device, nil) == 0)
            let closer = PlainThread { [address = UInt(bitPattern: device)] in
                unbind_device_unref(OpaquePointer(bitPattern: address))
            }
            usleep(100_000)
            Stage.goOn()
            closer.join()
            exit(0)
        }
    }
}
