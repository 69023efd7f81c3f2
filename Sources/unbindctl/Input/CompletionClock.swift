// When a GPU finished what: the jobs of a completion timeline.
//
// A job's length is the time for which it alone held up its stream: from the later of its own submit
// and the completion before it, to its completion. Replayed on a queue in order, each submitted
// at its own time, the jobs complete exactly when they did in the capture.

/// The jobs of a GPU, to be repeated as often as needed.
struct CompletionClock {
    struct Job {
        let stream: Int
        /// From the first submit of the capture.
        let submit: UInt64
        let length: UInt64
    }

    /// In words, for the head of the report.
    let name: String
    let streamCount: Int
    /// In the order of their submits.
    let jobs: [Job]
    /// From the first submit to the last completion; the repetition begins here.
    let period: UInt64
    /// Jobs without a submit or without a completion.
    let incomplete: Int

    /// The built-in load: one stream, a job of 3 ms every 4 ms.
    static let builtIn = CompletionClock(
        name: "built-in", streamCount: 1, jobs: [Job(stream: 0, submit: 0, length: 3_000_000)],
        period: 4_000_000, incomplete: 0)

    private init(name: String, streamCount: Int, jobs: [Job], period: UInt64, incomplete: Int) {
        self.name = name
        self.streamCount = streamCount
        self.jobs = jobs
        self.period = period
        self.incomplete = incomplete
    }

    /// Reads the submit and gpu_complete events of an event file.
    init(path: String) throws(ToolError) {
        guard case .events(let events) = try Capture(path: path).content else {
            throw .data(path, nil, "a snapshot cannot be a clock; it needs submit and gpu_complete events")
        }
        var streams: [String: Int] = [:]
        var times: [String: (stream: Int, submit: UInt64?, complete: UInt64?)] = [:]
        for event in events where event.event == "submit" || event.event == "gpu_complete" {
            guard let time = event.time else { throw .data(path, event.line, "column time_ns is empty") }
            if event.object.isEmpty { throw .data(path, event.line, "column object is empty") }
            let name = event.space + "/" + CompletionClock.stream(of: event.extra)
            let stream = streams[name] ?? streams.count
            streams[name] = stream
            var job = times[event.space + "/" + event.object] ?? (stream, nil, nil)
            if event.event == "submit" { job.submit = job.submit ?? time } else { job.complete = job.complete ?? time }
            times[event.space + "/" + event.object] = job
        }
        var found: [(stream: Int, submit: UInt64, complete: UInt64)] = []
        for (stream, submit, complete) in times.values {
            if let submit, let complete, submit <= complete { found.append((stream, submit, complete)) }
        }
        guard !found.isEmpty else {
            throw .data(path, nil, "no job with a submit and a gpu_complete event: not a completion timeline")
        }
        // Complete in the key, so that the order does not depend on the hash table.
        found.sort { ($0.submit, $0.stream, $0.complete) < ($1.submit, $1.stream, $1.complete) }
        let origin = found[0].submit
        var last = [UInt64](repeating: 0, count: streams.count)
        var jobs: [Job] = []
        var end = origin
        for (stream, submit, complete) in found {
            let begin = max(last[stream], submit)
            let length = complete > begin ? complete - begin : 0
            jobs.append(Job(stream: stream, submit: submit - origin, length: length))
            last[stream] = max(last[stream], complete)
            end = max(end, complete)
        }
        guard end > origin else { throw .data(path, nil, "all jobs submit and complete at one time") }
        self.init(
            name: baseName(path), streamCount: streams.count, jobs: jobs, period: end - origin,
            incomplete: times.count - found.count)
    }

    /// The value of "stream=" in the column `extra`; empty if it does not say.
    private static func stream(of extra: String) -> String {
        for part in extra.split(whereSeparator: { $0 == ";" || $0 == "|" }) where part.hasPrefix("stream=") {
            return String(part.dropFirst("stream=".count))
        }
        return ""
    }
}

/// Goes through the jobs of a clock, again and again.
struct JobSequence {
    private let clock: CompletionClock
    private var index = 0
    private var offset: UInt64 = 0

    init(_ clock: CompletionClock) { self.clock = clock }

    /// When the next job is submitted.
    var nextTime: UInt64 { offset &+ clock.jobs[index].submit }

    mutating func next() -> CompletionClock.Job {
        let job = clock.jobs[index]
        index += 1
        if index == clock.jobs.count {
            index = 0
            offset += clock.period
        }
        return job
    }
}
