// BatchEncoder: turns the commands of a job (struct unbind_command) into a batch for an engine.
//
//     let need = try BatchEncoder.measure(commands, count, engine: engine)     words, and places for LOADs
//     var batch = BatchEncoder(BatchWriter(memory, capacity: need.words), engine: engine, results: address)
//     try batch.add(commands, count)
//     batch.finish()
//
// The value that the n-th LOAD reads is written to `results` + 8 n, for the caller to fetch when the batch has ended.
// Commands take effect one after the other: whatever might overtake what precedes it is kept back by a flush.

import CUnbind

struct BatchEncoder {
    private(set) var writer: BatchWriter
    let engine: JobEngine
    /// GPU address of the values that LOADs read, a multiple of 8.
    let results: UInt64
    private(set) var loadCount = 0
    private var last: CommandKind?

    init(_ writer: BatchWriter, engine: JobEngine, results: UInt64) {
        self.writer = writer
        self.engine = engine
        self.results = results
    }

    /// How many words a batch of the commands has, and how many LOADs are among them.
    /// - Failure: as add.
    static func measure(
        _ commands: UnsafePointer<unbind_command>, _ count: Int, engine: JobEngine
    ) throws(Status) -> (words: Int, loads: Int) {
        var encoder = BatchEncoder(BatchWriter(), engine: engine, results: 0)
        try encoder.add(commands, count)
        encoder.finish()
        return (encoder.writer.count, encoder.loadCount)
    }

    /// - Failure: .unsupported: a command that this engine does not have; .invalid: one that is against its rules, or
    ///   not for a GPU (WAIT, DELAY); .tooBig: the batch would be longer than any may be.
    mutating func add(_ commands: UnsafePointer<unbind_command>, _ count: Int) throws(Status) {
        for index in 0..<count { try add(commands[index]) }
    }

    /// After the last command, once.
    mutating func finish() {
        if last != nil { writer.flush(engine.kind) }
        writer.end()
    }

    private mutating func add(_ command: unbind_command) throws(Status) {
        guard let kind = CommandKind(rawValue: command.op) else { throw .invalid }
        if writer.count > BatchWriter.limit { throw .tooBig }
        if let last, last != .store || kind != .store { writer.flush(engine.kind) }
        last = kind
        switch kind {
        case .fill:
            guard isAligned(command.address | command.size, to: 4), fits(command.address, command.size) else {
                throw .invalid
            }
            guard let copy = engine.copy else { throw .unsupported }
            let pattern = UInt32(truncatingIfNeeded: command.value)
            try writer.fill(command.address, size: command.size, with: pattern, engine: copy)
        case .copy:
            guard fits(command.address, command.size), fits(command.source, command.size) else { throw .invalid }
            guard let copy = engine.copy else { throw .unsupported }
            try writer.copy(from: command.source, to: command.address, size: command.size, engine: copy)
        case .store:
            guard isAligned(command.address, to: 8), fits(command.address, 8) else { throw .invalid }
            writer.store(command.value, at: command.address)
        case .load:
            guard isAligned(command.address, to: 8), fits(command.address, 8) else { throw .invalid }
            writer.copyQuad(from: command.address, to: results &+ UInt64(loadCount) &* 8)
            loadCount &+= 1
        case .batch:
            guard isAligned(command.address, to: 8), fits(command.address, 8) else { throw .invalid }
            if !engine.callsBatches { throw .unsupported }
            writer.call(command.address)
        case .delay, .wait, .move: throw .invalid
        }
    }

    /// Whether a range that is not empty ends in the 48 bits that commands have for an address.
    private func fits(_ address: UInt64, _ size: UInt64) -> Bool {
        let most: UInt64 = 1 &<< 48
        return size != 0 && size <= most && address <= most &- size
    }
}
