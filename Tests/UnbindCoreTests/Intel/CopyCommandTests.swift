import CUnbind
import Testing

@testable import UnbindCore

/// A batch of one platform as it would lie in memory.
struct TestBatch {
    let engine: JobEngine
    var words: [UInt32] = []
    var loads = 0

    init(
        _ version: UInt32, _ commands: [unbind_command], results: UInt64 = 0x7000, on kind: EngineKind = .copy,
        callsBatches: Bool = true
    ) throws {
        engine = try #require(JobEngine(kind, version: version, callsBatches: callsBatches))
        var failure: Status?
        commands.withUnsafeBufferPointer { commands in
            do throws(Status) {
                let first = commands.baseAddress!
                let need = try BatchEncoder.measure(first, commands.count, engine: engine)
                // Room for more than it says, which has to stay as it is.
                let memory = UnsafeMutablePointer<UInt32>.allocate(capacity: need.words + 8)
                defer { memory.deallocate() }
                memory.initialize(repeating: 0xdead_beef, count: need.words + 8)
                let writer = BatchWriter(memory, capacity: need.words)
                var encoder = BatchEncoder(writer, engine: engine, results: results)
                try encoder.add(first, commands.count)
                encoder.finish()
                #expect(encoder.writer.isComplete && encoder.writer.count == need.words)
                #expect(encoder.loadCount == need.loads)
                for index in need.words..<need.words + 8 { #expect(memory[index] == 0xdead_beef) }
                words = Array(UnsafeBufferPointer(start: memory, count: need.words))
                loads = need.loads
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// What every batch ends with, after its flush.
    static func ending(after words: [UInt32]) -> [UInt32] {
        let all = words + flush + [0x0500_0000]
        return all.count % 2 == 0 ? all : all + [0]
    }

    static let flush: [UInt32] = [0x1300_0002, 0, 0, 0]
}

func fill(_ address: UInt64, _ size: UInt64, _ value: UInt64) -> unbind_command {
    var command = unbind_command()
    command.op = UInt32(UNBIND_COMMAND_FILL)
    command.address = address
    command.size = size
    command.value = value
    return command
}

func copy(to address: UInt64, from source: UInt64, _ size: UInt64) -> unbind_command {
    var command = unbind_command()
    command.op = UInt32(UNBIND_COMMAND_COPY)
    command.address = address
    command.source = source
    command.size = size
    return command
}

func store(_ address: UInt64, _ value: UInt64) -> unbind_command {
    var command = unbind_command()
    command.op = UInt32(UNBIND_COMMAND_STORE)
    command.address = address
    command.value = value
    return command
}

func load(_ address: UInt64) -> unbind_command {
    var command = unbind_command()
    command.op = UInt32(UNBIND_COMMAND_LOAD)
    command.address = address
    return command
}

func call(_ address: UInt64) -> unbind_command {
    var command = unbind_command()
    command.op = UInt32(UNBIND_COMMAND_BATCH)
    command.address = address
    return command
}

@Suite struct CopyCommandTests {
    private let high: UInt64 = 0x8000_1234_5000

    @Test("an empty batch is an end and a no-op, on every platform")
    func empty() throws {
        for version in [800, 900, 1100, 1200, 1210, 1255, 1260, 1270, 1274, 2001, 2004, 3000] as [UInt32] {
            #expect(try TestBatch(version, []).words == [0x0500_0000, 0])
        }
        #expect(CopyEngine(version: 700) == nil && CopyEngine(version: 0) == nil)
    }

    @Test("a store has 64 bits and a canonical address; stores follow each other without a flush")
    func stores() throws {
        let batch = try TestBatch(1200, [store(high, 0x1122_3344_5566_7788), store(8, 1)])
        #expect(
            batch.words
                == TestBatch.ending(after: [
                    0x1020_0003, 0x1234_5000, 0xffff_8000, 0x5566_7788, 0x1122_3344, 0x1020_0003, 8, 0, 1, 0,
                ]))
    }

    @Test("a load copies both halves to its place among the results, after all that precedes it")
    func loads() throws {
        let batch = try TestBatch(900, [store(8, 1), load(high), load(16)])
        let first: [UInt32] = [
            0x1700_0003, 0x7000, 0, 0x1234_5000, 0xffff_8000, 0x1700_0003, 0x7004, 0, 0x1234_5004, 0xffff_8000,
        ]
        let second: [UInt32] = [0x1700_0003, 0x7008, 0, 16, 0, 0x1700_0003, 0x700c, 0, 20, 0]
        let head: [UInt32] = [0x1020_0003, 8, 0, 1, 0]
        #expect(
            batch.words
                == TestBatch.ending(after: head + TestBatch.flush + first + TestBatch.flush + second))
        #expect(batch.loads == 2)
    }

    @Test("a batch of the caller's is called, after all that precedes it and before all that follows")
    func batches() throws {
        let words: [UInt32] = [0x18c0_0101, 0x1234_5000, 0xffff_8000]
        for kind in [EngineKind.copy, .video, .videoEnhance] {
            let batch = try TestBatch(1255, [call(high), call(high)], on: kind)
            #expect(batch.words == TestBatch.ending(after: words + TestBatch.flush + words))
        }
        #expect(throws: Status.unsupported) { try TestBatch(900, [call(high)], callsBatches: false) }
        #expect(throws: Status.invalid) { try TestBatch(1200, [call(high + 4)]) }
    }

    @Test("engines that draw or compute wait for what precedes by PIPE_CONTROL, and neither fill nor copy")
    func pipeControl() throws {
        for (kind, flags) in [(EngineKind.render, 0x0010_1020 as UInt32), (.compute, 0x0010_0020)] {
            let batch = try TestBatch(2004, [store(8, 1), call(16)], on: kind)
            let flush: [UInt32] = [0x7a00_0004, flags, 0, 0, 0, 0]
            let ends: [UInt32] = [0x0500_0000]
            let words = [0x1020_0003, 8, 0, 1, 0] + flush + [0x18c0_0101, 16, 0] + flush + ends
            #expect(batch.words == (words.count % 2 == 0 ? words : words + [0]))
            #expect(throws: Status.unsupported) { try TestBatch(2004, [fill(0x1000, 64, 1)], on: kind) }
            #expect(throws: Status.unsupported) { try TestBatch(2004, [copy(to: 0, from: 0x1000, 64)], on: kind) }
        }
    }

    @Test("generation 8 copies with XY_SRC_COPY_BLT at 8 bits, from bases at multiples of 64")
    func sourceCopy() throws {
        let batch = try TestBatch(800, [copy(to: high + 0x83, from: 0x2_0000_0041, 8192 + 5)])
        #expect(
            batch.words
                == TestBatch.ending(after: [
                    0x54c0_0008, 0x00cc_1000, 3, 2 << 16 | 4099, 0x1234_5080, 0xffff_8000, 1, 4096, 0x40, 2,
                    0x54c0_0008, 0x00cc_1000, 3, 1 << 16 | 8, 0x1234_7080, 0xffff_8000, 1, 4096, 0x2040, 2,
                ]))
    }

    @Test("generation 9 to 12 copies aligned rows with XY_FAST_COPY_BLT, and the rest as generation 8")
    func fastCopy() throws {
        for version in [900, 1200, 1210] as [UInt32] {
            let batch = try TestBatch(version, [copy(to: 0x10000, from: 0x2_0000_0000, 3 * 4096 + 64)])
            #expect(
                batch.words
                    == TestBatch.ending(after: [
                        0x5080_0008, 0x0300_1000, 0, 3 << 16 | 1024, 0x10000, 0, 0, 4096, 0, 2,
                        0x54c0_0008, 0x00cc_1000, 0, 1 << 16 | 64, 0x13000, 0, 0, 4096, 0x3000, 2,
                    ]))
        }
        #expect(try TestBatch(1200, [copy(to: 0x10008, from: 0x20000, 4096)]).words[0] == 0x54c0_0008)
        #expect(try TestBatch(1255, [copy(to: 0x10000, from: 0x20000, 4096)]).words[1] == 0xc300_1000)
    }

    @Test("generation 11 does not copy 3 or 7 rows with XY_FAST_COPY_BLT")
    func rowErratum() throws {
        for rows in 1...12 as ClosedRange<UInt64> {
            let expected: UInt32 = rows == 3 || rows == 7 ? 0x54c0_0008 : 0x5080_0008
            #expect(try TestBatch(1100, [copy(to: 0, from: 1 << 32, rows * 4096)]).words[0] == expected)
            #expect(try TestBatch(1200, [copy(to: 0, from: 1 << 32, rows * 4096)]).words[0] == 0x5080_0008)
        }
    }

    @Test("Meteor Lake copies with XY_BLOCK_COPY_BLT and fills with XY_FAST_COLOR_BLT, uncached in system memory")
    func blocks() throws {
        let pitch: UInt32 = 9 << 22 | 4095
        #expect(
            try TestBatch(1270, [copy(to: high + 1, from: 0x42, 4096)]).words
                == TestBatch.ending(after: [
                    0x5040_0014, pitch, 1, 1 << 16 | 4097, 0x1234_5000, 0xffff_8000, 0x8000_0000, 2, pitch, 0x40, 0,
                    0x8000_0000, 0, 0, 0, 0, 1 << 29 | 4096 << 14, 0, 0, 1 << 29 | 4097 << 14, 0, 0,
                ]))
        #expect(
            try TestBatch(1274, [fill(0x1_0000_0004, 8192, 0xaabb_ccdd)]).words
                == TestBatch.ending(after: [
                    0x5110_000e, pitch, 1, 2 << 16 | 1025, 0, 1, 0x8000_0000, 0xaabb_ccdd, 0, 0, 0, 0, 0,
                    1 << 29 | 1024 << 14 | 1, 0, 0,
                ]))
    }

    @Test("from Xe2 on MEM_COPY copies: source first, any address, 8 MiB a command")
    func memoryCopy() throws {
        let size: UInt64 = 8 << 20 | 5
        #expect(
            try TestBatch(2004, [copy(to: high + 1, from: 0x42, size)]).words
                == TestBatch.ending(after: [
                    0x5680_0008, 0x7f_ffff, 0, 0, 0, 0x42, 0, 0x1234_5001, 0xffff_8000, 3 << 28 | 3 << 3,
                    0x5680_0008, 4, 0, 0, 0, 0x80_0042, 0, 0x12b4_5001, 0xffff_8000, 3 << 28 | 3 << 3,
                ]))
    }

    @Test("MEM_SET fills with one byte; the table of controls has its place by platform")
    func memorySet() throws {
        for (version, controls) in [(1260, 1 << 1), (2001, 3 << 3), (3000, 3 << 3)] as [(UInt32, UInt32)] {
            #expect(
                try TestBatch(version, [fill(0x1004, 12, 0x5a5a_5a5a)]).words
                    == TestBatch.ending(after: [0x56c0_0005, 11, 0, 0, 0x1004, 0, 0x5a00_0000 | controls]))
        }
    }

    @Test("up to DG2 XY_COLOR_BLT fills")
    func color() throws {
        for version in [800, 900, 1200, 1255] as [UInt32] {
            #expect(
                try TestBatch(version, [fill(0x1004, 4100, 0xffff_ffff_1234_5678)]).words
                    == TestBatch.ending(after: [
                        0x5430_0005, 0x03f0_1000, 1, 1 << 16 | 1025, 0x1000, 0, 0x1234_5678,
                        0x5430_0005, 0x03f0_1000, 1, 1 << 16 | 2, 0x2000, 0, 0x1234_5678,
                    ]))
        }
    }

    @Test("no more than 8 MiB in one command")
    func chunks() throws {
        let size: UInt64 = (16 << 20) + 4096
        for version in [800, 900, 1255, 1270, 2001] as [UInt32] {
            let alone = try TestBatch(version, [copy(to: 0, from: 1 << 32, 8 << 20)]).words.count
            let all = try TestBatch(version, [copy(to: 0, from: 1 << 32, size)]).words.count
            let one = alone - 6
            #expect(all == TestBatch.ending(after: Array(repeating: 0, count: one * 3)).count)
        }
    }

    @Test("what breaks a command's rules is refused, and so is what is not for a GPU")
    func refusals() {
        func status(_ command: unbind_command) -> Int32 {
            do { _ = try TestBatch(1200, [command]) } catch { return (error as? Status)?.raw ?? 1 }
            return 0
        }
        let most: UInt64 = 1 << 48
        #expect(status(store(4, 0)) == Status.invalid.raw && status(store(most, 0)) == Status.invalid.raw)
        #expect(status(store(most - 8, 0)) == 0 && status(load(most - 8)) == 0)
        #expect(status(load(2)) == Status.invalid.raw && status(load(.max - 7)) == Status.invalid.raw)
        #expect(status(fill(2, 4, 0)) == Status.invalid.raw && status(fill(4, 6, 0)) == Status.invalid.raw)
        #expect(status(fill(4, 0, 0)) == Status.invalid.raw && status(fill(most - 4, 8, 0)) == Status.invalid.raw)
        #expect(status(copy(to: 0, from: most - 1, 2)) == Status.invalid.raw)
        #expect(status(copy(to: most - 1, from: 0, 1)) == 0)
        #expect(status(copy(to: 0, from: .max, .max)) == Status.invalid.raw)
        #expect(status(copy(to: 0, from: 0, most)) == Status.tooBig.raw)
        #expect(status(call(most)) == Status.invalid.raw && status(call(most - 8)) == 0)
        for op in [4, 5, 7, 256] as [UInt32] {
            var command = store(0, 0)
            command.op = op
            #expect(status(command) == Status.invalid.raw)
        }
    }

    @Test("a batch that does not fit is written up to the end of its room and says so")
    func room() {
        for capacity in 0..<7 {
            let memory = UnsafeMutablePointer<UInt32>.allocate(capacity: 16)
            defer { memory.deallocate() }
            memory.initialize(repeating: 0xdead_beef, count: 16)
            var writer = BatchWriter(memory, capacity: capacity)
            writer.store(UInt64.max, at: 0x1000)
            writer.end()
            #expect(writer.count == 6 && writer.isComplete == (capacity >= 6))
            for index in capacity..<16 { #expect(memory[index] == 0xdead_beef || index < 6 && capacity == 6) }
        }
    }
}
