// An engine whose jobs a backend runs: it gives them one after the other, in runs of commands between WAITs and DELAYs,
// which are no matter of the backend's: for so long the engine gives it nothing.
//
// What the kernel behind a backend can await by itself is handed over with the commands that come after it, and has
// to signal here, too, before the job has ended. Gates, order, WAITs and the end of a job are the same as everywhere.
// While a submit is under way the engine counts as scheduled; its completion submits it.

import CUnbind
import Synchronization

private enum SubmitOutcome {
    /// The job has ended.
    case ended
    /// What was begun, or the fence of a WAIT, will submit the engine, which may already run elsewhere.
    case blocked
    /// Come again at that time.
    case later(UInt64)
}

extension UnsafeMutablePointer where Pointee == Engine {
    func runOnBackend(at time: UInt64) {
        while true {
            guard let job = nextJob() else { return }
            switch submitCommands(of: job, at: time) {
            case .blocked: return
            case .later(let due):
                pointee.gpu.pointee.executor.submit(itemPointer, at: due)
                return
            case .ended: if end(job, at: time) { return }
            }
        }
    }

    private func submitCommands(of job: JobPointer, at time: UInt64) -> SubmitOutcome {
        let queue = pointee.backend.unsafelyUnwrapped
        while pointee.progress.error == 0 && pointee.progress.commandIndex < job.pointee.commandCount {
            let first = pointee.progress.commandIndex
            let command = job.pointee.commands.unsafelyUnwrapped[first]
            if command.kind == .delay {
                if !awaitHandedOver(job) { return .blocked }
                if pointee.progress.error != 0 { continue }
                if !pointee.progress.isPaid {
                    pointee.progress.isPaid = true
                    return .later(time.addingSaturating(command.value))
                }
                pointee.progress.isPaid = false
                advance(to: first + 1)
                continue
            }
            if command.kind == .wait {
                if !pointee.progress.hasWaited {
                    let wait = job.takeWait()
                    if job.handOver(wait) {
                        advance(to: first + 1)
                        continue
                    }
                    if !hang(wait) { return .blocked }
                }
                pointee.progress.error = pointee.progress.waitError
                pointee.progress.hasWaited = false
                advance(to: first + 1)
                continue
            }
            if !queue.pointee.isResumed {
                if queue.pointee.backend.isLost {
                    pointee.progress.error = Status.lost.raw
                    continue
                }
                queue.pointee.end = job.translate(from: first)
            }
            if !queue.pointee.isResumed, command.kind == .move, pointee.gpu.takeMoveFailure() {
                pointee.progress.error = Status.lost.raw
                continue
            }
            let end = queue.pointee.end
            let native = job.pointee.nativeCommands.unsafelyUnwrapped
            let isLast = end == job.pointee.commandCount
            let result = queue.submit(native + first, count: end - first, of: job, isLast: isLast)
            guard let status = result else { return .blocked }
            if status == 0 {
                queue.pointee.retries = 0
                advance(to: end)
            } else if let pause = queue.pauseBeforeRetry(after: status) {
                return .later(time.addingSaturating(pause))
            } else {
                pointee.progress.error = status
            }
        }
        return awaitHandedOver(job) ? .ended : .blocked
    }

    /// What was left to the kernel has signalled here, too. False: the engine will be submitted when it has.
    private func awaitHandedOver(_ job: JobPointer) -> Bool {
        while true {
            if pointee.progress.hasWaited {
                pointee.progress.hasWaited = false
                if pointee.progress.error == 0 { pointee.progress.error = pointee.progress.waitError }
            }
            guard let edge = job.takeHandedOver() else { return true }
            if !hang(edge) { return false }
        }
    }

    private func advance(to index: Int) {
        let count = UInt64(index - pointee.progress.commandIndex)
        _ = pointee.gpu.pointee.counters.commands.wrappingAdd(count, ordering: .relaxed)
        pointee.progress.commandIndex = index
    }
}

extension UnsafeMutablePointer where Pointee == Job {
    /// Writes the commands up to the next WAIT or DELAY as the backend gets them. The result is where that is, or the
    /// end.
    fileprivate func translate(from first: Int) -> Int {
        let native = pointee.nativeCommands.unsafelyUnwrapped
        var index = first
        while index < pointee.commandCount {
            let command = pointee.commands.unsafelyUnwrapped[index]
            if command.kind == .wait || command.kind == .delay { break }
            var translated = unbind_command()
            translated.op = command.kind.rawValue
            translated.address = command.address
            translated.source = command.source
            translated.size = command.size
            translated.value = command.value
            translated.result = command.result
            (native + index).initialize(to: translated)
            index += 1
        }
        return index
    }
}
