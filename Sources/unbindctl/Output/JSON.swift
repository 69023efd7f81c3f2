// JSON, as far as reports need it.

/// A JSON value; members of an object keep their order.
indirect enum JSON {
    case null
    case bool(Bool)
    case number(UInt64)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    static func number(_ value: Int) -> JSON { .number(UInt64(value)) }

    /// The text, with two blanks for each level, without a final newline.
    func text(indent: Int = 0) -> String {
        switch self {
        case .null: return "null"
        case .bool(let value): return value ? "true" : "false"
        case .number(let value): return "\(value)"
        case .string(let value): return JSON.quoted(value)
        case .array(let values):
            return JSON.lines("[", "]", values.map { $0.text(indent: indent + 1) }, indent)
        case .object(let members):
            let lines = members.map { "\(JSON.quoted($0)): \($1.text(indent: indent + 1))" }
            return JSON.lines("{", "}", lines, indent)
        }
    }

    private static func lines(_ open: String, _ close: String, _ lines: [String], _ indent: Int) -> String {
        if lines.isEmpty { return open + close }
        let blanks = String(repeating: "  ", count: indent + 1)
        let body = lines.map { blanks + $0 }.joined(separator: ",\n")
        return "\(open)\n\(body)\n\(blanks.dropLast(2))\(close)"
    }

    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\t": result += "\\t"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
