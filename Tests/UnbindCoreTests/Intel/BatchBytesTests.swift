import CUnbind
import Testing

@testable import UnbindCore

@Suite struct BatchBytesTests {
    private static let size = 32 << 10
    private static let versions: [UInt32] = [800, 900, 1100, 1200, 1255, 1260, 1270, 2001, 3000]

    /// What the commands mean, done to bytes.
    private static func apply(_ command: unbind_command, to memory: inout [UInt8], results: inout [UInt64]) {
        let address = Int(command.address), size = Int(command.size)
        func byte(_ index: Int) -> UInt8 { UInt8(truncatingIfNeeded: command.value >> (UInt64(index) * 8)) }
        switch Int32(command.op) {
        case 0: for index in 0..<size { memory[address + index] = byte(index % 4) }
        case 1: memory.replaceSubrange(address..<address + size, with: memory[Int(command.source)...].prefix(size))
        case 2: for index in 0..<8 { memory[address + index] = byte(index) }
        default:
            results.append((0..<8).reduce(0) { $0 | UInt64(memory[address + $1]) << (UInt64($1) * 8) })
        }
    }

    private static func random(_ generator: inout RandomSource) -> unbind_command {
        func pick(_ bound: Int) -> Int { Int(generator.next() % UInt64(bound)) }
        let half = size / 2
        switch pick(4) {
        case 0:
            let length = (pick(pick(2) == 0 ? 40 : half / 4) + 1) * 4
            let pattern = pick(3) == 0 ? 0x5a5a_5a5a : generator.next()
            return fill(UInt64(pick((size - length) / 4) * 4), UInt64(length), pattern)
        case 1:
            // From one half to the other.
            let alignment = [1, 4, 64, 4096][pick(4)]
            let length = pick(2) == 0 ? pick(100) + 1 : pick(half - 4096) + 1
            let low = pick((half - length) / alignment + 1) * alignment
            let high = half + pick((half - length) / alignment + 1) * alignment
            let isUp = pick(2) == 0
            return copy(to: UInt64(isUp ? high : low), from: UInt64(isUp ? low : high), UInt64(length))
        case 2: return store(UInt64(pick(size / 8) * 8), generator.next())
        default: return load(UInt64(pick(size / 8) * 8))
        }
    }

    @Test("random commands leave the bytes that they mean, and nothing is overtaken", arguments: versions)
    func bytes(version: UInt32) throws {
        var generator = RandomSource(seed: UInt64(version))
        for _ in 0..<12 {
            let commands = (0..<8).map { _ in Self.random(&generator) }
            let start = (0..<Self.size).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
            var expected = start
            var results: [UInt64] = []
            for command in commands { Self.apply(command, to: &expected, results: &results) }
            let batch = try TestBatch(version, commands, results: UInt64(Self.size))
            var gpu = BatchInterpreter(start + Array(repeating: 0, count: 64))
            gpu.run(batch.words)
            #expect(gpu.mistakes.isEmpty)
            #expect(Array(gpu.memory.prefix(Self.size)) == expected)
            #expect(batch.loads == results.count)
            for (index, result) in results.enumerated() {
                let bytes = gpu.memory[(Self.size + index * 8)...].prefix(8)
                #expect(bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) } == result)
            }
        }
    }
}
