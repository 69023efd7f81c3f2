// The device's log: lines for the host program's callback.

import Synchronization

/// Gathers text until a line is complete. On the caller's stack; a TextWriter writes into it.
private struct LogLine {
    let device: DevicePointer
    let level: UInt32
    var bytes = InlineArray<512, CChar>(repeating: 0)
    var length = 0

    mutating func append(_ byte: CChar) {
        if byte == CChar(bitPattern: UInt8(ascii: "\n")) {
            send()
        } else if length < bytes.count - 1 {
            bytes[length] = byte
            length += 1
        }
    }

    mutating func send() {
        if length == 0 { return }
        bytes[length] = 0
        length = 0
        guard let log = device.pointee.host.log else { return }
        let (device, data, level) = (device, device.pointee.host.logData, level)
        bytes.span.withUnsafeBufferPointer { text in
            device.callingBack { SignallingSection.suspended { log(data, level, text.baseAddress) } }
        }
    }
}

private func appendToLogLine(_ context: UnsafeMutableRawPointer?, _ text: UnsafePointer<CChar>?, _ length: Int) {
    let line = context!.assumingMemoryBound(to: LogLine.self)
    for index in 0..<length { line.pointee.append(text![index]) }
}

enum LogLevel: UInt32 { case error = 0, warning = 1, info = 2 }

extension UnsafeMutablePointer where Pointee == Device {
    /// Each line that `body` writes becomes a message.
    /// - Locking: nothing may be held.
    func log(_ level: LogLevel, _ body: (inout TextWriter) -> Void) {
        if pointee.host.log == nil { return }
        var line = LogLine(device: self, level: level.rawValue)
        withUnsafeMutablePointer(to: &line) { line in
            var writer = TextWriter(write: appendToLogLine, userData: UnsafeMutableRawPointer(line))
            body(&writer)
            writer.flush()
            line.pointee.send()
        }
    }

    /// Waits for a fence. If that cannot succeed because nothing that could run is left, the log is told what
    /// everything is waiting for.
    func wait(
        for fence: FencePointer, timeout: UInt64 = .max, absolute: Bool = false, interruptible: Bool = false
    ) throws(Status) {
        do throws(Status) {
            try pointee.executor.wait(for: fence, timeout: timeout, absolute: absolute, interruptible: interruptible)
        } catch {
            if error == .deadlock {
                logDeadlock(
                    "a fence is waited for", remedy: "signal the fence that the pending work waits for")
            }
            throw error
        }
    }

    /// Waits until the word of a lock context is set. A deadlock is told as for a fence.
    func waitForLock(_ word: UnsafeMutablePointer<Atomic<UInt32>>, interruptible: Bool) throws(Status) {
        do throws(Status) {
            try pointee.executor.wait(forWord: word, interruptible: interruptible)
        } catch {
            if error == .deadlock {
                logDeadlock("a buffer's lock is waited for", remedy: "unlock the buffer")
            }
            throw error
        }
    }

    private func logDeadlock(_ wait: StaticString, remedy: StaticString) {
        log(.error) { writer in
            writer.text("deadlock: ")
            writer.text(wait)
            writer.text(", and nothing that could run is left; ")
            writer.text(remedy)
            writer.text("\n")
            // Without memory for all of it, what there is of it will have to do.
            do throws(Status) { try self.dump(to: &writer) } catch {}
        }
    }

    /// What the caller forgot.
    func logLeaks(_ report: LeakReport) {
        log(.warning) { writer in
            writer.text("device closed with objects still alive: ")
            writer.decimal(UInt64(report.vms))
            writer.text(" address spaces, ")
            writer.decimal(UInt64(report.bos))
            writer.text(" buffers, ")
            writer.decimal(UInt64(report.vmas))
            writer.text(" VMAs, ")
            writer.decimal(UInt64(report.queues))
            writer.text(" queues, ")
            writer.decimal(UInt64(report.fences))
            writer.text(" fence references, ")
            writer.decimal(UInt64(report.timelines))
            writer.text(" timelines, ")
            writer.decimal(UInt64(report.holds))
            writer.text(" holds, ")
            writer.decimal(UInt64(report.locks))
            writer.text(" buffer locks, ")
            writer.decimal(UInt64(report.ranges))
            writer.text(" range allocators and trackers; drop them with the _unref and unlock functions")
        }
    }
}
