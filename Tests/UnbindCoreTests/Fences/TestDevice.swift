// A device for tests of fences, without the C interface. Closing it asserts that no memory was lost.

import CSystem
import Glibc
import Testing

@testable import UnbindCore

final class TestDevice: @unchecked Sendable {
    let pointer: DevicePointer

    init(_ kind: ExecutorKind, usesSlabs: Bool = true) {
        var options = DeviceOptions()
        options.executor = kind
        options.usesSlabs = usesSlabs
        do throws(Status) {
            pointer = try DevicePointer.open(options, memory: Memory())
        } catch {
            preconditionFailure("no device: \(error.raw)")
        }
    }

    func close() { pointer.dropHandle() }

    func makeFence() -> FencePointer { mustHave { () throws(Status) in try pointer.makeCallerFence() } }

    func makeTimeline() -> TimelinePointer {
        mustHave { () throws(Status) in try TimelinePointer.make(device: pointer) }
    }

    func array(_ fences: [FencePointer], any: Bool = false) -> FencePointer {
        var fences = fences
        return fences.withUnsafeMutableBufferPointer { fences in
            mustHave { () throws(Status) in
                try pointer.makeFenceArray(of: fences.baseAddress!, count: fences.count, signalsOnAny: any)
            }
        }
    }

    func merge(_ fences: [FencePointer]) -> FencePointer {
        mustHave { () throws(Status) in
            var list = try FenceList(memory: pointer.pointee.memory, capacity: fences.count)
            for fence in fences { list.append(retaining: fence) }
            return try pointer.merge(&list)
        }
    }

    /// The leaves that one fence is replaced by, in no order, with what has signalled left out.
    func unwrap(_ fence: FencePointer) -> [FencePointer] {
        mustHave { () throws(Status) in
            var list = try FenceList(memory: pointer.pointee.memory, capacity: 1)
            list.append(retaining: fence)
            while try list.unwrap() {}
            list.removeSignalled()
            return (0..<list.count).map { list.fences[$0] }
        }
    }
}

/// What a call gives that cannot fail here.
func mustHave<T>(_ body: () throws(Status) -> T) -> T {
    do throws(Status) { return try body() } catch { preconditionFailure("failed with \(error.raw)") }
}

/// The fence of a point; nil if there is none yet.
func point(_ timeline: TimelinePointer, _ seqno: UInt64) -> FencePointer? {
    do throws(Status) {
        return try timeline.fence(at: seqno)
    } catch {
        #expect(error == .again)
        return nil
    }
}
