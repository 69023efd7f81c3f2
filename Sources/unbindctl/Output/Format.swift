// Numbers and tables for a reader.

import Glibc

/// Writes text to stderr, at once.
func writeError(_ text: String) {
    let bytes = Array(text.utf8)
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// A time with three significant digits in the unit that suits it.
func duration(_ nanoseconds: UInt64) -> String {
    for (unit, size) in [("s", UInt64(1_000_000_000)), ("ms", 1_000_000), ("us", 1_000)] where nanoseconds >= size {
        return "\(decimal(nanoseconds, per: size)) \(unit)"
    }
    return "\(nanoseconds) ns"
}

/// A number of bytes in the unit that suits it.
func byteCount(_ bytes: UInt64) -> String {
    for (unit, shift) in [("GiB", UInt64(30)), ("MiB", 20), ("KiB", 10)] where bytes >= 1 << shift {
        return "\(decimal(bytes, per: 1 << shift)) \(unit)"
    }
    return "\(bytes) bytes"
}

/// A quotient to three significant digits, or to the unit from 100 on.
func decimal(_ value: UInt64, per unit: UInt64) -> String {
    let quotient = value / unit
    let places: UInt64 = quotient >= 100 ? 1 : quotient >= 10 ? 10 : 100
    // Cut off, not rounded: 999.9 must not become a number too long for its unit.
    let fraction = UInt64((Double(value % unit) / Double(unit)) * Double(places))
    guard places > 1 else { return "\(quotient)" }
    let digits = String(fraction)
    let width = places == 10 ? 1 : 2
    return "\(quotient).\(String(repeating: "0", count: max(0, width - digits.count)))\(digits)"
}

/// "1 event", "2 events".
func counted(_ count: Int, _ word: String) -> String { count == 1 ? "1 \(word)" : "\(count) \(word)s" }

/// Lines of a table whose first column stands left and whose others stand right.
func table(_ rows: [[String]]) -> [String] {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
        let cells = row.enumerated().map { column, text in
            let blanks = String(repeating: " ", count: widths[column] - text.count)
            return column == 0 ? text + blanks : blanks + text
        }
        return cells.joined(separator: "  ")
    }
}

/// "0x1f".
func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
