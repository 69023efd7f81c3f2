import Testing

@testable import UnbindCore

/// Gathers the pieces a TextWriter hands over.
private final class Pieces {
    var pieces: [String] = []
    var text: String { pieces.joined() }

    static func of(_ body: (inout TextWriter) -> Void) -> Pieces {
        let pieces = Pieces()
        withExtendedLifetime(pieces) {
            var writer = TextWriter(
                write: { userData, text, length in
                    let bytes = UnsafeRawBufferPointer(start: text, count: length)
                    Unmanaged<Pieces>.fromOpaque(userData!).takeUnretainedValue()
                        .pieces.append(String(decoding: bytes, as: UTF8.self))
                }, userData: Unmanaged.passUnretained(pieces).toOpaque())
            body(&writer)
            writer.flush()
        }
        return pieces
    }
}

@Suite struct TextWriterTests {
    @Test("numbers are written in full, from the least to the greatest")
    func numbers() {
        for value in [0, 1, 9, 10, 99, 100, 4096, UInt64(UInt32.max), .max - 1, .max] as [UInt64] {
            #expect(Pieces.of { $0.decimal(value) }.text == String(value))
            #expect(Pieces.of { $0.hex(value) }.text == "0x" + String(value, radix: 16))
        }
        for value in [0, 1, -1, -10, .max, .min] as [Int64] {
            #expect(Pieces.of { $0.signed(value) }.text == String(value))
        }
    }

    @Test("times are exact and in the unit that suits them")
    func times() {
        let expected: [(UInt64, String)] = [
            (0, "0 ns"), (999, "999 ns"), (1_000, "1.000 us"), (12_345, "12.345 us"), (999_999, "999.999 us"),
            (1_000_000, "1.000000 ms"), (12_345_678, "12.345678 ms"), (999_999_999, "999.999999 ms"),
            (1_000_000_000, "1.000000000 s"), (60_000_000_001, "60.000000001 s"),
            (.max, "18446744073.709551615 s"),
        ]
        for (nanoseconds, text) in expected {
            #expect(Pieces.of { $0.time(nanoseconds: nanoseconds) }.text == text)
        }
    }

    @Test("text longer than the buffer comes in pieces that make the whole, and nothing comes of nothing")
    func flushing() {
        #expect(Pieces.of { _ in }.pieces.isEmpty)
        #expect(Pieces.of { $0.text("") }.pieces.isEmpty)
        for count in [511, 512, 513, 1024, 3000] {
            let pieces = Pieces.of { writer in
                for index in 0..<count { writer.byte(UInt8(ascii: "a") + UInt8(index % 26)) }
            }
            #expect(pieces.pieces.allSatisfy { $0.utf8.count <= 512 })
            #expect(pieces.pieces.count == (count + 511) / 512)
            #expect(Array(pieces.text.utf8) == (0..<count).map { UInt8(ascii: "a") + UInt8($0 % 26) })
        }
        let lines = Pieces.of { writer in
            for line in 0..<100 as Range<UInt64> {
                writer.text("line ")
                writer.decimal(line)
                writer.newline()
            }
        }
        #expect(lines.text == (0..<100).map { "line \($0)\n" }.joined())
    }
}
