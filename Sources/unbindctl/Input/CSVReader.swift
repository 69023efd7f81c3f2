// Comma-separated values with a header line, as FORMAT.md tells: lines that begin with # and empty
// lines are skipped, columns are found by name, fields may be empty or quoted.

/// Goes through a file row by row.
struct CSVReader {
    let file: String
    /// Column names in the order of the file.
    private(set) var header: [String] = []
    private var indexes: [String: Int] = [:]
    private let bytes: [UInt8]
    private var position = 0
    private var line = 0

    /// Reads as far as the header line.
    init(_ bytes: [UInt8], file: String) throws(ToolError) {
        self.bytes = bytes
        self.file = file
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
        guard let names = try nextFields() else {
            throw .data(file, nil, "no header line: the file is empty or has only comments")
        }
        for (index, name) in names.enumerated() {
            let name = name.lowercased()
            guard indexes.updateValue(index, forKey: name) == nil || name.isEmpty else {
                throw .data(file, line, "column \"\(name)\" occurs twice")
            }
            header.append(name)
        }
    }

    func hasColumn(_ name: String) -> Bool { indexes[name] != nil }

    /// The next row, nil at the end.
    mutating func next() throws(ToolError) -> Row? {
        guard let fields = try nextFields() else { return nil }
        guard fields.count == header.count else {
            throw .data(file, line, "\(fields.count) fields, but the header names \(header.count)")
        }
        return Row(file: file, line: line, fields: fields, indexes: indexes)
    }

    /// The fields of the next line that is neither empty nor a comment.
    private mutating func nextFields() throws(ToolError) -> [String]? {
        while position < bytes.count {
            line += 1
            let rest = bytes[position...]
            var content = rest.prefix { $0 != UInt8(ascii: "\n") }
            position = content.endIndex + 1
            if content.last == UInt8(ascii: "\r") { content.removeLast() }
            if content.isEmpty || content.first == UInt8(ascii: "#") { continue }
            if content.allSatisfy({ $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }) { continue }
            if content.contains(0) { throw .data(file, line, "a NUL byte: this is not a text file") }
            return try split(content)
        }
        return nil
    }

    private func split(_ content: ArraySlice<UInt8>) throws(ToolError) -> [String] {
        let quote = UInt8(ascii: "\"")
        var fields: [String] = []
        guard content.contains(quote) else {
            for field in content.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
                fields.append(text(field))
            }
            return fields
        }
        var field: [UInt8] = []
        var quoted = false
        var index = content.startIndex
        while index < content.endIndex {
            let byte = content[index]
            index += 1
            if byte == quote {
                if quoted && index < content.endIndex && content[index] == quote {
                    field.append(quote)
                    index += 1
                } else {
                    quoted.toggle()
                }
            } else if byte == UInt8(ascii: ",") && !quoted {
                fields.append(text(field[...]))
                field = []
            } else {
                field.append(byte)
            }
        }
        if quoted { throw .data(file, line, "a quoted field does not end on its line") }
        fields.append(text(field[...]))
        return fields
    }

    /// A field without the blanks around it.
    private func text(_ field: ArraySlice<UInt8>) -> String {
        func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        var field = field.drop(while: isBlank)
        while let last = field.last, isBlank(last) { field.removeLast() }
        return String(decoding: field, as: UTF8.self)
    }
}

extension CSVReader {
    /// One line of the file.
    struct Row {
        let file: String
        let line: Int
        fileprivate let fields: [String]
        fileprivate let indexes: [String: Int]

        /// The field of a column; empty if there is no such column.
        func text(_ column: String) -> String { indexes[column].map { fields[$0] } ?? "" }

        /// A decimal or 0x number; nil if the field is empty.
        func number(_ column: String) throws(ToolError) -> UInt64? {
            let text = text(column)
            if text.isEmpty { return nil }
            let hexadecimal = text.hasPrefix("0x") || text.hasPrefix("0X")
            let digits = hexadecimal ? text.dropFirst(2) : text[...]
            let isDigit: (UInt8) -> Bool = { byte in
                switch byte {
                case UInt8(ascii: "0")...UInt8(ascii: "9"): true
                case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"): hexadecimal
                default: false
                }
            }
            guard !digits.isEmpty, digits.utf8.allSatisfy(isDigit) else {
                throw .data(file, line, "column \(column): \"\(text)\" is not a decimal or 0x number")
            }
            guard let value = UInt64(digits, radix: hexadecimal ? 16 : 10) else {
                throw .data(file, line, "column \(column): \(text) does not fit 64 bits")
            }
            return value
        }

        /// A number that must be there.
        func required(_ column: String) throws(ToolError) -> UInt64 {
            guard let value = try number(column) else { throw .data(file, line, "column \(column) is empty") }
            return value
        }
    }
}
