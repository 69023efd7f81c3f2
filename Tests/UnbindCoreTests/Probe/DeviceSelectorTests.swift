import Testing

@testable import UnbindCore

/// A selector in words, or where its text is wrong.
private func outcome(_ text: String) -> String {
    text.withCString { pointer in
        var offset = -1
        do throws(Status) {
            switch try DeviceSelector.parse(pointer, errorAt: &offset) {
            case .any: return "any"
            case .address(let address): return address.text.string
            case .node(let path): return "node " + String(cString: path)
            case .ids(let vendor, let device, let card):
                return "vendor \(vendor.map { String($0, radix: 16) } ?? "any") "
                    + "device \(device.map { String($0, radix: 16) } ?? "any") card \(card)"
            case .type(let type): return "\(type)"
            }
        } catch {
            #expect(error == .invalid)
            return "wrong at \(offset)"
        }
    }
}

@Suite struct DeviceSelectorTests {
    @Test("each form of selection string is understood")
    func forms() {
        let cases = [
            "0000:03:00.0": "0000:03:00.0", "03:00.0": "0000:03:00.0", "10000:e1:00.0": "10000:e1:00.0",
            "discrete": "discrete", "integrated": "integrated",
            "/dev/dri/renderD128": "node /dev/dri/renderD128", "/": "node /",
            "pci:vendor=8086": "vendor 8086 device any card 0",
            "pci:device=56a0": "vendor any device 56a0 card 0",
            "pci:card=3": "vendor any device any card 3",
            "pci:vendor=0x8086,device=0x56A0,card=1": "vendor 8086 device 56a0 card 1",
            "pci:card=999999999,device=0,vendor=1": "vendor 1 device 0 card 999999999",
        ]
        for (text, expected) in cases { #expect(outcome(text) == expected, "\(text)") }
    }

    @Test("a malformed string is refused at the first character that does not fit")
    func malformed() {
        let cases: [(String, Int)] = [
            ("", 0), (" discrete", 0), ("discretes", 8), ("integrated,card=1", 10), ("renderD128", 0), ("intel", 0),
            ("pci", 0), ("pci:", 4), ("pci:vendor", 4), ("pci:vendor=", 11), ("pci:vendor=intel", 11),
            ("pci:vendor=80861", 15), ("pci:vendor=8086,", 16), ("pci:vendor=8086,card", 16),
            ("pci:vendor=8086,card=", 21), ("pci:vendor=8086,card=-1", 21), ("pci:vendor=8086,card=1x", 22),
            ("pci:card=1234567890", 18), ("pci:vendor=8086,vendor=8086", 16), ("pci:vendor=8086 ,card=0", 15),
            ("pci:device=0x", 13), ("pci:slot=0000:03:00.0", 4), ("0000:03:00.0,card=0", 12), ("0000:03:00.9", 11),
        ]
        for (text, position) in cases { #expect(outcome(text) == "wrong at \(position)", "\(text)") }
    }

    @Test("whatever stands in a string, it is understood or refused at a place within it")
    func anything() {
        let pieces = ["pci:", "vendor=", "device=", "card=", "8086", "0x", ",", "discrete", "03", ":", "00", ".", "z"]
        var random = RandomSource(seed: 7)
        for _ in 0..<20_000 {
            var text = ""
            for _ in 0..<(random.next() % 8) { text += pieces[Int(random.next() % UInt64(pieces.count))] }
            let result = outcome(text)
            guard result.hasPrefix("wrong at "), let offset = Int(result.dropFirst(9)) else { continue }
            #expect((0...text.utf8.count).contains(offset), "\(text)")
        }
    }
}
