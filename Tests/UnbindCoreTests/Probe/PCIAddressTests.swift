import Testing

@testable import UnbindCore

/// Parses a text that must be used up.
private func parsed(_ text: String) -> (address: PCIAddress?, position: Int) {
    text.withCString { pointer in
        var cursor = TextCursor(TextSlice(cString: pointer))
        let address = cursor.pciAddress()
        return (address != nil && cursor.isAtEnd ? address : nil, cursor.position)
    }
}

extension FixedText {
    var string: String { withCString { $0.map { String(cString: $0) } ?? "" } }
}

@Suite struct PCIAddressTests {
    @Test("an address is read back as it was written, whatever its domain")
    func roundTrip() {
        var random = SystemRandomNumberGenerator()
        let edges: [UInt32] = [0, 1, 0xffff, 0x10000, 0x10e10, .max - 1, .max]
        for round in 0..<2000 {
            let domain = round < edges.count ? edges[round] : UInt32.random(in: 0 ... .max, using: &random)
            let address = PCIAddress(
                domain: domain, bus: .random(in: 0 ... .max), device: .random(in: 0..<32), function: .random(in: 0..<8))
            #expect(parsed(address.text.string).address == address)
        }
    }

    @Test("an address is written as sysfs names it")
    func text() {
        let address = PCIAddress(domain: 0, bus: 3, device: 0x1f, function: 7)
        #expect(address.text.string == "0000:03:1f.7")
        let far = PCIAddress(domain: 0x10000, bus: 0xe1, device: 0, function: 0)
        #expect(far.text.string == "10000:e1:00.0")
    }

    @Test("without a domain it is 0, and digits may be capital")
    func shortForms() {
        let expected = PCIAddress(domain: 0, bus: 0xaf, device: 0x1e, function: 1)
        for text in ["af:1e.1", "AF:1E.1", "0:af:1e.1", "00000000:af:1e.1"] {
            #expect(parsed(text).address == expected)
        }
    }

    @Test("what is no address is refused at the character that does not fit")
    func malformed() {
        let cases: [(String, Int)] = [
            ("", 0), ("x", 0), ("0000", 4), ("0000:", 5), ("0000:3:00.0", 6), ("0000:03", 7), ("0000:03:", 8),
            ("0000:03:0.0", 9), ("0000:03:00", 10), ("0000:03:00.", 11), ("0000:03:00.8", 11), ("0000:03:00.g", 11),
            ("0000:03:20.0", 8), ("0000:03:00.00", 12), ("0000:03:00.0 ", 12), ("123456789:03:00.0", 8),
            ("3:00.0", 0), ("003:00.0", 0), ("03:20.0", 3), ("03-00.0", 2), ("03:00:00.0.0", 10), (":03:00.0", 0),
        ]
        for (text, position) in cases {
            let result = parsed(text)
            #expect(result.address == nil, "\(text)")
            #expect(result.position == position, "\(text)")
        }
    }

    @Test("addresses are ordered by domain, bus, device, function")
    func order() {
        let ascending = [
            "0000:00:02.0", "0000:00:02.1", "0000:00:03.0", "0000:03:00.0", "0001:00:00.0", "10000:00:00.0",
        ].map { parsed($0).address! }
        for (left, one) in ascending.enumerated() {
            for (right, other) in ascending.enumerated() { #expect(one.precedes(other) == (left < right)) }
        }
    }
}
