// Plans of captures that tell only which submission uses what, and of snapshots.

extension Plan {
    /// Each buffer is bound before the first submission that uses it and unbound asynchronously right
    /// after the last one.
    mutating func planSubmissions(_ events: [Capture.Event]) {
        kind = "submissions"
        remarks.append(
            "The capture has no binds: a buffer is bound at its first use and unbound right after its last.")
        var groups: [(space: Int, time: UInt64, line: Int, addresses: [UInt64])] = []
        var sizes: [[UInt64: UInt64]] = []
        var clock = EventClock()
        var lastKey: String?
        for event in events {
            guard PlanEvent(rawValue: event.event)?.isSubmission == true else {
                notes.count("events \"\(event.event.prefix(40))\", which have no meaning here", event.line)
                continue
            }
            // Without a number each row is a submission of its own.
            let key = event.object.isEmpty ? "line \(event.line)" : "\(event.space)/\(event.object)"
            let time = clock.time(of: event, sameAs: key, &notes)
            let space = space(named: event.space)
            while sizes.count <= space { sizes.append([:]) }
            if key != lastKey { groups.append((space, time, event.line, [])) }
            lastKey = key
            guard let start = event.start else {
                notes.count("uses without an address (left out)", event.line)
                continue
            }
            // What is used is seldom whole pages; the size may be that of the used part, or unknown.
            guard let pages = pages(start: start, size: max(event.size ?? 1, 1), line: event.line, quietly: true)
            else { continue }
            sizes[space][pages.start] = max(sizes[space][pages.start] ?? 0, pages.size)
            groups[groups.count - 1].addresses.append(pages.start)
        }
        let ranges = sizes.indices.map { disjointRanges(sizes[$0], space: $0) }
        let uses = groups.map { group in
            var seen: Set<Int> = []
            let slots = group.addresses.compactMap { ranges[group.space].slot(containing: $0) }
            return slots.filter { seen.insert($0).inserted }
        }
        var first = [Int](repeating: -1, count: slots.count)
        var last = first
        for (index, group) in uses.enumerated() {
            for slot in group {
                if first[slot] < 0 { first[slot] = index }
                last[slot] = index
            }
        }
        for (index, group) in groups.enumerated() {
            for slot in uses[index] where first[slot] == index {
                add(.bind(slot: slot), time: group.time, line: group.line)
            }
            add(.submit(space: group.space, slots: uses[index]), time: group.time, line: group.line)
            for slot in uses[index] where last[slot] == index {
                add(.unbind(slot: slot, drop: true), time: group.time, line: group.line)
            }
        }
    }

    /// One slot for each buffer, cut off where the next one begins.
    private mutating func disjointRanges(_ sizes: [UInt64: UInt64], space: Int) -> LiveRanges {
        var live = LiveRanges()
        let starts = sizes.keys.sorted()
        for (index, start) in starts.enumerated() {
            var end = start + (sizes[start] ?? 0)
            if index + 1 < starts.count, starts[index + 1] < end {
                end = starts[index + 1]
                notes.count("buffers cut off where the next one begins", 0)
            }
            live.insert(start: start, end: end, slot: slots.count)
            slots.append(Slot(space: space, start: start, size: end - start))
        }
        return live
    }

    /// Binds all, uses all, unbinds all without waiting, binds all again.
    mutating func planSnapshot(_ ranges: [Capture.Range]) {
        kind = "a snapshot"
        remarks.append(
            "Every range is bound and used by a GPU job, then all are unbound asynchronously and bound again.")
        let space = space(named: "snapshot")
        var live = LiveRanges()
        var jobs: [(seqno: UInt64?, slots: [Int])] = []
        for range in ranges {
            guard let pages = pages(start: range.start, size: range.size, line: range.line) else { continue }
            let end = pages.start + pages.size
            guard live.slots(overlapping: pages.start, end).isEmpty else {
                notes.count("ranges that overlap one above (left out)", range.line)
                continue
            }
            live.insert(start: pages.start, end: end, slot: slots.count)
            add(.bind(slot: slots.count), time: 0, line: range.line)
            jobs.append((range.lastUse, [slots.count]))
            slots.append(Slot(space: space, start: pages.start, size: pages.size))
        }
        let count = slots.count
        // One job for each sequence number, in order; a buffer without one has a job of its own.
        let numbered = Dictionary(grouping: jobs.filter { $0.seqno != nil }, by: { $0.seqno ?? 0 })
        for seqno in numbered.keys.sorted() {
            add(.submit(space: space, slots: numbered[seqno]?.flatMap(\.slots) ?? []), time: 0, line: 0)
        }
        for job in jobs where job.seqno == nil { add(.submit(space: space, slots: job.slots), time: 0, line: 0) }
        for slot in 0..<count { add(.unbind(slot: slot, drop: false), time: 0, line: 0) }
        for slot in 0..<count { add(.bind(slot: slot), time: 0, line: 0) }
    }
}
