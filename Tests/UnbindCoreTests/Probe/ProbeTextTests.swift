import Testing

@testable import UnbindCore

@Suite struct ProbeTextTests {
    @Test("a text that does not fit is no text at all, one that just fits is whole")
    func fixedText() {
        for length in [0, 1, 126, 127, 128, 129, 5000] {
            var text = FixedText()
            for index in 0..<length { text.byte(UInt8(ascii: "a") + UInt8(index % 26)) }
            #expect(text.isWhole == (length < FixedText.capacity))
            #expect(text.isEmpty == (length == 0))
            let string = text.withCString { $0.map { String(cString: $0) } }
            #expect(string?.utf8.count == (text.isWhole ? length : nil))
        }
    }

    @Test("numbers in paths have the digits they need and no fewer than asked for")
    func numbers() {
        func text(_ body: (inout FixedText) -> Void) -> String {
            var text = FixedText()
            body(&text)
            return text.string
        }
        for value in [0, 1, 9, 10, 15, 16, 128, 226, 0xffff, 0x10000, 0x0100_0000, .max - 1, .max] as [UInt32] {
            #expect(text { $0.decimal(value) } == String(value))
            let plain = String(value, radix: 16)
            for digits in 1...8 {
                let zeros = String(repeating: "0", count: max(0, digits - plain.count))
                #expect(text { $0.hex(value, digits: digits) } == zeros + plain)
            }
        }
    }

    @Test("numbers are read to their limit of digits and stop there")
    func cursorNumbers() {
        func hex(_ text: String, _ digits: ClosedRange<Int>) -> (UInt64?, Int) {
            text.withCString { pointer in
                var cursor = TextCursor(TextSlice(cString: pointer))
                let value = cursor.hex(digits: digits)
                return (value, cursor.position)
            }
        }
        #expect(hex("ffffffffffffffff", 1...16) == (.max, 16))
        #expect(hex("ffffffffffffffff0", 1...16) == (.max, 16))
        #expect(hex("12345", 4...4) == (0x1234, 4))
        #expect(hex("123", 4...4) == (nil, 3))
        #expect(hex("g", 1...4) == (nil, 0))
        #expect(hex("", 1...4) == (nil, 0))
        #expect(hex("aF", 1...4) == (0xaf, 2))
    }

    @Test("a column of a line comes without the blanks around it, the last one to the end")
    func slices() {
        " a b | c|| d ".withCString { pointer in
            var cursor = TextCursor(TextSlice(cString: pointer))
            let bar = UInt8(ascii: "|")
            #expect(cursor.slice(upTo: bar).string == "a b")
            #expect(cursor.slice(upTo: bar).string == "c")
            #expect(cursor.slice(upTo: bar).string == "")
            #expect(cursor.slice(upTo: bar).string == "d")
            #expect(cursor.isAtEnd && cursor.slice(upTo: bar).count == 0)
        }
    }
}
