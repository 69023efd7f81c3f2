// Plans of page-table captures: maps and unmaps of arbitrary ranges, which split and replace each other.
//
// Neighbouring rows with one time, in one address space, are one batch, as long as all of them map or all unmap. What a
// map shows is the physical memory that the capture names: one buffer stands for all of it, so that
// ranges that are contiguous in both can merge as they would on the machine. Rows without a physical address (the
// source writes 0) show another buffer, at an offset that goes with the address.

extension Plan {
    static let pageTableKind = "page-table updates"
    /// Of the buffers that stand for memory. Physical addresses repeat beyond it.
    static let memorySpan: UInt64 = 64 << 30
    /// The most changes of one batch.
    static let batchLimit = 4096

    mutating func planPageTables(_ events: [Capture.Event]) {
        kind = Plan.pageTableKind
        var clock = EventClock()
        var open: (space: Int, time: UInt64, line: Int, isMap: Bool, changes: [PageTableChange])?
        var batches = 0
        for event in events {
            let time = clock.time(of: event, sameAs: nil, &notes)
            guard let change = change(event) else { continue }
            let space = space(named: event.space)
            let isMap = change.place != nil
            if let batch = open,
                batch.space != space || batch.time != time || batch.isMap != isMap
                    || batch.changes.count == Plan.batchLimit
            {
                add(.batch(space: batch.space, changes: batch.changes), time: batch.time, line: batch.line)
                open = nil
            }
            if open == nil {
                open = (space, time, event.line, isMap, [])
                batches += 1
            }
            open!.changes.append(change)
        }
        if let batch = open {
            add(.batch(space: batch.space, changes: batch.changes), time: batch.time, line: batch.line)
        }
        let largest = operations.flatMap(\.action.changes).reduce(0) { max($0, $1.size) }
        memorySizes = [Plan.memorySpan + largest, Plan.memorySpan + largest]
        remarks.append("Rows of one time that all map, or all unmap, are one batch: \(batches) in all.")
    }

    private mutating func change(_ event: Capture.Event) -> PageTableChange? {
        let isMap = event.event == PlanEvent.ptMap.rawValue
        guard isMap || event.event == PlanEvent.ptUnmap.rawValue else {
            let name = event.event.prefix(40)
            notes.count("events \"\(name)\", which have no meaning among page-table updates", event.line)
            return nil
        }
        guard let start = event.start, let size = event.size else {
            notes.count("updates without start or size (left out)", event.line)
            return nil
        }
        guard let pages = pages(start: start, size: size, line: event.line) else { return nil }
        if !isMap { return PageTableChange(start: pages.start, size: pages.size, place: nil) }
        let physical = Plan.number(event.object)
        let place = PageTableChange.Place(
            isKnown: physical != 0, offset: Plan.page(physical != 0 ? physical : pages.start) % Plan.memorySpan)
        return PageTableChange(start: pages.start, size: pages.size, place: place)
    }

    /// A decimal or 0x number; 0 if it is none.
    private static func number(_ text: String) -> UInt64 {
        text.hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) ?? 0 : UInt64(text) ?? 0
    }
}
