// ReplayStage: where a plan is carried out, and by which clock.

import Unbind

/// What a replay is to run on; the same for all policies.
enum ReplayTarget {
    /// The software GPU on the simulated executor.
    case virtualTime(seed: UInt64, costs: CostModel)
    /// A device and its clock; so many times as fast as the capture.
    case device(selector: String, speed: UInt64)
}

/// What a job does, and on what.
struct ReplayJob {
    let commands: [Queue.Command]
    let uses: [(vma: VMA, use: Queue.Use)]
}

/// What a replay has when all of its work has ended.
struct ReplayEnd {
    let spaces: [AddressSpace]
    /// What was not dropped, by slot.
    let slots: [VMA?]
    /// Of page-table captures.
    let memories: [BufferObject]
}

protocol ReplayStage: AnyObject {
    var device: Device { get }

    /// Returns at a time of the capture, or at once if that is past.
    func wait(until time: UInt64) throws(UnbindError)

    /// Memory for a slot that is bound for the first time.
    func makeBuffer(for number: Int) throws(UnbindError) -> BufferObject
    /// Memory for a capture of page tables: where addresses are known, and other.
    func makeMemories() throws(UnbindError) -> [BufferObject]

    /// The queues of the clock's streams, which work beside an address space.
    func makeStreams(_ count: Int, beside space: AddressSpace) throws(UnbindError) -> [Queue]
    /// A job of a stream.
    func job(ofStream stream: Int, length: UInt64) -> ReplayJob
    /// A job of the capture's own.
    func job(using slots: [(number: Int, vma: VMA)], length: UInt64) -> ReplayJob

    /// Looks at what the replay has come to.
    func finish(_ end: ReplayEnd, _ result: inout Measurement) throws
    /// Drops what the stage has of the device.
    func takeDown()
}

extension Queue {
    static func several(_ count: Int, in space: AddressSpace) throws(UnbindError) -> [Queue] {
        var queues: [Queue] = []
        for _ in 0..<count { queues.append(try Queue(in: space)) }
        return queues
    }
}
