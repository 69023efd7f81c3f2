import CSystem
import Testing

@testable import UnbindCore

/// Memory whose n-th allocation can be made to fail.
final class FailingMemory {
    /// Allocations to go until one fails; negative: none does.
    let countdown: UnsafeMutablePointer<Int>
    let pointer: UnsafeMutablePointer<Memory>

    init() {
        countdown = .allocate(capacity: 1)
        countdown.initialize(to: -1)
        pointer = .allocate(capacity: 1)
        pointer.initialize(
            to: Memory(
                userData: countdown,
                allocate: { userData, size, alignment in
                    let countdown = userData!.assumingMemoryBound(to: Int.self)
                    if countdown.pointee == 0 { return nil }
                    if countdown.pointee > 0 { countdown.pointee -= 1 }
                    return mallocAllocate(nil, size, alignment)
                }))
    }

    var bytes: Int { pointer.pointee.bytes.load(ordering: .relaxed) }

    deinit {
        precondition(bytes == 0, "the test leaked memory")
        pointer.deinitialize(count: 1)
        pointer.deallocate()
        countdown.deallocate()
    }
}

/// A software GPU with everything a device would give it.
final class TestGPU {
    let memory = FailingMemory()
    let jobs: UnsafeMutablePointer<SlabCache>
    let awaits: UnsafeMutablePointer<SlabCache>
    let executor: ExecutorPointer
    let gpu: SoftwareGPUPointer
    let local: UnsafeMutableRawPointer
    let faultLock = FutexLock(.history)
    private(set) var faultList: [FaultRecord] = []
    private var blocks: [(UnsafeMutableRawPointer, Int)] = []

    static let localSize = 8 << 20

    init(costs: CostModel = .zero, uncached: Bool = false, executor kind: ExecutorKind = .simulated) {
        jobs = .allocate(capacity: 1)
        jobs.initialize(to: SlabCache(for: Job.self, memory: memory.pointer, uncached: uncached))
        awaits = .allocate(capacity: 1)
        awaits.initialize(to: SlabCache(for: Await.self, memory: memory.pointer, uncached: uncached))
        let holder = UnsafeMutablePointer<Unmanaged<TestGPU>?>.allocate(capacity: 1)
        holder.initialize(to: nil)
        jobHome = .allocate(capacity: 1)
        jobHome.initialize(to: Job.makeHome(owner: UnsafeMutableRawPointer(holder)))
        executor = try! ExecutorPointer.make(
            kind: kind, workerCount: 2, seed: 1, memory: memory.pointer, device: UnsafeMutableRawPointer(holder))
        local = aligned_alloc(2 << 20, TestGPU.localSize)!
        memset(local, 0, TestGPU.localSize)
        var configuration = SoftwareGPU.Configuration(
            memory: memory.pointer, executor: executor, owner: UnsafeMutableRawPointer(holder), jobHome: jobHome,
            jobs: jobs, awaits: awaits)
        configuration.costs = costs
        configuration.uncached = uncached
        configuration.localBase = UInt64(UInt(bitPattern: local))
        configuration.localSize = UInt64(TestGPU.localSize)
        configuration.faultContext = UnsafeMutableRawPointer(holder)
        configuration.faultSink = { context, record in
            let test = context!.assumingMemoryBound(to: Unmanaged<TestGPU>?.self).pointee!.takeUnretainedValue()
            test.faultLock.acquire()
            test.faultList.append(record.assumingMemoryBound(to: FaultRecord.self).pointee)
            test.faultLock.release()
        }
        gpu = try! SoftwareGPU.make(configuration)
        self.holder = holder
        holder.pointee = Unmanaged.passUnretained(self)
    }

    private let jobHome: FenceHomePointer
    private let holder: UnsafeMutablePointer<Unmanaged<TestGPU>?>

    deinit {
        executor.stop()
        gpu.free()
        for (block, _) in blocks { free(block) }
        free(local)
        executor.free()
        jobs.dispose()
        awaits.dispose()
        jobs.deinitialize(count: 1)
        jobs.deallocate()
        awaits.deinitialize(count: 1)
        awaits.deallocate()
        holder.deallocate()
        jobHome.deallocate()
    }

    var faults: [FaultRecord] {
        faultLock.acquire()
        defer { faultLock.release() }
        return faultList
    }

    /// System memory for the life of the test, aligned to 2 MiB, with bytes that differ.
    func block(_ size: Int, seed: UInt8 = 0) -> UInt64 {
        let block = aligned_alloc(2 << 20, roundUp(size, to: 2 << 20))!
        let bytes = block.assumingMemoryBound(to: UInt8.self)
        for index in 0..<size {
            bytes[index] = UInt8(truncatingIfNeeded: index &* 7 &+ index / 251) &+ seed
        }
        blocks.append((block, size))
        return UInt64(UInt(bitPattern: block))
    }

    func space(id: UInt64 = 1, pageSizes: UInt64 = PageSize.all) -> SoftwareSpacePointer {
        try! gpu.makeSpace(id: id, pageSizes: pageSizes)
    }

    /// Binds at once.
    @discardableResult
    func bind(
        _ space: SoftwareSpacePointer, at address: UInt64, size: UInt64, to physical: UInt64, local: Bool = false,
        readOnly: Bool = false
    ) -> Binding {
        let binding = Binding(
            start: address, size: size, physical: physical, isLocal: local, isReadOnly: readOnly)
        try! space.reserve(binding)
        _ = space.write(binding)
        return binding
    }

    func unbind(_ space: SoftwareSpacePointer, _ binding: Binding) {
        _ = space.clear(binding)
        gpu.invalidate(space, start: binding.start, size: binding.size)
        space.freeRetired()
    }

    /// Appends a job and returns its fence, with a reference for the caller.
    func submit(_ engine: EnginePointer, _ commands: [Command], after awaits: [FencePointer] = []) -> FencePointer {
        let job = try! gpu.makeJob(for: engine, commandCount: commands.count)
        for command in commands { try! job.add(command) }
        for fence in awaits { try! job.await(fence) }
        let fence = engine.admit(job)
        fence.retain()
        engine.append(job)
        return fence
    }

    /// Runs all work there is.
    func run() { _ = try! executor.run(maxItems: 0) }

    /// Submits, runs, and returns the error of the fence.
    func runJob(_ engine: EnginePointer, _ commands: [Command]) -> Int32 {
        let fence = submit(engine, commands)
        run()
        defer { fence.drop() }
        return fence.isSignalled ? fence.error : 1
    }
}

func bytes(_ address: UInt64, _ count: Int) -> [UInt8] {
    Array(UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: UInt(address)), count: count))
}
