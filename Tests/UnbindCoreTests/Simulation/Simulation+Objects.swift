// Making and dropping objects.

import CUnbind
import Glibc

extension Simulation {
    static var smallSizes: [Int] { [0x1000, 0x1000, 0x2000, 0x4000, 0x8000, 0x1_0000, 0x1_0000, 0x2_0000] }
    static var largeSizes: [Int] { [0x5000, 0x2_1000, 0x4_0000, 0x20_0000, 0x20_1000, 0x40_0000] }

    var openSpaces: [SimulationSpace] { spaces.filter { !$0.isClosed } }
    var liveVMAs: [SimulationVMA] { vmas.filter { $0.handle != nil } }
    var liveBuffers: [SimulationBuffer] { buffers.filter { $0.handle != nil } }
    var liveQueues: [SimulationQueue] { queues.filter { $0.handle != nil } }

    func makeSpace() throws {
        var options = makeHeaderStruct(unbind_vm_options())
        let policies = [UNBIND_POLICY_RANGES, UNBIND_POLICY_RANGES, UNBIND_POLICY_TIMELINE, UNBIND_POLICY_SYNC]
        let policy = random.pick(policies)
        options.policy = plan.policy ?? policy
        let hasColors = random.chance(25)
        if hasColors { options.flags |= UInt32(UNBIND_VM_CACHE_COLORING) }
        if random.chance(30) { options.flags |= UInt32(UNBIND_VM_GLOBAL) }
        options.size = random.pick([0, 0, 1 << 32, 0x80_0000])
        let subset = pageSizes & (random.chance(70) ? 0x21_1000 : 0x1_1000)
        let hasTableModes = random.chance(30) && subset & 0x1_0000 != 0
        if hasTableModes { options.flags |= UInt32(UNBIND_VM_IPS) }
        options.page_sizes = subset == pageSizes && random.chance(50) ? 0 : subset
        var handle: OpaquePointer?
        let status = try withFailures("vm_create") { unbind_vm_create(device, &options, &handle) }
        try require(status == 0 && handle != nil, "vm_create: \(status)")
        let space = SimulationSpace(
            index: spaces.count, id: unbind_vm_id(handle), handle: handle!, policy: options.policy,
            size: options.size == 0 ? 1 << 48 : options.size, pageSizes: subset, hasColors: hasColors,
            hasTableModes: hasTableModes)
        try require(!spaces.contains { $0.id == space.id }, "vm id \(space.id) is not unique")
        spaces.append(space)
        say("vm \(space.index): policy \(space.policy), size \(hex(space.size)), colors \(space.hasColors)")
        for _ in 0..<1 + random.below(2) { try makeQueue(in: space) }
    }

    func makeQueue(in space: SimulationSpace) throws {
        var handle: OpaquePointer?
        let status = try withFailures("queue_create") { unbind_queue_create(space.handle, 0, &handle) }
        try require(status == (space.isClosed ? -ENOENT : 0), "queue_create: \(status), closed \(space.isClosed)")
        guard let handle else { return }
        let queue = SimulationQueue(handle: handle, space: space, id: unbind_queue_id(handle))
        try require(!queues.contains { $0.id == queue.id }, "queue id \(queue.id) is not unique")
        queues.append(queue)
    }

    func makeBuffer() throws {
        let size = random.chance(85) ? random.pick(Self.smallSizes) : random.pick(Self.largeSizes)
        let kind = random.below(3)
        var handle: OpaquePointer?
        var wrapped: UnsafeMutableRawPointer?
        var allocation: UnsafeMutableRawPointer?
        let status: Int32
        if kind == 2 {
            // Mostly aligned as the library's own buffers are, so that every page size can map it.
            let page = Int(pageSizes & (~pageSizes &+ 1))
            let offset = random.chance(30) ? random.below(16) * page : 0
            posix_memalign(&allocation, 0x20_0000, size + offset)
            wrapped = allocation! + offset
            let data = Unmanaged.passUnretained(self).toOpaque()
            status = try withFailures("bo_wrap") {
                unbind_bo_wrap(device, wrapped, UInt64(size), simulationReleased, data, &handle)
            }
        } else {
            status = try withFailures("bo_create") {
                unbind_bo_create(device, UInt64(size), UInt32(kind), 0, &handle)
            }
        }
        if status == -ENOMEM, kind == 1 {
            say("no local memory for \(size) bytes")
            return
        }
        try require(status == 0 && handle != nil, "bo of \(size) bytes, kind \(kind): \(status)")
        guard let cpu = unbind_bo_cpu_pointer(handle) else { throw SimulationFailure("bo has no CPU pointer") }
        try require(wrapped == nil || cpu == wrapped, "wrapped memory is seen elsewhere by the CPU")
        let buffer = SimulationBuffer(
            index: buffers.count, id: unbind_bo_id(handle), handle: handle!, size: size, isLocal: kind == 1,
            wrapped: wrapped, allocation: allocation, cpu: cpu)
        try require(unbind_bo_size(handle) == UInt64(size), "bo_size")
        try require(!buffers.contains { $0.id == buffer.id }, "bo id \(buffer.id) is not unique")
        if kind != 2 { try require(memcmp(cpu, buffer.expected, size) == 0, "a new bo is not zeroed") }
        // Its own pattern, by the CPU.
        let pattern = UInt8(truncatingIfNeeded: random.next())
        memset(cpu, Int32(pattern), size)
        memset(buffer.expected, Int32(pattern), size)
        buffers.append(buffer)
        say("bo \(buffer.index) (id \(buffer.id)): \(size) bytes, kind \(kind)")
    }

    func makeVMA() throws {
        guard let space = random.pickOptional(spaces.filter { $0.handle != nil }),
            let buffer = random.pickOptional(liveBuffers)
        else { return }
        var options = makeHeaderStruct(unbind_vma_options())
        var fixed: UInt64?
        if random.chance(70) {
            // Few places, so that they collide, touch and lie inside each other.
            let middle: UInt64 = space.size > 1 << 32 ? 0xfffe_0000 : 0
            let base: UInt64 = random.pick([0, 0x20_0000, space.size - 0x40_0000, middle])
            let unit = random.pick([0x1000, 0x1_0000, 0x1_0000])
            fixed = (base + UInt64(random.below(8) * unit)) & ~(space.smallestPage - 1)
            options.flags |= UInt32(UNBIND_VMA_FIXED)
            options.address = fixed!
        } else {
            if random.chance(40) { options.flags |= UInt32(UNBIND_VMA_HIGH) }
            options.alignment = random.pick([0, 0, 0x1000, 0x1_0000, 0x8_0000])
        }
        if random.chance(20) { options.flags |= UInt32(UNBIND_VMA_READ_ONLY) }
        if space.hasColors { options.color = UInt32(random.below(3)) }
        if fixed != nil, random.chance(15) { options.guard = UInt64(1 + random.below(3)) * space.smallestPage }
        var view: SimulationView?
        if random.chance(25) {
            view = SimulationView.any(
                of: buffer.size, page: space.smallestPage, hasPlanes: !space.hasTableModes, &random)
        }
        var handle: OpaquePointer?
        let status = try withFailures("vma_create") {
            guard let view else { return unbind_vma_create(space.handle, buffer.handle, &options, &handle) }
            return withUnsafePointer(to: view.native) { native in
                options.view = native
                return unbind_vma_create(space.handle, buffer.handle, &options, &handle)
            }
        }
        let size = view?.size ?? UInt64(buffer.size)
        var expected: Int32 = 0
        if (fixed ?? 0) + size + options.guard > space.size || (fixed ?? .max) < options.guard { expected = -ENODEV }
        if size % space.smallestPage != 0 { expected = -EINVAL }
        if space.isClosed { expected = status == expected ? status : -ENOENT }
        if status != 0, expected != 0 { return }
        try require(status == expected, "vma_create gave \(status), not \(expected)")
        let vma = SimulationVMA(
            index: vmas.count, handle: handle!, space: space, buffer: buffer, fixed: fixed,
            alignment: options.alignment, color: options.color,
            isReadOnly: options.flags & UInt32(UNBIND_VMA_READ_ONLY) != 0, guardSize: options.guard, view: view)
        vmas.append(vma)
        if view != nil { outcome.coverage.views += 1 }
        space.vmas.append(vma)
        let place = fixed.map { "at \(String($0, radix: 16))" } ?? "automatic, alignment \(options.alignment)"
        say("vma \(vma.index) of bo \(buffer.index) in vm \(space.index), \(place), flags \(options.flags)")
    }

    /// Drops one reference of something at random.
    func dropSomething() throws {
        switch random.below(4) {
        case 0:
            if let vma = random.pickOptional(liveVMAs) { try drop(vma) }
        case 1:
            if let buffer = random.pickOptional(liveBuffers), liveBuffers.count > 2 { drop(buffer) }
        case 2:
            if let queue = random.pickOptional(liveQueues), liveQueues.count > 1 { drop(queue) }
        default:
            // Of unbinds and binds only: jobs' fences order what follows.
            if let fence = random.pickOptional(fences.filter { $0.kind == .bind || $0.kind == .unbind }) {
                say("drop \(fence.name)")
                try dropHandle(fence)
            }
        }
    }

    func drop(_ vma: SimulationVMA) throws {
        say("drop vma \(vma.index)")
        if let binding = vma.binding {
            try schedule(binding, handle: nil, previous: vma.space.pending.last?.fence)
        }
        withoutMemory { unbind_vma_unref(vma.handle) }
        vma.handle = nil
        vma.space.vmas.removeAll { $0 === vma }
    }

    func drop(_ buffer: SimulationBuffer) {
        say("drop bo \(buffer.index)")
        unbind_bo_unref(buffer.handle)
        buffer.handle = nil
    }

    func drop(_ queue: SimulationQueue) {
        say("drop queue \(queue.id)")
        unbind_queue_unref(queue.handle)
        queue.handle = nil
    }

    func close(_ space: SimulationSpace) throws {
        say("close vm \(space.index)")
        let alreadyClosed = space.isClosed
        let status = withoutMemory { unbind_vm_close(space.handle) }
        try require(status == (alreadyClosed ? -ENOENT : 0), "vm_close: \(status), closed \(alreadyClosed)")
        try markClosed(space)
    }

    /// The unbinds of a close are scheduled in an order that nobody promised: each may wait for all that the others do.
    func markClosed(_ space: SimulationSpace) throws {
        if space.isClosed { return }
        space.isClosed = true
        let bindings = space.bindings
        let previous = space.pending.last?.fence
        outcome.coverage.closes += 1
        let others = space.policy == UNBIND_POLICY_TIMELINE ? bindings.flatMap(\.dependencies) : []
        for binding in bindings { try schedule(binding, handle: nil, previous: previous, others: others) }
        for vma in space.vmas { vma.pins = 0 }
    }

    /// Called when the library says that nothing reaches a buffer's memory any more.
    func noteRelease(of memory: UnsafeMutableRawPointer) {
        guard let buffer = buffers.first(where: { $0.wrapped == memory }) else { return }
        buffer.isReleased = true
        releases.append(buffer)
        memset(memory, 0xdd, buffer.size)
    }
}

private func simulationReleased(_ data: UnsafeMutableRawPointer?, _ memory: UnsafeMutableRawPointer?) {
    Unmanaged<Simulation>.fromOpaque(data!).takeUnretainedValue().noteRelease(of: memory!)
}
