// DeviceSelector: the checked form of a selection string. The grammar is in include/unbind/probe.h.

enum DeviceSelector {
    /// Whichever comes first.
    case any
    case address(PCIAddress)
    /// A device node; the text is the caller's.
    case node(UnsafePointer<CChar>)
    /// The n-th, from 0, of those with these ids.
    case ids(vendor: UInt16?, device: UInt16?, card: UInt32)
    case type(GPUType)

    /// - Parameter errorAt: on failure, the offset of the first character that does not fit.
    static func parse(_ text: UnsafePointer<CChar>, errorAt: inout Int) throws(Status) -> DeviceSelector {
        let bytes = UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self)
        if bytes[0] == UInt8(ascii: "/") { return .node(text) }
        var cursor = TextCursor(TextSlice(cString: text))
        if let selector = parse(&cursor), cursor.isAtEnd { return selector }
        errorAt = cursor.position
        throw .invalid
    }

    private static func parse(_ cursor: inout TextCursor) -> DeviceSelector? {
        if cursor.take("discrete") { return .type(.discrete) }
        if cursor.take("integrated") { return .type(.integrated) }
        if cursor.take("pci:") { return ids(&cursor) }
        if let address = cursor.pciAddress() { return .address(address) }
        return nil
    }

    /// vendor=HEX, device=HEX, card=N: each at most once, in any order, at least one.
    private static func ids(_ cursor: inout TextCursor) -> DeviceSelector? {
        var vendor: UInt16?
        var device: UInt16?
        var card: UInt32?
        repeat {
            let begin = cursor.position
            if vendor == nil, cursor.take("vendor=") {
                guard let id = id(&cursor) else { return nil }
                vendor = id
            } else if device == nil, cursor.take("device=") {
                guard let id = id(&cursor) else { return nil }
                device = id
            } else if card == nil, cursor.take("card=") {
                guard let number = cursor.decimal(digits: 1...9) else { return nil }
                card = UInt32(number)
            } else {
                cursor.stand(at: begin)
                return nil
            }
        } while cursor.take(UInt8(ascii: ","))
        return .ids(vendor: vendor, device: device, card: card ?? 0)
    }

    /// One to four hexadecimal digits, with or without 0x.
    private static func id(_ cursor: inout TextCursor) -> UInt16? {
        _ = cursor.take("0x")
        return cursor.hex(digits: 1...4).map { UInt16($0) }
    }
}
