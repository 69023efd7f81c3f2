// PCIAddress: where a device sits, with the 32 bits of domain that Linux uses (10000:e1:00.0 behind a VMD).

struct PCIAddress: Equatable {
    let domain: UInt32
    let bus: UInt8
    let device: UInt8
    let function: UInt8

    /// Ascending in the order that lspci prints.
    func precedes(_ other: PCIAddress) -> Bool { (domain, position) < (other.domain, other.position) }

    private var position: UInt32 { UInt32(bus) << 16 | UInt32(device) << 8 | UInt32(function) }

    /// As sysfs names it: 0000:03:00.0.
    var text: FixedText {
        var text = FixedText()
        text.hex(domain, digits: 4)
        text.byte(UInt8(ascii: ":"))
        text.hex(UInt32(bus), digits: 2)
        text.byte(UInt8(ascii: ":"))
        text.hex(UInt32(device), digits: 2)
        text.byte(UInt8(ascii: "."))
        text.hex(UInt32(function), digits: 1)
        return text
    }
}

extension TextCursor {
    /// 0000:03:00.0 with up to eight digits of domain, or 03:00.0 in domain 0.
    mutating func pciAddress() -> PCIAddress? {
        let colon = UInt8(ascii: ":")
        let begin = position
        guard let first = hex(digits: 1...8) else { return nil }
        let firstEnd = position
        guard take(colon) else { return nil }
        var deviceBegin = position
        guard let second = hex(digits: 2...2) else { return nil }
        var (domain, bus, device) = (UInt64(0), first, second)
        if take(colon) {
            deviceBegin = position
            guard let third = hex(digits: 2...2) else { return nil }
            (domain, bus, device) = (first, second, third)
        } else if firstEnd &- begin != 2 {
            // A bus has two digits; what is longer or shorter is a domain that lacks the rest.
            if current == UInt8(ascii: ".") { stand(at: begin) }
            return nil
        }
        guard device < 32 else {
            stand(at: deviceBegin)
            return nil
        }
        guard take(UInt8(ascii: ".")) else { return nil }
        let functionBegin = position
        guard let function = hex(digits: 1...1) else { return nil }
        guard function < 8 else {
            stand(at: functionBegin)
            return nil
        }
        return PCIAddress(
            domain: UInt32(domain), bus: UInt8(bus), device: UInt8(device), function: UInt8(function))
    }
}
