// TextWriter: text for a human (dumps, log lines) without String, which Embedded Swift makes expensive.
//
// A value on the caller's stack: pieces are gathered in its buffer and handed to the caller's function when it is
// full and at `flush`, which must be the last call. The function is the user's: no lock may be held while writing.
// The pieces it gets are not terminated and break anywhere, also inside a number.

/// unbind_write_fn.
typealias WriteFunction =
    @convention(c) (_ userData: UnsafeMutableRawPointer?, _ text: UnsafePointer<CChar>?, _ length: Int) -> Void

struct TextWriter: ~Copyable {
    private let write: WriteFunction
    private let userData: UnsafeMutableRawPointer?
    private var buffer = InlineArray<512, UInt8>(repeating: 0)
    private var length = 0

    init(write: @escaping WriteFunction, userData: UnsafeMutableRawPointer?) {
        self.write = write
        self.userData = userData
    }

    /// Hands over what was gathered.
    mutating func flush() {
        if length == 0 { return }
        LockOrder.assertNoneHeld("text was written with a lock held")
        let length = length
        self.length = 0
        buffer.span.withUnsafeBufferPointer { bytes in
            write(userData, UnsafeRawPointer(bytes.baseAddress!).assumingMemoryBound(to: CChar.self), length)
        }
    }

    mutating func byte(_ byte: UInt8) {
        if length == buffer.count { flush() }
        buffer[length] = byte
        length &+= 1
    }

    mutating func newline() { byte(UInt8(ascii: "\n")) }

    /// ASCII or UTF-8.
    mutating func text(_ text: StaticString) {
        // A single scalar is not stored as text.
        invariant(text.hasPointerRepresentation, "text is written from a string literal")
        for index in 0..<text.utf8CodeUnitCount { byte(text.utf8Start[index]) }
    }

    // MARK: Numbers

    mutating func decimal(_ value: UInt64) { digits(of: value, base: 10, atLeast: 1) }

    mutating func signed(_ value: Int64) {
        if value < 0 { byte(UInt8(ascii: "-")) }
        decimal(value.magnitude)
    }

    /// 0x and the digits that are needed, in lower case.
    mutating func hex(_ value: UInt64) {
        text("0x")
        digits(of: value, base: 16, atLeast: 1)
    }

    /// A duration or a time, exact to the nanosecond, in the unit that suits it: 999 ns, 12.345 us, 12.345678 ms,
    /// 12.345678901 s.
    mutating func time(nanoseconds: UInt64) {
        switch nanoseconds {
        case ..<1_000:
            decimal(nanoseconds)
            text(" ns")
        case ..<1_000_000:
            fraction(nanoseconds, per: 1_000, places: 3)
            text(" us")
        case ..<1_000_000_000:
            fraction(nanoseconds, per: 1_000_000, places: 6)
            text(" ms")
        default:
            fraction(nanoseconds, per: 1_000_000_000, places: 9)
            text(" s")
        }
    }

    private mutating func fraction(_ value: UInt64, per unit: UInt64, places: Int) {
        decimal(value / unit)
        byte(UInt8(ascii: "."))
        digits(of: value % unit, base: 10, atLeast: places)
    }

    private mutating func digits(of value: UInt64, base: UInt64, atLeast count: Int) {
        // 20 decimal digits hold every value.
        var reversed = InlineArray<20, UInt8>(repeating: 0)
        var used = 0
        var rest = value
        while rest != 0 || used < count {
            let digit = UInt8(truncatingIfNeeded: rest % base)
            reversed[used] = digit < 10 ? UInt8(ascii: "0") &+ digit : UInt8(ascii: "a") &+ digit &- 10
            used &+= 1
            rest /= base
        }
        while used > 0 {
            used &-= 1
            byte(reversed[used])
        }
    }
}
