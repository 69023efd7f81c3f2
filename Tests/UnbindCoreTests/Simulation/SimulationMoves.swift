// What the model knows of a buffer's moves, and of the holds that look at what it was before them.
//
// Each move gives a buffer another memory: a generation. Jobs write to the one that their bindings show, and the library
// copies from one to the next between them, so that the naive memory is one and the same; only a hold still sees what
// the older ones had at the end.

import CUnbind
import Glibc

struct SimulationMoves {
    /// How many there were.
    private(set) var generation = 0
    /// What has to be done before a generation's memory can be used.
    private(set) var copies: [Int: SimulationFence] = [:]
    /// Of the last move: its out_fence.
    private(set) var last: SimulationFence?
    /// The generations whose copy may fail, or has failed, with nobody to make up for it.
    private(set) var risky: Set<Int> = []
    /// Of them, those that are sure to be lost; and all that nobody makes up for.
    private var doomed: Set<Int> = []
    private var unguarded: Set<Int> = []
    /// The first generation that never got its contents.
    private(set) var lostFrom: Int?
    /// The program has seen -EIO.
    var isLost = false

    /// The newest generation that jobs are known to have written, and what older ones had then.
    private var written = 0
    private var frozen: [Int: [UInt8]] = [:]

    /// `willFail`: of a copy that nobody makes up for; nil if that is not known.
    mutating func append(copy: SimulationFence, whole: SimulationFence, isUnguarded: Bool, willFail: Bool?) {
        generation += 1
        copies[generation] = copy
        last = whole
        if !isUnguarded { return }
        unguarded.insert(generation)
        if willFail != false { risky.insert(generation) }
        if willFail == true { doomed.insert(generation) }
    }

    /// Other copies fail than was thought.
    mutating func copiesMayFail() {
        risky.formUnion(unguarded)
        doomed = []
    }

    /// The copy that a bind has to wait for.
    var pendingCopy: SimulationFence? { copies[generation].flatMap { $0.isDone == true ? nil : $0 } }

    /// Whether binds and moves may find it lost.
    var mayBeLost: Bool { isLost || lostFrom != nil || !risky.isEmpty }

    func mayBeLost(_ generation: Int) -> Bool {
        if let lostFrom { return lostFrom <= generation }
        return risky.contains { $0 <= generation }
    }

    func isKnownLost(_ generation: Int) -> Bool { lostFrom.map { $0 <= generation } ?? false }

    mutating func moveEnded(_ generation: Int, error: Int32, _ name: String) throws {
        unguarded.remove(generation)
        let wasRisky = risky.remove(generation) != nil
        let wasDoomed = doomed.remove(generation) != nil
        let isExpected = error == 0 ? !wasDoomed && !isKnownLost(generation) : wasRisky || isKnownLost(generation)
        try require(isExpected && (error == 0 || error == -EIO), "\(name) of a move carries error \(error)")
        if error == 0 { return }
        isLost = true
        lostFrom = min(lostFrom ?? .max, generation)
    }

    /// A job that uses that generation has ended. Nothing writes to older ones any more.
    mutating func willWrite(_ generation: Int, after contents: UnsafeRawBufferPointer, isHeld: Bool) {
        if generation <= written { return }
        if isHeld {
            let bytes = [UInt8](contents)
            for old in written..<generation { frozen[old] = bytes }
        }
        written = generation
    }

    /// What a hold has to find; nil if nobody knows.
    func contents(of generation: Int, now contents: UnsafeRawBufferPointer, at offset: Int, count: Int) -> [UInt8]? {
        if mayBeLost(generation) { return nil }
        if generation > 0, copies[generation]?.isDone != true { return nil }
        if generation >= written { return [UInt8](contents[offset..<offset + count]) }
        return frozen[generation].map { [UInt8]($0[offset..<offset + count]) }
    }
}

final class SimulationHold {
    var handle: OpaquePointer?
    let binding: SimulationBinding
    /// Signals when the last reference goes: what the unbind has to wait for.
    let fence: SimulationFence
    var references = 1
    /// The program leaves it alone until the device is closed.
    var isForgotten = false

    init(_ handle: OpaquePointer, _ binding: SimulationBinding, _ fence: SimulationFence) {
        self.handle = handle
        self.binding = binding
        self.fence = fence
    }
}
