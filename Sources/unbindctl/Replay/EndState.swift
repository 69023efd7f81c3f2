// EndState: what a capture leaves mapped, worked out from the plan alone, and the proof that a device shows just that.
//
// Three things have to agree with it: the address space's own count of bytes, its lookup at both ends of each mapping,
// and the words that the GPU reads there.

import Unbind

struct EndState {
    /// A range that shows neighbouring bytes of one buffer.
    struct Extent {
        enum Source {
            case slot(Int)
            /// A memory of a page-table capture, from this offset on.
            case memory(Int, offset: UInt64)
        }
        let space: Int
        var start: UInt64
        var size: UInt64
        var source: Source
        var end: UInt64 { start + size }
    }

    private(set) var extents: [Extent]

    init(of plan: Plan) {
        if plan.hasBatches {
            var tables = plan.spaces.indices.map(PageTableModel.init)
            for operation in plan.operations {
                guard case .batch(let space, let changes) = operation.action else { continue }
                for change in changes { tables[space].apply(change) }
            }
            extents = tables.flatMap(\.extents)
            return
        }
        var isBound = [Bool](repeating: false, count: plan.slots.count)
        for operation in plan.operations {
            switch operation.action {
            case .bind(let slot): isBound[slot] = true
            case .unbind(let slot, _): isBound[slot] = false
            case .use, .submit, .batch: break
            }
        }
        extents = plan.slots.indices.filter { isBound[$0] }.map { number in
            let slot = plan.slots[number]
            return Extent(space: slot.space, start: slot.start, size: slot.size, source: .slot(number))
        }
    }

    // MARK: Words

    /// Where a buffer of a slot has words: at its first and in its last page.
    static func wordOffsets(of buffer: BufferObject) -> [UInt64] { [0, buffer.size - 8] }

    static func word(ofSlot number: Int, _ offset: UInt64) -> UInt64 {
        // An odd factor: no two offsets and slots that occur together give the same word.
        (UInt64(number) + 1) &* 0x9e37_79b9_7f4a_7c15 ^ offset
    }

    private static func word(ofMemory number: Int, _ offset: UInt64) -> UInt64 {
        (offset + 1) &* 0x9e37_79b9_7f4a_7c15 ^ UInt64(number)
    }

    // MARK: Looking

    /// Compares a device with this. Gives the number of words that its GPU has read.
    func check(_ end: ReplayEnd, on device: Device) throws -> Int {
        for (number, space) in end.spaces.enumerated() {
            let wanted = extents.reduce(0) { $1.space == number ? $0 + $1.size : $0 }
            let bound = try space.statistics().boundBytes
            guard bound == wanted else {
                throw ToolError.software("\(bound) bytes are mapped at the end, and not \(wanted)")
            }
        }
        var words = 0
        let limit = 256
        for space in end.spaces.indices {
            let mine = extents.filter { $0.space == space }
            for first in stride(from: 0, to: mine.count, by: limit) {
                words += try check(mine[first..<min(first + limit, mine.count)], end, on: device)
            }
        }
        return words
    }

    /// Extents of one address space, by one job.
    private func check(_ extents: ArraySlice<Extent>, _ end: ReplayEnd, on device: Device) throws -> Int {
        let loads = LoadedWords(capacity: extents.count * 2)
        var commands: [Queue.Command] = []
        var uses: [(vma: VMA, use: Queue.Use)] = []
        let space = end.spaces[extents[extents.startIndex].space]
        for extent in extents {
            let (buffer, offset) = try buffer(of: extent, end)
            for place in [0, extent.size - 8] {
                try look(at: extent.start + place, in: space, expecting: buffer, offset + place)
                commands.append(loads.load(from: extent.start + place, expecting: word(extent, place)))
            }
            if case .slot(let number) = extent.source, let vma = end.slots[number] {
                uses.append((vma: vma, use: .read))
            } else {
                write(extent, to: buffer)
            }
        }
        let job = try Queue(in: space).submit(commands, using: uses)
        try job.wait()
        if let error = try job.error() { throw ToolError.software("reading what is mapped at the end: \(error)") }
        try loads.check("at the end the GPU")
        return loads.count
    }

    private func buffer(of extent: Extent, _ end: ReplayEnd) throws(ToolError) -> (BufferObject, offset: UInt64) {
        switch extent.source {
        case .memory(let number, let offset): return (end.memories[number], offset)
        case .slot(let number):
            guard let vma = end.slots[number] else { throw .software("slot \(number) was dropped") }
            return (vma.buffer, 0)
        }
    }

    private func look(
        at address: UInt64, in space: AddressSpace, expecting buffer: BufferObject, _ offset: UInt64
    ) throws {
        let mapping = try space.lookup(at: address, operations: 0).mapping
        guard let mapping, mapping.bufferID == buffer.id, mapping.bufferOffset == offset, !mapping.isBinding else {
            throw ToolError.software("\(hex(address)) does not show what the capture leaves there")
        }
    }

    /// The word that an extent shows at a place.
    private func word(_ extent: Extent, _ place: UInt64) -> UInt64 {
        switch extent.source {
        case .slot(let number): EndState.word(ofSlot: number, place)
        case .memory(let number, let offset): EndState.word(ofMemory: number, offset + place)
        }
    }

    /// The same bytes may be seen at several addresses: what they hold depends on where they are in memory alone.
    private func write(_ extent: Extent, to memory: BufferObject) {
        guard case .memory(_, let offset) = extent.source else { return }
        for place in [0, extent.size - 8] {
            memory.contents.storeBytes(of: word(extent, place), toByteOffset: Int(offset + place), as: UInt64.self)
        }
    }
}

/// The page tables of one address space: a map replaces what is in its way.
struct PageTableModel {
    private let space: Int
    /// Disjoint, in the order of their addresses.
    private(set) var extents: [EndState.Extent] = []

    init(space: Int) { self.space = space }

    mutating func apply(_ change: Plan.PageTableChange) {
        let end = change.start + change.size
        let first = index(endingAfter: change.start)
        var last = first
        var kept: [EndState.Extent] = []
        while last < extents.count, extents[last].start < end {
            let old = extents[last]
            if old.start < change.start { kept.append(part(of: old, from: old.start, to: change.start)) }
            if old.end > end { kept.append(part(of: old, from: end, to: old.end)) }
            last += 1
        }
        if let place = change.place {
            let new = EndState.Extent(
                space: space, start: change.start, size: change.size,
                source: .memory(place.isKnown ? 0 : 1, offset: place.offset))
            kept.append(new)
            kept.sort { $0.start < $1.start }
        }
        extents.replaceSubrange(first..<last, with: kept)
    }

    private func part(of extent: EndState.Extent, from start: UInt64, to end: UInt64) -> EndState.Extent {
        guard case .memory(let number, let offset) = extent.source else { return extent }
        return EndState.Extent(
            space: space, start: start, size: end - start,
            source: .memory(number, offset: offset + start - extent.start))
    }

    /// Index of the first that ends after an address.
    private func index(endingAfter address: UInt64) -> Int {
        var (low, high) = (0, extents.count)
        while low < high {
            let middle = (low + high) / 2
            if extents[middle].end <= address { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
