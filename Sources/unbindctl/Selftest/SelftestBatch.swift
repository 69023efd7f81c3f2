// A batch in an Intel GPU's own commands, for what no command of the library's can do: to run until the CPU says so.

import Unbind

/// Commands that every engine from generation 8 on has.
struct SelftestBatch {
    private var words: [UInt32] = []

    /// MI_STORE_DATA_IMM, 64 bits.
    mutating func store(_ value: UInt64, at address: UInt64) {
        words.append(0x1020_0003)
        put(address)
        put(value)
    }

    /// MI_SEMAPHORE_WAIT: goes on when the memory holds the 32 bits.
    mutating func wait(until value: UInt32, at address: UInt64) {
        words += [0x0e00_c002, value]
        put(address)
    }

    /// MI_BATCH_BUFFER_END.
    mutating func end() { words += words.count % 2 == 0 ? [0x0500_0000, 0] : [0x0500_0000] }

    func write(to buffer: BufferObject) {
        for (index, word) in words.enumerated() {
            buffer.contents.storeBytes(of: word, toByteOffset: index * 4, as: UInt32.self)
        }
    }

    private mutating func put(_ value: UInt64) {
        words += [UInt32(truncatingIfNeeded: value), UInt32(truncatingIfNeeded: value >> 32)]
    }
}
