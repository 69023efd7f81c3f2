// A progress bar for whoever watches.

import Glibc

/// Shows on stderr how far a run has come, if that is a terminal and the run takes over a second.
final class ProgressBar {
    private let label: String
    private let total: Int
    private let isTerminal: Bool
    private var done = 0
    private var nextLook = 0
    private var isShown = false
    private let begin: Double
    private var last: Double

    init(_ label: String, total: Int) {
        self.label = label
        self.total = max(total, 1)
        isTerminal = isatty(STDERR_FILENO) == 1
        begin = ProgressBar.seconds()
        last = begin
    }

    /// One more piece of the total is done.
    func step() {
        done += 1
        guard isTerminal, done >= nextLook else { return }
        nextLook = done + 64
        let now = ProgressBar.seconds()
        guard now - begin > 1, now - last > 0.1 else { return }
        last = now
        isShown = true
        let width = 40
        let full = min(width, done * width / total)
        let bar = String(repeating: "#", count: full) + String(repeating: ".", count: width - full)
        writeError("\r\(label) [\(bar)] \(min(100, done * 100 / total)) %")
    }

    /// Takes the bar away.
    func finish() {
        if isShown { writeError("\r\u{1B}[K") }
        isShown = false
    }

    private static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}
