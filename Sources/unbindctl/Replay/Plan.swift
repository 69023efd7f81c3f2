// Plan: what a capture asks for, with every question answered before anything runs.
//
// Addresses are rounded out to pages, every use and free is matched to the allocation it means,
// and what cannot be replayed is counted. All policies then run the very same plan.

/// The operations of a replay in the order of their times.
struct Plan {
    /// A range that is bound at some time.
    struct Slot {
        let space: Int
        let start: UInt64
        let size: UInt64
        var end: UInt64 { start + size }
    }

    enum Action {
        /// Makes the slot's buffer, unless it has one, and binds it at the slot's address.
        case bind(slot: Int)
        /// Unbinds the slot; `drop` gives up its buffer too.
        case unbind(slot: Int, drop: Bool)
        /// The GPU work in flight uses the slot.
        case use(slot: Int)
        /// A job of the capture's own.
        case submit(space: Int, slots: [Int])
        /// A list of changes of page tables: all maps, or all unmaps.
        case batch(space: Int, changes: [PageTableChange])
    }

    /// One row of a page-table capture, in bytes.
    struct PageTableChange {
        let start: UInt64
        let size: UInt64
        /// Where the pages are; nil: unmap.
        let place: Place?

        /// The physical address, or, where the capture does not say it, one that goes with the address.
        struct Place {
            let isKnown: Bool
            let offset: UInt64
        }
    }

    struct Operation {
        /// From the first event of the capture.
        let time: UInt64
        /// Line of the file.
        let line: Int
        let action: Action
    }

    /// Names of the address spaces, in the order of their first event.
    private(set) var spaces: [String] = []
    private var spaceIndexes: [String: Int] = [:]
    var slots: [Slot] = []
    var operations: [Operation] = []
    /// What kind of capture this is, in words.
    var kind = ""
    /// What was not replayed, or not as it stands.
    var notes = Notes()
    /// Said in the report: what the plan added to the capture.
    var remarks: [String] = []
    /// Where the address spaces end.
    private let spaceSize: UInt64
    /// Bytes of the buffers that stand for memory in a page-table capture: where addresses are known, and other.
    var memorySizes: [UInt64] = []

    static let pageSize: UInt64 = 4096
    static let addressLimit: UInt64 = 1 << 48
    /// Larger ranges are reservations; nobody backs them with memory.
    static let sizeLimit: UInt64 = 1 << 40
    /// Between events that have no time.
    static let step: UInt64 = 1_000_000
    /// How long a capture's own submission keeps the GPU busy when there is no clock.
    static let submissionLength: UInt64 = 800_000

    var duration: UInt64 { operations.last?.time ?? 0 }
    /// True if the capture submits its own jobs, so that no load runs beside it.
    var hasSubmissions: Bool {
        operations.contains { if case .submit = $0.action { true } else { false } }
    }

    /// Makes the plan of a capture.
    ///
    /// - Parameter spaceSize: what lies beyond it is left out.
    init(_ capture: Capture, spaceSize: UInt64 = addressLimit) throws(ToolError) {
        self.spaceSize = min(spaceSize, Plan.addressLimit)
        switch capture.content {
        case .snapshot(let ranges): planSnapshot(ranges)
        case .events(let events):
            let binds = events.contains { PlanEvent(rawValue: $0.event)?.isBind ?? false }
            let uses = events.contains { PlanEvent(rawValue: $0.event)?.isSubmission ?? false }
            if binds, !events.contains(where: { $0.event == PlanEvent.vaAlloc.rawValue }) {
                planPageTables(events)
            } else if binds {
                planAllocations(events)
            } else if uses {
                planSubmissions(events)
            } else if events.contains(where: { $0.event == "gpu_complete" }) {
                throw .data(capture.file, nil, "a completion timeline has no addresses; give it with --clock")
            }
        }
        guard operations.contains(where: { $0.action.maps }) else {
            let supported = PlanEvent.allCases.map(\.rawValue).joined(separator: ", ")
            throw .data(capture.file, nil, "nothing to bind; the events that can be replayed are \(supported)")
        }
    }

    /// What is mapped and unmapped by batches has no slots.
    var hasBatches: Bool { kind == Plan.pageTableKind }

    /// The number of an address space.
    mutating func space(named name: String) -> Int {
        if let index = spaceIndexes[name] { return index }
        spaceIndexes[name] = spaces.count
        spaces.append(name)
        return spaces.count - 1
    }

    /// The pages of a range; nil with a note if there are none or they leave the address space.
    ///
    /// - Parameter quietly: do not note that a range was rounded out.
    mutating func pages(
        start: UInt64, size: UInt64, line: Int, quietly: Bool = false
    ) -> (start: UInt64, size: UInt64)? {
        let address = Plan.canonical(start)
        guard size > 0 else {
            notes.count("ranges of size 0", line)
            return nil
        }
        let (end, overflow) = address.addingReportingOverflow(size)
        guard !overflow, end <= Plan.addressLimit else {
            notes.count("ranges outside the 48-bit address space", line)
            return nil
        }
        guard end <= spaceSize else {
            notes.count("ranges outside the device's address space (left out)", line)
            return nil
        }
        guard size <= Plan.sizeLimit else {
            notes.count("ranges of more than 1 TiB (left out)", line)
            return nil
        }
        let first = address & ~(Plan.pageSize - 1)
        let last = (end + Plan.pageSize - 1) & ~(Plan.pageSize - 1)
        if !quietly, first != address || last != end { notes.count("ranges rounded out to pages", line) }
        return (first, last - first)
    }

    mutating func add(_ action: Action, time: UInt64, line: Int) {
        operations.append(Operation(time: time, line: line, action: action))
    }

    /// Shrinks every pause longer than `limit` to `length`; says how many there were.
    mutating func compressGaps(longerThan limit: UInt64, to length: UInt64) -> Int {
        var previous: UInt64 = 0
        var removed: UInt64 = 0
        var count = 0
        operations = operations.map { operation in
            let gap = operation.time - previous
            previous = operation.time
            if gap > limit {
                removed += gap - length
                count += 1
            }
            return Operation(time: operation.time - removed, line: operation.line, action: operation.action)
        }
        return count
    }
}

extension Plan.Action {
    /// Of a batch.
    var changes: [Plan.PageTableChange] {
        if case .batch(_, let changes) = self { changes } else { [] }
    }

    /// Whether it puts something into the page tables.
    var maps: Bool {
        switch self {
        case .bind: true
        case .batch(_, let changes): changes.contains { $0.place != nil }
        case .unbind, .use, .submit: false
        }
    }
}

/// The events that mean something here.
enum PlanEvent: String, CaseIterable {
    case vaAlloc = "va_alloc"
    case vaFree = "va_free"
    case ptMap = "pt_map"
    case ptUnmap = "pt_unmap"
    case resourceBind = "resource_bind"
    case residencyAdd = "residency_add"
    case residencyRemove = "residency_remove"
    case use
    case commandStream = "cmdstream"

    var isBind: Bool { self == .vaAlloc || self == .ptMap }
    var isSubmission: Bool { self == .use || self == .commandStream }
}

/// Counts of what was not replayed as it stands, each with the line where it first occurred.
struct Notes {
    private(set) var entries: [(what: String, count: Int, firstLine: Int)] = []

    mutating func count(_ what: String, _ line: Int) {
        if let index = entries.firstIndex(where: { $0.what == what }) {
            entries[index].count += 1
        } else {
            entries.append((what, 1, line))
        }
    }
}
