// TextCursor: reading small texts (a selection string, a sysfs file, the platform table) one piece at a time.
//
// A taking function either takes what it names and moves on, or answers nil or false and stands at the first character
// that does not fit: that is how a selection string's error knows its place. Nothing is copied; the text must outlive
// the cursor.

import CSystem

/// Text somewhere else: the cursor's, or static.
struct TextSlice {
    let start: UnsafePointer<UInt8>
    let count: Int

    init(start: UnsafePointer<UInt8>, count: Int) {
        self.start = start
        self.count = count
    }

    init(_ text: StaticString) { self.init(start: text.utf8Start, count: text.utf8CodeUnitCount) }

    init(cString text: UnsafePointer<CChar>) {
        self.init(start: UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self), count: strlen(text))
    }

    static var empty: TextSlice { TextSlice("") }

    func equals(_ other: TextSlice) -> Bool { count == other.count && memcmp(start, other.start, count) == 0 }
    func equals(_ other: StaticString) -> Bool { equals(TextSlice(other)) }
}

struct TextCursor {
    let start: UnsafePointer<UInt8>
    let end: Int
    private(set) var position = 0

    init(_ text: TextSlice) {
        start = text.start
        end = text.count
    }

    var isAtEnd: Bool { position == end }

    /// The character here; 0 at the end.
    var current: UInt8 { position < end ? start[position] : 0 }

    /// Back to where something stood that turned out wrong.
    mutating func stand(at earlier: Int) { position = earlier }

    /// One character.
    mutating func take(_ byte: UInt8) -> Bool {
        guard position < end, start[position] == byte else { return false }
        position &+= 1
        return true
    }

    /// A whole word, or nothing of it.
    mutating func take(_ word: StaticString) -> Bool {
        let count = word.utf8CodeUnitCount
        guard end &- position >= count, memcmp(start + position, word.utf8Start, count) == 0 else { return false }
        position &+= count
        return true
    }

    /// Everything up to a character or the end; the character is taken too. What is given has no blanks around it.
    mutating func slice(upTo byte: UInt8) -> TextSlice {
        let blank = UInt8(ascii: " ")
        var from = position
        while position < end, start[position] != byte { position &+= 1 }
        var to = position
        _ = take(byte)
        while from < to, start[from] == blank { from &+= 1 }
        while to > from, start[to &- 1] == blank { to &-= 1 }
        return TextSlice(start: start + from, count: to &- from)
    }

    mutating func skipBlanks() {
        while take(UInt8(ascii: " ")) || take(UInt8(ascii: "\t")) || take(UInt8(ascii: "\n")) {}
    }

    // MARK: Numbers

    /// Hexadecimal digits in either case, as many as there are within the limits.
    mutating func hex(digits: ClosedRange<Int>) -> UInt64? { number(base: 16, digits: digits) }

    mutating func decimal(digits: ClosedRange<Int>) -> UInt64? { number(base: 10, digits: digits) }

    /// `digits` must not allow more than 64 bits hold.
    private mutating func number(base: UInt64, digits: ClosedRange<Int>) -> UInt64? {
        var value: UInt64 = 0
        var count = 0
        while count < digits.upperBound, let digit = Self.digit(current), digit < base {
            value = value &* base &+ digit
            position &+= 1
            count &+= 1
        }
        return count >= digits.lowerBound ? value : nil
    }

    private static func digit(_ byte: UInt8) -> UInt64? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt64(byte &- UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt64(byte &- UInt8(ascii: "a") &+ 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt64(byte &- UInt8(ascii: "A") &+ 10)
        default: nil
        }
    }
}
