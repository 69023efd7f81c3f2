// FixedText: a short text that is a value (a path, a name), NUL-terminated for the C library.
//
// What does not fit makes the whole text invalid rather than shorter: half a path names something else.

struct FixedText {
    /// With the NUL.
    static var capacity: Int { 128 }

    private var bytes = InlineArray<128, UInt8>(repeating: 0)
    private(set) var count = 0
    private(set) var isWhole = true

    init() {}

    /// A C string from elsewhere.
    init(copying text: UnsafePointer<CChar>) { append(TextSlice(cString: text)) }

    var isEmpty: Bool { count == 0 }

    mutating func byte(_ byte: UInt8) {
        guard count < Self.capacity - 1 else {
            isWhole = false
            return
        }
        bytes[count] = byte
        count &+= 1
    }

    mutating func append(_ text: UnsafePointer<UInt8>, _ length: Int) {
        for index in 0..<length { byte(text[index]) }
    }

    mutating func append(_ text: StaticString) { append(text.utf8Start, text.utf8CodeUnitCount) }
    mutating func append(_ text: TextSlice) { append(text.start, text.count) }
    mutating func append(_ text: borrowing FixedText) { for index in 0..<text.count { byte(text.bytes[index]) } }

    /// In lower case, with at least so many digits.
    mutating func hex(_ value: UInt32, digits: Int) {
        var shift = 28
        while shift >= 0 {
            let digit = UInt8(truncatingIfNeeded: value >> UInt32(shift)) & 15
            if digit != 0 || shift < digits &* 4 || (shift < 28 && value >> UInt32(shift &+ 4) != 0) {
                byte(digit < 10 ? UInt8(ascii: "0") &+ digit : UInt8(ascii: "a") &+ digit &- 10)
            }
            shift &-= 4
        }
    }

    mutating func decimal(_ value: UInt32) {
        if value >= 10 { decimal(value / 10) }
        byte(UInt8(ascii: "0") &+ UInt8(value % 10))
    }

    /// The text as a C string; nil if it was too long.
    func withCString<R>(_ body: (UnsafePointer<CChar>?) -> R) -> R {
        if !isWhole { return body(nil) }
        return bytes.span.withUnsafeBufferPointer {
            body(UnsafeRawPointer($0.baseAddress!).assumingMemoryBound(to: CChar.self))
        }
    }

    /// The text, for reading from; valid in the body only.
    func withSlice<R>(_ body: (TextSlice) -> R) -> R {
        bytes.span.withUnsafeBufferPointer { body(TextSlice(start: $0.baseAddress!, count: count)) }
    }
}
