// Plans of event captures.

extension Plan {
    /// Where planning has come to in an event file.
    private struct Progress {
        var live: [LiveRanges] = []
        /// Objects that resource_bind placed, with the slot that contains them.
        var objects: [String: Int] = [:]
        var submission: (key: String, time: UInt64, line: Int, space: Int, slots: [Int])?
        var clock = EventClock()

        /// Where resource_bind placed an object, if that allocation still lives.
        func slot(ofObject object: String, in slots: [Slot]) -> Int? {
            guard let slot = objects[object] else { return nil }
            return live[slots[slot].space].slot(containing: slots[slot].start) == slot ? slot : nil
        }
    }

    /// A capture that allocates and frees, or maps and unmaps.
    mutating func planAllocations(_ events: [Capture.Event]) {
        kind = "allocations and frees"
        var progress = Progress()
        for event in events {
            let space = space(named: event.space)
            while progress.live.count <= space { progress.live.append(LiveRanges()) }
            let key = "\(event.space)/\(event.object)"
            let meaning = PlanEvent(rawValue: event.event)
            let time = progress.clock.time(of: event, sameAs: meaning?.isSubmission == true ? key : nil, &notes)
            if let open = progress.submission, meaning?.isSubmission != true || open.key != key {
                add(.submit(space: open.space, slots: open.slots), time: open.time, line: open.line)
                progress.submission = nil
            }
            guard let meaning else {
                planOther(event, &progress)
                continue
            }
            switch meaning {
            case .vaAlloc, .ptMap: planBind(event, space, time, &progress)
            case .vaFree: planFree(event, space, time, &progress)
            case .ptUnmap: planUnmap(event, space, time, &progress)
            case .resourceBind, .residencyAdd, .residencyRemove: planUse(event, space, time, &progress)
            case .use, .commandStream: planSubmission(event, key, space, time, &progress)
            }
        }
        if let open = progress.submission {
            add(.submit(space: open.space, slots: open.slots), time: open.time, line: open.line)
        }
    }

    /// Events that need no address space: known ones are passed over, others are noted.
    private mutating func planOther(_ event: Capture.Event, _ progress: inout Progress) {
        switch event.event {
        case "resource_create", "cpu_map", "cpu_unmap": break
        case "resource_destroy": progress.objects[event.object] = nil
        default: notes.count("events \"\(event.event.prefix(40))\", which have no meaning here", event.line)
        }
    }

    private mutating func planBind(_ event: Capture.Event, _ space: Int, _ time: UInt64, _ progress: inout Progress) {
        guard let start = event.start, let size = event.size else {
            notes.count("allocations without start or size", event.line)
            return
        }
        guard let pages = pages(start: start, size: size, line: event.line) else { return }
        let end = pages.start + pages.size
        guard progress.live[space].slots(overlapping: pages.start, end).isEmpty else {
            notes.count("allocations that overlap a live one (left out)", event.line)
            return
        }
        progress.live[space].insert(start: pages.start, end: end, slot: slots.count)
        add(.bind(slot: slots.count), time: time, line: event.line)
        slots.append(Slot(space: space, start: pages.start, size: pages.size))
    }

    private mutating func planFree(_ event: Capture.Event, _ space: Int, _ time: UInt64, _ progress: inout Progress) {
        guard let start = event.start.map(Plan.page), let slot = progress.live[space].slot(containing: start),
            slots[slot].start == start
        else {
            notes.count("frees of what is not allocated (left out)", event.line)
            return
        }
        release(slot, time, event.line, &progress)
    }

    private mutating func planUnmap(_ event: Capture.Event, _ space: Int, _ time: UInt64, _ progress: inout Progress) {
        guard let start = event.start, let size = event.size, size > 0 else {
            planFree(event, space, time, &progress)
            return
        }
        guard let pages = pages(start: start, size: size, line: event.line) else { return }
        let found = progress.live[space].slots(overlapping: pages.start, pages.start + pages.size)
        if found.isEmpty { notes.count("unmaps of what is not mapped (left out)", event.line) }
        for slot in found {
            if slots[slot].start != pages.start || slots[slot].size != pages.size {
                notes.count("mappings unmapped as a whole by an unmap of a different range", event.line)
            }
            release(slot, time, event.line, &progress)
        }
    }

    private mutating func release(_ slot: Int, _ time: UInt64, _ line: Int, _ progress: inout Progress) {
        progress.live[slots[slot].space].remove(start: slots[slot].start)
        // A submission still being read would list a slot that has gone.
        progress.submission?.slots.removeAll { $0 == slot }
        add(.unbind(slot: slot, drop: true), time: time, line: line)
    }

    private mutating func planUse(_ event: Capture.Event, _ space: Int, _ time: UInt64, _ progress: inout Progress) {
        let slot = event.start.flatMap { progress.live[space].slot(containing: Plan.canonical($0)) }
        guard let slot = slot ?? (event.start == nil ? progress.slot(ofObject: event.object, in: slots) : nil) else {
            notes.count("uses of what is not allocated (left out)", event.line)
            return
        }
        if event.event == PlanEvent.resourceBind.rawValue, !event.object.isEmpty {
            progress.objects[event.object] = slot
        }
        add(.use(slot: slot), time: time, line: event.line)
    }

    private mutating func planSubmission(
        _ event: Capture.Event, _ key: String, _ space: Int, _ time: UInt64, _ progress: inout Progress
    ) {
        var open = progress.submission ?? (key, time, event.line, space, [])
        if let start = event.start.map(Plan.canonical), let slot = progress.live[space].slot(containing: start) {
            if !open.slots.contains(slot) { open.slots.append(slot) }
        } else {
            notes.count("uses of what is not allocated (left out)", event.line)
        }
        progress.submission = open
    }

    /// Some drivers write addresses of the upper half with their sign extended.
    static func canonical(_ address: UInt64) -> UInt64 {
        address >> 47 == 0x1FFFF ? address & (addressLimit - 1) : address
    }

    /// The page that an address lies in.
    static func page(_ address: UInt64) -> UInt64 { canonical(address) & ~(pageSize - 1) }
}

/// Gives events their times from the start of the trace.
struct EventClock {
    private var origin: UInt64?
    private var last: UInt64 = 0
    private var lastKey: String?

    /// An event without a time comes one step after the one before; the rows of one submission,
    /// which share a key, come together. Time never goes back.
    mutating func time(of event: Capture.Event, sameAs key: String?, _ notes: inout Notes) -> UInt64 {
        defer { lastKey = key }
        guard let time = event.time else {
            if key == nil || key != lastKey { last += Plan.step }
            return last
        }
        let begin = origin ?? (time >= last ? time - last : 0)
        origin = begin
        if time < begin || time - begin < last {
            notes.count("events whose time lies before the one above (moved up to it)", event.line)
        } else {
            last = time - begin
        }
        return last
    }
}
