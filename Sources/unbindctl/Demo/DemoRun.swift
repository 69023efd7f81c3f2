// DemoRun: carries the demo's workload out under one policy, moving and checking real bytes.

import Unbind

/// One run of the workload.
final class DemoRun {
    private let workload: DemoWorkload
    private let device: Device
    private let space: AddressSpace
    private let queue: Queue
    private let backing: Backing
    private var vmas: [VMA?]
    /// Buffers that wait for the end of their unbind, to be looked at.
    private var unchecked: [(buffer: BufferObject, index: Int, unbound: Fence)] = []
    /// The jobs so far, to know that none of them faulted.
    private var jobs: [Fence] = []
    private(set) var figures: Measurement
    private(set) var checkedBuffers = 0
    private(set) var wrongBuffers = 0
    private(set) var bytesWritten: UInt64 = 0
    private(set) var failedJobs = 0
    /// When the program had done its last step.
    private(set) var programEnd: UInt64 = 0

    init(_ workload: DemoWorkload, policy: AddressSpace.Policy, seed: UInt64) throws {
        self.workload = workload
        figures = Measurement(policy: policy)
        vmas = Array(repeating: nil, count: workload.buffers.count)
        backing = try Backing(size: workload.buffers.reduce(0) { max($0, $1.size) })
        device = try Device(.init(executor: .simulated(seed: seed), systemMemoryBytes: 1 << 40))
        space = try AddressSpace(of: device, .init(policy: policy))
        queue = try Queue(in: space)
    }

    func run(_ progress: ProgressBar) throws {
        for (number, step) in workload.steps.enumerated() {
            try device.run(until: step.time)
            switch step.action {
            case .bind(let index): try bind(index)
            case .unbind(let index): try unbind(index)
            case .submit(let buffers, let length): try submit(buffers, length)
            }
            if number % 256 == 0 { try collect() }
            progress.step()
        }
        programEnd = device.now
        try device.waitIdle()
        try collect()
        figures.add(try space.statistics())
        figures.pageRuns = try PageRun.all(of: space, number: 0)
        figures.blocked.sort()
    }

    private func bind(_ index: Int) throws(UnbindError) {
        let plan = workload.buffers[index]
        let buffer =
            plan.isChecked
            ? try BufferObject(of: device, size: plan.size)
            : try BufferObject(of: device, wrapping: backing.memory(size: plan.size, for: plan.address))
        let vma = try VMA(buffer, in: space, .init(.fixed(plan.address)))
        let begin = device.now
        try vma.bind()
        figures.blocked.append(device.now - begin)
        figures.binds += 1
        vmas[index] = vma
    }

    private func unbind(_ index: Int) throws(UnbindError) {
        guard let vma = vmas[index] else { return }
        let begin = device.now
        let unbound = try vma.unbindAsync()
        figures.blocked.append(device.now - begin)
        figures.unbinds += 1
        vmas[index] = nil
        if workload.buffers[index].isChecked { unchecked.append((vma.buffer, index, unbound)) }
    }

    /// A job is busy first and writes last: a range that is taken away too early shows.
    private func submit(_ indexes: [Int], _ length: UInt64) throws(UnbindError) {
        var commands: [Queue.Command] = [.delay(nanoseconds: length)]
        var uses: [(vma: VMA, use: Queue.Use)] = []
        for index in indexes {
            guard let vma = vmas[index] else { continue }
            let buffer = workload.buffers[index]
            uses.append((vma, buffer.isChecked ? .write : .read))
            guard buffer.isChecked else { continue }
            commands.append(
                .fill(address: buffer.address, size: buffer.size, pattern: DemoRun.pattern(of: index)))
            bytesWritten += buffer.size
        }
        jobs.append(try queue.submit(commands, using: uses))
    }

    /// Looks at the buffers whose unbind has ended, and at the jobs that have.
    private func collect() throws(UnbindError) {
        var waiting: [(buffer: BufferObject, index: Int, unbound: Fence)] = []
        for entry in unchecked {
            if entry.unbound.isSignaled { check(entry.buffer, entry.index) } else { waiting.append(entry) }
        }
        unchecked = waiting
        var running: [Fence] = []
        for job in jobs {
            if !job.isSignaled {
                running.append(job)
            } else if try job.error() != nil {
                failedJobs += 1
            }
        }
        jobs = running
    }

    /// Every word must be what the jobs wrote, or, if no job came to use the buffer, still 0.
    private func check(_ buffer: BufferObject, _ index: Int) {
        let words = UnsafeMutableRawBufferPointer(buffer.contents).bindMemory(to: UInt32.self)
        let expected = wasUsed.contains(index) ? DemoRun.pattern(of: index) : 0
        checkedBuffers += 1
        if !words.allSatisfy({ $0 == expected }) { wrongBuffers += 1 }
    }

    private lazy var wasUsed: Set<Int> = {
        var used: Set<Int> = []
        for step in workload.steps {
            if case .submit(let buffers, _) = step.action { used.formUnion(buffers) }
        }
        return used
    }()

    private static func pattern(of index: Int) -> UInt32 { UInt32(truncatingIfNeeded: index) &* 2_654_435_761 | 1 }
}
