import CSystem
import CUnbind
import Testing

@testable import UnbindCore

/// A queue's buffer and some memory before it, as an interpreter sees them.
private struct StagedGPU {
    static let bufferAddress = 64 << 10
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: Int(JobStage.bufferBytes), alignment: 4096)
    var memory = Array(repeating: UInt8(0), count: StagedGPU.bufferAddress)
    var stage: JobStage

    init(version: UInt32) throws {
        let engine = try #require(JobEngine(.copy, version: version))
        memset(buffer, 0xee, Int(JobStage.bufferBytes))
        stage = JobStage(engine: engine, cpu: buffer, address: UInt64(Self.bufferAddress))
    }

    /// Runs the present batch; without its last store, which is the marker, if it is to die before.
    mutating func run(bytes: Int, dies: Bool = false) {
        let count = Int(JobStage.bufferBytes)
        var gpu = BatchInterpreter(memory + Array(UnsafeRawBufferPointer(start: buffer, count: count)))
        let words = UnsafeRawBufferPointer(start: buffer + Int(JobStage.batchOffset), count: bytes)
        gpu.run(Array(words.bindMemory(to: UInt32.self)))
        #expect(gpu.mistakes.isEmpty)
        memory = Array(gpu.memory.prefix(Self.bufferAddress))
        if !dies { buffer.copyMemory(from: Array(gpu.memory[Self.bufferAddress...]), byteCount: count) }
    }
}

@Suite struct JobStageTests {
    @Test("a job that does not fit runs as several batches, and every load gets its value", arguments: [800, 2001])
    func several(version: UInt32) throws {
        var gpu = try StagedGPU(version: version)
        defer { gpu.buffer.deallocate() }
        let count = 600
        let results = UnsafeMutablePointer<UInt64>.allocate(capacity: count)
        defer { results.deallocate() }
        results.initialize(repeating: 0, count: count)
        var commands: [unbind_command] = []
        for index in 0..<count {
            commands.append(store(UInt64(index % 64) * 8, UInt64(index) + 1))
            var command = load(UInt64(index % 64) * 8)
            command.result = results + index
            commands.append(command)
        }
        let array = UnsafeMutablePointer<unbind_command>.allocate(capacity: commands.count)
        defer { array.deallocate() }
        array.initialize(from: commands, count: commands.count)
        gpu.stage.begin(array, count: commands.count)
        var (batches, taken) = (0, 0)
        while true {
            let bytes = try gpu.stage.encode()
            #expect(bytes % 8 == 0 && !gpu.stage.hasEnded)
            #expect(gpu.stage.batch.baseAddress! - UnsafePointer(array) == taken)
            let loads = gpu.stage.batch.count { $0.op == UNBIND_COMMAND_LOAD }
            #expect(loads == min(256, count - batches * 256))
            taken += gpu.stage.batch.count
            gpu.run(bytes: bytes)
            batches += 1
            #expect(gpu.stage.hasEnded)
            if gpu.stage.finishBatch() { break }
        }
        #expect(batches == 3 && taken == commands.count)
        // What is the kernel's in the buffer is nobody else's.
        #expect(gpu.buffer.load(fromByteOffset: Int(JobStage.fenceOffset), as: UInt64.self) == 0xeeee_eeee_eeee_eeee)
        for index in 0..<count { #expect(results[index] == UInt64(index) + 1) }
    }

    @Test("a batch that died has no marker, and neither has the next before it ran; no commands are a batch, too")
    func marker() throws {
        var gpu = try StagedGPU(version: 1200)
        defer { gpu.buffer.deallocate() }
        for dies in [false, true, true, false] {
            gpu.stage.begin(nil, count: 0)
            let bytes = try gpu.stage.encode()
            #expect(!gpu.stage.hasEnded && gpu.stage.batch.isEmpty)
            gpu.run(bytes: bytes, dies: dies)
            #expect(gpu.stage.hasEnded == !dies)
            let isLast = gpu.stage.finishBatch()
            #expect(isLast)
        }
    }

    @Test("a command that no batch has room for is refused, and so is one that is not for a GPU")
    func refused() throws {
        var gpu = try StagedGPU(version: 1200)
        defer { gpu.buffer.deallocate() }
        for (command, expected) in [(copy(to: 0, from: 1 << 40, 1 << 40), Status.tooBig), (delay, .invalid)] {
            var command = command
            var failure: Status?
            gpu.stage.begin(&command, count: 1)
            do throws(Status) { _ = try gpu.stage.encode() } catch { failure = error }
            #expect(failure == expected)
        }
    }

    private var delay: unbind_command {
        var command = unbind_command()
        command.op = UInt32(UNBIND_COMMAND_DELAY)
        command.value = 1
        return command
    }
}
