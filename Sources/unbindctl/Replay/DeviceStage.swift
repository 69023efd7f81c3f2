// DeviceStage: a device and the time of the clock on the wall.
//
// Buffers have memory of their own and carry words that tell them apart, so that the GPU can be asked what it sees. The
// work beside the capture runs in an address space of its own: each job keeps its queue busy and then has the GPU store the
// job's number, so that what unbinds wait for has been done by the GPU.

import Glibc
import Unbind

final class DeviceStage: ReplayStage {
    let device: Device
    private let plan: Plan
    private let speed: UInt64
    /// When the capture begins, on the device's clock.
    private var origin: UInt64?

    /// Where the work beside the capture stores the numbers of its jobs, a word for each stream.
    private var progress: VMA?
    private var jobsOfStream: [UInt64] = []
    /// What jobs of the capture's own have read, and should have.
    private let loads: LoadedWords

    init(_ plan: Plan, on selector: String, speed: UInt64) throws {
        self.plan = plan
        self.speed = speed
        device = try Device.opened(by: selector, .init(systemMemoryBytes: 1 << 46))
        let uses = plan.operations.reduce(0) {
            if case .submit(_, let slots) = $1.action { $0 + slots.count } else { $0 }
        }
        loads = LoadedWords(capacity: uses)
    }

    /// What a capture has to do with on a device.
    struct Limits {
        let spaceSize: UInt64
        let canSplit: Bool

        init(of selector: String) throws {
            let device = try Device.opened(by: selector)
            spaceSize = try AddressSpace(of: device).size
            canSplit = device.capabilities.isSuperset(of: [.aliasing, .partialUnbind])
        }
    }

    func wait(until time: UInt64) throws(UnbindError) {
        let begin = origin ?? device.now
        origin = begin
        let end = begin + time / speed
        var due = timespec(tv_sec: Int(end / 1_000_000_000), tv_nsec: Int(end % 1_000_000_000))
        while end > device.now, clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, nil) == EINTR {}
    }

    // MARK: Memory

    func makeBuffer(for number: Int) throws(UnbindError) -> BufferObject {
        let buffer = try BufferObject(of: device, size: plan.slots[number].size)
        for offset in EndState.wordOffsets(of: buffer) {
            buffer.contents.storeBytes(
                of: EndState.word(ofSlot: number, offset), toByteOffset: Int(offset), as: UInt64.self)
        }
        return buffer
    }

    func makeMemories() throws(UnbindError) -> [BufferObject] {
        var memories: [BufferObject] = []
        for size in plan.memorySizes { memories.append(try BufferObject(of: device, size: size)) }
        return memories
    }

    // MARK: Jobs

    func makeStreams(_ count: Int, beside space: AddressSpace) throws(UnbindError) -> [Queue] {
        let created = try AddressSpace(of: device)
        let size = (UInt64(count) * 8 + Plan.pageSize - 1) & ~(Plan.pageSize - 1)
        let vma = try VMA(try BufferObject(of: device, size: size), in: created)
        try vma.bind()
        progress = vma
        jobsOfStream = Array(repeating: 0, count: count)
        return try Queue.several(count, in: created)
    }

    func job(ofStream stream: Int, length: UInt64) -> ReplayJob {
        jobsOfStream[stream] += 1
        guard let progress, let address = progress.address else { return ReplayJob(commands: [], uses: []) }
        let store = Queue.Command.store(address: address + UInt64(stream) * 8, value: jobsOfStream[stream])
        return ReplayJob(commands: [.delay(nanoseconds: length / speed), store], uses: [(vma: progress, use: .write)])
    }

    func job(using slots: [(number: Int, vma: VMA)], length: UInt64) -> ReplayJob {
        var commands = [Queue.Command.delay(nanoseconds: length / speed)]
        for slot in slots {
            let address = plan.slots[slot.number].start
            commands.append(loads.load(from: address, expecting: EndState.word(ofSlot: slot.number, 0)))
        }
        return ReplayJob(commands: commands, uses: slots.map { (vma: $0.vma, use: .read) })
    }

    // MARK: The end

    func finish(_ end: ReplayEnd, _ result: inout Measurement) throws {
        result.end = device.now - (origin ?? 0)
        var figures = Measurement.OnDevice()
        for space in end.spaces {
            let statistics = try space.statistics()
            figures.add(statistics)
            if statistics.pending > 0 || statistics.unbindsCompleted != statistics.unbinds {
                throw ToolError.software("\(statistics.unbinds - statistics.unbindsCompleted) unbinds have not ended")
            }
        }
        try checkProgress()
        try loads.check("a job of the capture")
        let state = EndState(of: plan)
        figures.mappingsLeft = state.extents.count
        figures.bytesLeft = state.extents.reduce(0) { $0 + $1.size }
        figures.wordsRead = try state.check(end, on: device) + loads.count
        result.onDevice = figures
    }

    /// The last job of each stream has stored its number.
    private func checkProgress() throws {
        guard let progress else { return }
        for (stream, count) in jobsOfStream.enumerated() {
            let stored = progress.buffer.contents.loadUnaligned(fromByteOffset: stream * 8, as: UInt64.self)
            guard stored == count else {
                throw ToolError.software("stream \(stream): job \(count) was the last, and \(stored) the last to store")
            }
        }
    }

    func takeDown() { progress = nil }
}
