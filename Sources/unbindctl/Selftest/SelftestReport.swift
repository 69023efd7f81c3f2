// What a selftest found: TAP version 13 line by line as it happens, or JSON at the end.

import Glibc
import Unbind

enum SelftestOutcome {
    case passed
    /// The device cannot do it; why.
    case skipped(String)
    /// What was seen, a line each.
    case failed([String])
}

final class SelftestReport {
    private let device: String
    private let printsTAP: Bool
    private var results: [(name: String, outcome: SelftestOutcome)] = []

    init(device: String, printsTAP: Bool) {
        self.device = device
        self.printsTAP = printsTAP
        if printsTAP { print("TAP version 13\n# libunbind \(Library.version), device \(device)") }
    }

    var failed: Int { count { if case .failed = $0 { true } else { false } } }

    private func count(_ isMeant: (SelftestOutcome) -> Bool) -> Int { results.count { isMeant($0.outcome) } }

    func add(_ name: String, _ outcome: SelftestOutcome) {
        results.append((name, outcome))
        guard printsTAP else { return }
        let number = results.count
        switch outcome {
        case .passed: print("ok \(number) - \(name)")
        case .skipped(let reason): print("ok \(number) - \(name) # SKIP \(reason)")
        case .failed(let lines):
            print("not ok \(number) - \(name)")
            for line in lines { print("# \(line)") }
        }
        // Said before the next test, which may be the end of this process.
        fflush(nil)
    }

    func printPlan() { print("1..\(results.count)") }

    var json: JSON {
        let tests = results.map { result -> JSON in
            switch result.outcome {
            case .passed: .object([("name", .string(result.name)), ("result", .string("passed"))])
            case .skipped(let reason):
                .object([
                    ("name", .string(result.name)), ("result", .string("skipped")), ("reason", .string(reason)),
                ])
            case .failed(let lines):
                .object([
                    ("name", .string(result.name)), ("result", .string("failed")),
                    ("seen", .array(lines.map(JSON.string))),
                ])
            }
        }
        let passed = count { if case .passed = $0 { true } else { false } }
        return .object([
            ("version", .string(Library.version)), ("device", .string(device)), ("passed", .number(passed)),
            ("skipped", .number(results.count - passed - failed)), ("failed", .number(failed)),
            ("tests", .array(tests)),
        ])
    }
}
