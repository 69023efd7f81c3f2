// A capture as its file tells it: the rows of an event file or of a snapshot, before any meaning.

/// The rows of an input file.
struct Capture {
    enum Content {
        case events([Event])
        case snapshot([Range])
    }

    /// One row of an event file.
    struct Event {
        let line: Int
        /// nil if the source does not say.
        let time: UInt64?
        let event: String
        let space: String
        let object: String
        let start: UInt64?
        let size: UInt64?
        let extra: String
    }

    /// One row of a snapshot.
    struct Range {
        let line: Int
        let start: UInt64
        let size: UInt64
        let lastUse: UInt64?
    }

    let file: String
    let content: Content

    /// Reads a file of either kind, recognised by its header line.
    init(path: String) throws(ToolError) {
        file = path
        var reader = try CSVReader(try readFile(path), file: path)
        if reader.hasColumn("event") {
            content = .events(try Capture.events(&reader))
        } else if reader.hasColumn("start") && reader.hasColumn("size") {
            content = .snapshot(try Capture.ranges(&reader))
        } else {
            throw .data(
                path, nil,
                "columns \(reader.header.joined(separator: ",")) are neither those of events "
                    + "(time_ns,event,vm,object,start,size,extra) nor of a snapshot "
                    + "(start,size,last_use_seqno,flags,source_line_no)")
        }
    }

    private static func events(_ reader: inout CSVReader) throws(ToolError) -> [Event] {
        var events: [Event] = []
        while let row = try reader.next() {
            let event = row.text("event")
            if event.isEmpty { throw .data(row.file, row.line, "column event is empty") }
            events.append(
                Event(
                    line: row.line, time: try row.number("time_ns"), event: event, space: row.text("vm"),
                    object: row.text("object"), start: try row.number("start"), size: try row.number("size"),
                    extra: row.text("extra")))
        }
        if events.isEmpty { throw .data(reader.file, nil, "no events after the header line") }
        return events
    }

    private static func ranges(_ reader: inout CSVReader) throws(ToolError) -> [Range] {
        var ranges: [Range] = []
        while let row = try reader.next() {
            ranges.append(
                Range(
                    line: row.line, start: try row.required("start"), size: try row.required("size"),
                    lastUse: try row.number("last_use_seqno")))
        }
        if ranges.isEmpty { throw .data(reader.file, nil, "no ranges after the header line") }
        return ranges
    }
}
