// Words that jobs read through their mappings, beside what they should have read.

import Unbind

/// Memory that jobs write to until their fences have signalled; it stays where it is.
final class LoadedWords {
    private let words: UnsafeMutableBufferPointer<UInt64>
    private var expected: [(address: UInt64, value: UInt64)] = []

    var count: Int { expected.count }

    init(capacity: Int) {
        words = .allocate(capacity: capacity)
        words.initialize(repeating: 0)
    }

    deinit { words.deallocate() }

    /// A command that reads the next word.
    func load(from address: UInt64, expecting value: UInt64) -> Queue.Command {
        expected.append((address, value))
        return .load(address: address, into: words.baseAddress! + expected.count - 1)
    }

    /// - Parameter reader: in words, who has read them.
    func check(_ reader: String) throws(ToolError) {
        for (index, wanted) in expected.enumerated() where words[index] != wanted.value {
            throw .software(
                "\(reader) read \(hex(words[index])) at \(hex(wanted.address)), where \(hex(wanted.value)) should be")
        }
    }
}
