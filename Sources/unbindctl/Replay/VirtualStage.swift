// VirtualStage: the software GPU in virtual time, from a seed.
//
// All buffers share one stretch of memory that nobody touches; the page tables are what counts.

import Unbind

final class VirtualStage: ReplayStage {
    let device: Device
    private let plan: Plan
    private let seed: UInt64
    private let costs: CostModel
    private let backing: Backing

    init(_ plan: Plan, seed: UInt64, costs: CostModel) throws {
        self.plan = plan
        self.seed = seed
        self.costs = costs
        let largest = plan.slots.reduce(0) { max($0, $1.size) }
        backing = try Backing(size: max(largest, plan.memorySizes.max() ?? 0))
        device = try Device(.init(executor: .simulated(seed: seed), systemMemoryBytes: 1 << 46, costModel: costs))
    }

    func wait(until time: UInt64) throws(UnbindError) { try device.run(until: time) }

    func makeBuffer(for number: Int) throws(UnbindError) -> BufferObject {
        let slot = plan.slots[number]
        return try BufferObject(of: device, wrapping: backing.memory(size: slot.size, for: slot.start))
    }

    func makeMemories() throws(UnbindError) -> [BufferObject] {
        var memories: [BufferObject] = []
        for size in plan.memorySizes {
            memories.append(try BufferObject(of: device, wrapping: backing.memory(size: size, for: 0)))
        }
        return memories
    }

    func makeStreams(_ count: Int, beside space: AddressSpace) throws(UnbindError) -> [Queue] {
        try Queue.several(count, in: space)
    }

    func job(ofStream stream: Int, length: UInt64) -> ReplayJob { ReplayJob(commands: [delay(length)], uses: []) }

    func job(using slots: [(number: Int, vma: VMA)], length: UInt64) -> ReplayJob {
        ReplayJob(commands: [delay(length)], uses: slots.map { (vma: $0.vma, use: .read) })
    }

    /// A command that keeps its queue busy for so long, with what a command costs by itself.
    private func delay(_ length: UInt64) -> Queue.Command {
        let cost = costs.commandNanoseconds
        return .delay(nanoseconds: length > cost ? length - cost : 0)
    }

    func finish(_ end: ReplayEnd, _ result: inout Measurement) throws {
        for (number, space) in end.spaces.enumerated() {
            result.pageRuns += try PageRun.all(of: space, number: number)
        }
        result.scheduleDigest = try device.statistics().scheduleDigest
        result.end = device.now
    }

    func takeDown() {}
}
