// BatchWriter: the words of a batch buffer, written into memory of the caller's that has room for so many.
//
// It never writes beyond its room, but counts on: with no room at all it measures what a batch will need, and whoever
// writes one asks afterwards whether it fitted. Beside the words themselves it has the commands of the command streamer
// (MI_...), which every engine of every generation from 8 on understands; copies and fills are in BatchWriter+Copy.

struct BatchWriter {
    private let words: UnsafeMutablePointer<UInt32>?
    let capacity: Int
    /// The words so far. More than the capacity: the rest was not written.
    private(set) var count = 0

    /// No batch is longer: 16 MiB. What would be is refused before it is written.
    static var limit: Int { 4 << 20 }

    /// Writes into memory that has room for so many words.
    init(_ words: UnsafeMutablePointer<UInt32>, capacity: Int) {
        self.words = words
        self.capacity = capacity
    }

    /// Only counts.
    init() {
        words = nil
        capacity = 0
    }

    /// All that was put is there.
    var isComplete: Bool { count <= capacity }

    @inline(__always)
    mutating func put(_ word: UInt32) {
        if count < capacity { words.unsafelyUnwrapped[count] = word }
        count &+= 1
    }

    /// An address in canonical form: the bits above 47 repeat it.
    @inline(__always)
    mutating func put(address: UInt64) {
        let canonical = Self.canonical(address)
        put(UInt32(truncatingIfNeeded: canonical))
        put(UInt32(truncatingIfNeeded: canonical &>> 32))
    }

    static func canonical(_ address: UInt64) -> UInt64 {
        UInt64(bitPattern: Int64(bitPattern: address &<< 16) &>> 16)
    }
}

extension BatchWriter {
    /// MI_STORE_DATA_IMM of 32 bits; the address is a multiple of 4.
    mutating func store(_ value: UInt32, at address: UInt64) {
        put(0x1000_0002)
        put(address: address)
        put(value)
    }

    /// MI_STORE_DATA_IMM of 64 bits; the address is a multiple of 8.
    mutating func store(_ value: UInt64, at address: UInt64) {
        put(0x1020_0003)
        put(address: address)
        put(UInt32(truncatingIfNeeded: value))
        put(UInt32(truncatingIfNeeded: value &>> 32))
    }

    /// MI_COPY_MEM_MEM, twice: 64 bits; both addresses are multiples of 4.
    mutating func copyQuad(from source: UInt64, to destination: UInt64) {
        copyWord(from: source, to: destination)
        copyWord(from: source &+ 4, to: destination &+ 4)
    }

    private mutating func copyWord(from source: UInt64, to destination: UInt64) {
        put(0x1700_0003)
        put(address: destination)
        put(address: source)
    }

    /// What was begun is done before the next command: MI_FLUSH_DW without a write, or where there is none,
    /// PIPE_CONTROL that waits for all before it and writes back the data caches, with the render targets if there are.
    mutating func flush(_ engine: EngineKind) {
        guard engine == .render || engine == .compute else {
            put(0x1300_0002)
            for _ in 0..<3 { put(0) }
            return
        }
        put(0x7a00_0004)
        put(1 &<< 20 | 1 &<< 5 | (engine == .render ? 1 &<< 12 : 0))
        for _ in 0..<4 { put(0) }
    }

    /// MI_BATCH_BUFFER_START of the second level: runs a batch elsewhere, whose end comes back here.
    mutating func call(_ address: UInt64) {
        put(0x18c0_0101)
        put(address: address)
    }

    /// MI_BATCH_BUFFER_END, and MI_NOOP to an even number of words.
    mutating func end() {
        put(0x0500_0000)
        if count % 2 != 0 { put(0) }
    }
}
