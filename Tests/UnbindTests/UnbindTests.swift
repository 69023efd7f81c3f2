// The Swift interface, each class once, on the executors it is meant for.

import Glibc
import Testing
import Unbind

/// Collects what callbacks bring, from any thread.
final class Collector<Element: Sendable>: @unchecked Sendable {
    private var mutex = pthread_mutex_t()
    private var elements: [Element] = []

    init() { pthread_mutex_init(&mutex, nil) }
    deinit { pthread_mutex_destroy(&mutex) }

    func add(_ element: Element) {
        pthread_mutex_lock(&mutex)
        elements.append(element)
        pthread_mutex_unlock(&mutex)
    }

    var all: [Element] {
        pthread_mutex_lock(&mutex)
        defer { pthread_mutex_unlock(&mutex) }
        return elements
    }
}

@Suite("The Swift interface")
struct UnbindTests {
    @Test("an unbind waits for the job, a bind over its range for the unbind")
    func order() throws {
        let device = try Device(.init(executor: .simulated(seed: 3)))
        let space = try AddressSpace(of: device)
        let queue = try Queue(in: space)
        let buffer = try BufferObject(of: device, size: 0x1000)
        let vma = try VMA(buffer, in: space, .init(.fixed(0x10000)))
        #expect(vma.state == .unbound)
        try vma.bind()
        #expect(vma.state == .bound && vma.address == 0x10000 && vma.size == 0x1000)
        let job = try queue.submit(
            [.delay(nanoseconds: 1_000_000), .store(address: 0x10008, value: 77)], using: [(vma, .write)])
        let unbound = try vma.unbindAsync()
        #expect(!unbound.isSignaled)
        #expect(throws: UnbindError.notYet) { try unbound.timestamp() }
        let other = try VMA(try BufferObject(of: device, size: 0x1000), in: space, .init(.fixed(0x10000)))
        try other.bind()
        #expect(unbound.isSignaled)
        #expect(try job.timestamp() <= unbound.timestamp())
        #expect(buffer.contents.load(fromByteOffset: 8, as: UInt64.self) == 77)
        let statistics = try space.statistics()
        #expect(statistics.binds == 2 && statistics.awaited == 1 && statistics.bindWaitNanoseconds > 0)
        #expect(try device.statistics().jobs == 1)
        // Two binds, and the unbind that waited for the job.
        #expect(space.size == 1 << 48 && statistics.backendCalls == 3 && statistics.backendRanges == 3)
    }

    @Test("pins, views, eviction and write access added later do what they do in C")
    func placement() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(
            of: device, .init(size: 0x10_000, pageSizes: .small4K, mappableSize: 0x8000, guardSize: 0))
        let buffer = try BufferObject(of: device, size: 0x4000)
        let vma = try VMA(buffer, in: space)
        try vma.pin(.init(.high, mappable: true, flags: .readOnly))
        #expect(vma.address == 0x4000 && vma.pinCount == 1)
        #expect(space.size == 0x10_000)
        #expect(try space.page(at: 0x4000)?.isWritable == false)
        try vma.bind()
        #expect(try space.page(at: 0x4000)?.isWritable == true)
        #expect(throws: UnbindError.notYet) { try vma.unbind() }
        #expect(throws: UnbindError.busy) { try vma.pin(.init(.fixed(0))) }
        try vma.unpin()
        try vma.pinAsync(.init(.fixed(0))).wait()
        #expect(vma.address == 0)
        let plane = VMA.View.Plane(offset: 0, width: 2, height: 2, sourceStride: 2, targetStride: 3)
        let turned = try VMA(
            buffer, in: space, .init(.fixed(0x8000), guardSize: 0x1000, view: .rotated([plane])))
        try turned.bind()
        #expect(turned.size == 0x6000)
        #expect(try space.page(at: 0x8000)?.bufferOffset == 0x2000)
        #expect(try space.page(at: 0x9000)?.bufferOffset == 0)
        #expect(try space.page(at: 0xA000)?.address == 0xB000)
        #expect(throws: UnbindError.busy) { try turned.unbindAsync() }
        let part = try VMA(buffer, in: space, .init(.fixed(0x8000), view: .part(offset: 0x1000, size: 0x1000)))
        #expect(throws: UnbindError.noSpace) { try part.bind() }
        try part.bind(.evict)
        #expect(turned.state == .unbound && part.state == .bound)
        try space.evict(from: 0x8000, size: 0x1000, .nonBlocking)
        #expect(part.state == .unbound)
        try part.bind()
        try space.evictSomething(size: 0xC000, .asynchronous)
        #expect(part.state == .unbound && vma.state == .bound)
        try vma.unpin()
        try space.evictAll()
        #expect(vma.state == .unbound && vma.pinCount == 0)
    }

    @Test("every command reaches the bytes it names")
    func commands() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(of: device)
        let queue = try Queue(in: space)
        let buffer = try BufferObject(of: device, size: 0x2000, in: .local)
        let vma = try VMA(buffer, in: space)
        try vma.bind()
        let address = try #require(vma.address)
        let gate = try Fence(of: device)
        let loaded = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
        defer { loaded.deallocate() }
        let job = try queue.submit(
            [
                .wait(gate), .fill(address: address, size: 0x1000, pattern: 0xABCD),
                .copy(to: address + 0x1000, from: address, size: 0x1000),
                .load(address: address + 0x1000, into: loaded),
            ], using: [(vma, [.read, .write])])
        try device.run(until: 1_000_000)
        #expect(!job.isSignaled)
        try gate.signal()
        try job.wait()
        #expect(try job.error() == nil)
        #expect(loaded.pointee == 0x0000_ABCD_0000_ABCD)
        let page = try #require(try space.page(at: address))
        #expect(page.bufferID == buffer.id && page.isLocal && page.isWritable)
        try buffer.wait()
    }

    @Test("a fault is delivered with the history of its address")
    func fault() throws {
        let faults = Collector<Fault>()
        let device = try Device(.init(executor: .simulated(), fault: { faults.add($0) }))
        let space = try AddressSpace(of: device)
        let queue = try Queue(in: space)
        let buffer = try BufferObject(of: device, size: 0x1000)
        let vma = try VMA(buffer, in: space, .init(.fixed(0x5000), readOnly: true))
        try vma.bind()
        let write = try queue.submit([.store(address: 0x5000, value: 1)], using: [(vma, .write)])
        try vma.unbind()
        let use = try queue.submit([.store(address: 0x5000, value: 1)])
        try use.wait()
        #expect(try write.error() == .pageFault && use.error() == .pageFault)
        #expect(faults.all.map(\.kind) == [.readOnly, .unmapped])
        #expect(faults.all.last?.lastMapping?.bufferID == buffer.id)
        #expect(faults.all.last?.isWrite == true && faults.all.last?.address == 0x5000)
    }

    @Test("a lookup tells mapping, pending unbinds and operations; a fault tells them too")
    func lookup() throws {
        let faults = Collector<Fault>()
        let device = try Device(.init(executor: .simulated(), fault: { faults.add($0) }))
        let space = try AddressSpace(of: device)
        let buffer = try BufferObject(of: device, size: 0x2000)
        let vma = try VMA(buffer, in: space, .init(.fixed(0x5000), readOnly: true, guardSize: 0x1000))
        #expect(try space.lookup(at: 0x5000).mapping == nil)
        try vma.pin(.init(flags: .readOnly))
        let found = try space.lookup(at: 0x6008)
        let mapping = try #require(found.mapping)
        #expect(mapping.range == 0x5000..<0x7000 && mapping.bufferID == buffer.id && mapping.bufferOffset == 0x1008)
        #expect(mapping.isReadOnly && !mapping.isBinding && !mapping.isLocal && !mapping.isView)
        #expect(found.pinCount == 1 && found.holdCount == 0 && found.operations.map(\.kind) == [.bound])
        #expect(try space.lookup(at: 0x7000).isGuard)
        try vma.unpin()
        let user = try Fence(of: device)
        try vma.addUser(user)
        let job = try Queue(in: space).submit([.store(address: 0x6008, value: 1)])
        try job.wait()
        _ = try vma.unbindAsync()
        let after = try space.lookup(at: 0x6008, operations: 1)
        #expect(after.mapping == nil && after.operationCount == 2)
        #expect(after.operations.map(\.kind) == [.unbindScheduled] && after.eventCount == 0)
        let pending = try #require(after.pendingUnbinds.first)
        guard case .work(1) = pending.obstacle else { throw UnbindError.busy }
        #expect(pending.range == 0x5000..<0x7000 && pending.bufferID == buffer.id && after.pendingUnbinds.count == 1)
        try user.signal()
        let fault = try #require(faults.all.first)
        #expect(fault.mapping?.bufferOffset == 0x1008 && fault.lastMapping?.offset == 0x1008)
        #expect(fault.operations.map(\.kind) == [.bound] && fault.pendingUnbindCount == 0)
        let none = try AddressSpace(of: device, .init(historyRecords: 0))
        try VMA(buffer, in: none, .init(.fixed(0))).bind()
        #expect(try none.lookup(at: 0).operationCount == 0)
    }

    @Test("binding events come in order, and as often as the space says")
    func bindingEvents() throws {
        let events = Collector<BindingEvent>()
        let device = try Device(.init(executor: .simulated(), binding: { events.add($0) }))
        let space = try AddressSpace(of: device)
        let buffer = try BufferObject(of: device, size: 0x1000)
        let vma = try VMA(buffer, in: space, .init(.fixed(0x5000)))
        try vma.bind()
        try space.evictAll(.asynchronous)
        try device.waitIdle()
        #expect(events.all.map(\.kind) == [.bind, .unbind, .unbindDone])
        #expect(events.all.map(\.number) == [1, 2, 3])
        #expect(try space.lookup(at: 0).eventCount == 3)
        #expect(events.all.map(\.isInternal) == [false, true, false])
        #expect(events.all.map(\.isPending) == [false, true, false])
        #expect(events.all.allSatisfy { $0.range == 0x5000..<0x6000 && $0.bufferID == buffer.id && $0.error == nil })
    }

    @Test("a status becomes a typed error with a text")
    func errors() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(of: device, .init(size: 0x10000))
        let buffer = try BufferObject(of: device, size: 0x1000)
        let first = try VMA(buffer, in: space, .init(.fixed(0x1000)))
        let second = try VMA(buffer, in: space, .init(.fixed(0x1000)))
        try first.bind()
        #expect(throws: UnbindError.noSpace) { try second.bind() }
        #expect(throws: UnbindError.outsideAddressSpace) { try VMA(buffer, in: space, .init(.fixed(0x10000))) }
        #expect(throws: UnbindError.invalidArgument) { try BufferObject(of: device, size: 1) }
        let never = try Fence(of: device)
        #expect(throws: UnbindError.deadlock) { try never.wait() }
        #expect(throws: UnbindError.timedOut) { try never.wait(timeout: .zero) }
        #expect(UnbindError.noSpace.name == "-ENOSPC")
        #expect(UnbindError.noSpace.description.count > 10)
        try never.signal(error: .pageFault)
        #expect(try never.error() == .pageFault)
    }

    @Test("a task waits for a fence of the worker pool")
    func completion() async throws {
        let device = try Device()
        let space = try AddressSpace(of: device)
        let queue = try Queue(in: space)
        let vma = try VMA(try BufferObject(of: device, size: 0x1000), in: space)
        try await vma.bindAsync().completion()
        _ = try queue.submit([.delay(nanoseconds: 2_000_000)], using: [(vma, .read)])
        try await vma.unbindAsync().completion()
        #expect(vma.state == .unbound)
        let own = try Fence(of: device)
        try own.signal(error: .noMemory)
        await #expect(throws: UnbindError.noMemory) { try await own.completion() }
    }

    @Test("the manual executor runs in the caller's loop")
    func manual() throws {
        let device = try Device(.init(executor: .manual))
        let space = try AddressSpace(of: device)
        let queue = try Queue(in: space)
        let job = try queue.submit([])
        #expect(try device.eventFileDescriptor() >= 0)
        while !job.isSignaled { try device.run() }
        #expect(try device.nextEvent() == nil)
        let descriptor = try job.makeEventFileDescriptor()
        var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        #expect(Glibc.poll(&poll, 1, 0) == 1)
        close(descriptor)
    }

    @Test("wrapped memory is released when nothing can reach it")
    func wrapped() throws {
        let released = Collector<Bool>()
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 0x1000, alignment: 0x1000)
        defer { memory.deallocate() }
        let device = try Device(.init(executor: .simulated()))
        do {
            let buffer = try BufferObject(
                of: device, wrapping: .init(start: memory, count: 0x1000), release: { released.add(true) })
            #expect(buffer.contents.baseAddress == memory)
            #expect(released.all.isEmpty)
        }
        #expect(released.all.count == 1)
        #expect(throws: UnbindError.invalidArgument) {
            try BufferObject(
                of: device, wrapping: .init(start: memory + 1, count: 0x1000), release: { released.add(true) })
        }
        #expect(released.all.count == 1)
    }

    @Test("closing tells what was left, and the log too")
    func leaks() throws {
        let messages = Collector<String>()
        let device = try Device(.init(executor: .simulated(), log: { messages.add("\($0): \($1)") }))
        let space = try AddressSpace(of: device)
        let buffer = try BufferObject(of: device, size: 0x1000)
        #expect(try device.dump().isEmpty == false && space.dump().isEmpty == false)
        let report = try device.close()
        #expect(!report.isClean && report.addressSpaces == 1 && report.buffers == 1 && report.bufferBytes == 0x1000)
        #expect(!messages.all.isEmpty)
        #expect(throws: UnbindError.closed) { try device.close() }
        #expect(throws: UnbindError.closed) { try VMA(buffer, in: space) }
    }

    private final class PowerCount: Device.Power, @unchecked Sendable {
        var gets = 0
        var puts = 0
        func get() { gets += 1 }
        func getIfInUse() -> Bool {
            gets += 1
            return true
        }
        func put() { puts += 1 }
    }

    @Test("a global address space is suspended and resumed, and the device kept awake for it")
    func suspend() throws {
        let power = PowerCount()
        let device = try Device(Device.Options(executor: .simulated(), power: power))
        let space = try AddressSpace(of: device, AddressSpace.Options(isGlobal: true))
        let buffer = try BufferObject(of: device, size: 0x1000)
        let vma = try VMA(buffer, in: space, .init(.fixed(0x10000)))
        try vma.bind()
        #expect(power.gets == 1 && power.puts == 1)
        try space.suspend()
        #expect(try space.page(at: 0) == nil && vma.state == .bound)
        try space.resume()
        #expect(try space.page(at: 0)?.address == 0x10000)
        #expect(throws: UnbindError.self) { try space.resume() }
        try vma.unbind()
        #expect(power.gets == 6 && power.puts == 6)
    }

    @Test("the version is the one that runs")
    func version() {
        #expect(Library.version.split(separator: ".").count == 3)
        #expect(Library.versionNumber > 0)
    }
}
