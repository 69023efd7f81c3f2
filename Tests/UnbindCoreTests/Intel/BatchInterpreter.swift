/// A GPU's memory and a copy engine that carries out a batch word by word, written from the layouts and not from the
/// encoder. What it does not know fails.
struct BatchInterpreter {
    /// The memory from address 0 on.
    var memory: [UInt8]
    /// Bytes of MEM_COPY, blits and fills that have not been flushed: nobody may read or write them.
    private var unflushed: [Range<Int>] = []
    var mistakes: [String] = []

    init(_ memory: [UInt8]) { self.memory = memory }

    mutating func run(_ words: [UInt32]) {
        var next = 0
        while next < words.count {
            let header = words[next]
            let client = header >> 29
            let isSingle = client == 0 && header >> 23 & 0x3f < 0x10
            let length = isSingle ? 1 : Int(header & 0xff) + 2
            guard next + length <= words.count else { return mistakes.append("cut off") }
            let command = Array(words[next..<next + length])
            next += length
            if header == 0x0500_0000 {
                if words.count - next != (next % 2) || words[next...].contains(where: { $0 != 0 }) {
                    mistakes.append("no end at the end")
                }
                return
            }
            if client == 0 { streamer(command) } else { blitter(command) }
        }
        mistakes.append("no end")
    }

    private mutating func streamer(_ command: [UInt32]) {
        switch command[0] {
        case 0x1000_0002: write(address(command, 1), bytes(command[3]), isBlit: false)
        case 0x1020_0003: write(address(command, 1), bytes(command[3]) + bytes(command[4]), isBlit: false)
        case 0x1700_0003: write(address(command, 1), read(address(command, 3), 4), isBlit: false)
        case 0x1300_0002: unflushed = []
        default: mistakes.append("command \(command[0])")
        }
    }

    private mutating func blitter(_ command: [UInt32]) {
        let low = { (word: UInt32) in Int(word & 0xffff) }
        let high = { (word: UInt32) in Int(word >> 16) }
        switch (command[0] >> 22 & 0x7f, command.count) {
        case (0x53, 10), (0x42, 10):
            let isFast = command[0] >> 22 & 0x7f == 0x42
            let depth = isFast ? command[1] >> 24 & 7 : command[1] >> 24 & 3
            rectangle(
                to: address(command, 4), at: command[2], until: command[3], pitch: low(command[1]),
                from: address(command, 8), at: command[6], pitch: low(command[7]), pixel: depth == 3 ? 4 : 1)
        case (0x41, 22):
            if command[16] >> 14 & 0x3fff != UInt32(low(command[3]) - 1) { mistakes.append("surface") }
            rectangle(
                to: address(command, 4), at: command[2], until: command[3], pitch: Int(command[1] & 0x3ffff) + 1,
                from: address(command, 9), at: command[7], pitch: Int(command[8] & 0x3ffff) + 1, pixel: 1)
        case (0x5a, 10):
            let size = Int(command[1]) + 1
            write(address(command, 7), read(address(command, 5), size), isBlit: true)
        case (0x5b, 7):
            let byte = UInt8(command[6] >> 24)
            write(address(command, 4), Array(repeating: byte, count: Int(command[1]) + 1), isBlit: true)
        case (0x50, 7), (0x44, 16):
            let isFast = command.count == 16
            let pitch = isFast ? Int(command[1] & 0x3ffff) + 1 : low(command[1])
            for row in high(command[2])..<high(command[3]) {
                for pixel in low(command[2])..<low(command[3]) {
                    let place = address(command, 4) + row * pitch + pixel * 4
                    write(place, bytes(isFast ? command[7] : command[6]), isBlit: true)
                }
            }
        default: mistakes.append("command \(command[0])")
        }
    }

    private mutating func rectangle(
        to: Int, at corner: UInt32, until end: UInt32, pitch: Int, from: Int, at source: UInt32, pitch sourcePitch: Int,
        pixel: Int
    ) {
        let left = Int(corner & 0xffff), top = Int(corner >> 16)
        let width = (Int(end & 0xffff) - left) * pixel, rows = Int(end >> 16) - top
        if to % 64 != 0 || from % 64 != 0 { mistakes.append("base") }
        for row in 0..<rows {
            let start = from + (Int(source >> 16) + row) * sourcePitch + Int(source & 0xffff) * pixel
            write(to + (top + row) * pitch + left * pixel, read(start, width), isBlit: true)
        }
    }

    private func address(_ command: [UInt32], _ index: Int) -> Int {
        Int(command[index]) | Int(command[index + 1]) << 32
    }

    private func bytes(_ word: UInt32) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }

    private mutating func read(_ address: Int, _ count: Int) -> [UInt8] {
        check(address..<address + count)
        guard address + count <= memory.count else {
            mistakes.append("read at \(address)")
            return Array(repeating: 0, count: count)
        }
        return Array(memory[address..<address + count])
    }

    private mutating func write(_ address: Int, _ bytes: [UInt8], isBlit: Bool) {
        let range = address..<address + bytes.count
        guard range.upperBound <= memory.count else { return mistakes.append("write at \(address)") }
        check(range)
        memory.replaceSubrange(range, with: bytes)
        if isBlit { unflushed.append(range) }
    }

    private mutating func check(_ range: Range<Int>) {
        if unflushed.contains(where: { $0.overlaps(range) }) { mistakes.append("hazard at \(range)") }
    }
}
