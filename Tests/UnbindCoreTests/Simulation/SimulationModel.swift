// The reference model's objects: what a program made, and what the interface promises about it.
//
// As naive as possible: arrays that are searched from end to end, one record per fence with the list of what it has to
// wait for. Nothing here calls the library; Simulation keeps these records beside the handles it uses.

import CUnbind
import Glibc

/// What a check throws: one sentence.
struct SimulationFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw SimulationFailure(message()) }
}

/// SplitMix64: small, and the same on every machine.
struct SimulationRandom {
    private var state: UInt64

    /// Mixed, so that neighbouring seeds do not give the same numbers one place apart.
    init(seed: UInt64) {
        state = seed
        state = next() ^ 0x2545_f491_4f6c_dd1d
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
    mutating func pick<T>(_ choices: [T]) -> T { choices[below(choices.count)] }
    mutating func pickOptional<T>(_ choices: [T]) -> T? { choices.isEmpty ? nil : pick(choices) }

    mutating func shuffle<T>(_ items: inout [T]) {
        for index in items.indices.dropFirst().reversed() { items.swapAt(index, below(index + 1)) }
    }
}

/// One thing that will finish: a fence of the library's or of the caller's. Without a handle (the program did not ask
/// for the fence, or dropped it) it is known to have finished only by inference.
final class SimulationFence {
    enum Kind { case caller, job, bind, unbind, copy, move, hold }

    let id: Int
    let kind: Kind
    var handle: OpaquePointer?
    /// What must have signalled before this one does.
    private(set) var must: [SimulationFence]
    /// What else it may rightly wait for.
    let may: [SimulationFence]
    /// Place in the order of signals; nil: not signalled, or not observed.
    var position: Int?
    var time: UInt64 = 0
    var error: Int32 = 0
    /// Without a handle: known to be done all the same.
    var isInferredDone = false
    /// Caller's fences only: a fence that this one's callback signals.
    var chained: SimulationFence?
    /// Caller's fences only: the program leaves it alone until the device is closed.
    var isNeverSignalled = false
    var callback: UnsafeMutablePointer<unbind_fence_callback>?
    unowned let owner: Simulation
    /// Of binds and moves: whose memory they are about, and how many moves it had made by then.
    var buffer: SimulationBuffer?
    var generation = 0
    var stamp = 0

    init(
        _ owner: Simulation, _ id: Int, _ kind: Kind, must: [SimulationFence] = [], may: [SimulationFence] = []
    ) {
        self.owner = owner
        self.id = id
        self.kind = kind
        self.must = must
        self.may = may
    }

    /// The end of a hold is the program's own doing.
    var isObserved: Bool { handle != nil || position != nil || kind == .hold }

    /// True, false, or nil for what cannot be known.
    var isDone: Bool? {
        if position != nil || isInferredDone { return true }
        return handle != nil || kind == .hold ? false : nil
    }

    func mustFollow(_ fence: SimulationFence) { must.append(fence) }

    var name: String { "\(kind) fence \(id)" }

    /// The observed fences this one has to come after, looking through those that cannot be observed.
    func observedDependencies() -> [SimulationFence] {
        owner.stamp += 1
        var found: [SimulationFence] = []
        func visit(_ fence: SimulationFence) {
            if fence.stamp == owner.stamp { return }
            fence.stamp = owner.stamp
            if fence.isObserved { found.append(fence) } else { fence.must.forEach(visit) }
        }
        must.forEach(visit)
        return found
    }

    /// True if it may rightly be unfinished when the device has nothing left to run: a fence of the caller's that was
    /// not signalled, or a hold that has not ended, is behind it.
    func isBlocked() -> Bool {
        owner.stamp += 1
        func visit(_ fence: SimulationFence) -> Bool {
            if fence.isDone == true || fence.stamp == owner.stamp { return false }
            fence.stamp = owner.stamp
            return fence.kind == .caller || fence.kind == .hold || fence.must.contains(where: visit) || fence.may.contains(where: visit)
        }
        return visit(self)
    }

    /// False if something it has to wait for is known not to have finished.
    var couldBeDone: Bool { !observedDependencies().contains { $0.isDone == false } }

    /// Of an unbind: whether the entries may be cleared. Holds do not keep them, only the fence.
    var couldBeCleared: Bool { !observedDependencies().contains { $0.isDone == false && $0.kind != .hold } }
}

final class SimulationBuffer {
    let index: Int
    let id: UInt64
    var handle: OpaquePointer?
    let size: Int
    var isLocal: Bool
    /// The caller's memory, if it was wrapped.
    let wrapped: UnsafeMutableRawPointer?
    private let allocation: UnsafeMutableRawPointer?
    var cpu: UnsafeMutableRawPointer
    /// What the bytes should be.
    let expected: UnsafeMutableRawPointer
    var isReleased = false
    /// The last job that writes it, and the jobs that read it since.
    var writer: SimulationJob?
    var readers: [SimulationJob] = []
    /// Its memory so far, and the moves between.
    var moves = SimulationMoves()

    init(
        index: Int, id: UInt64, handle: OpaquePointer, size: Int, isLocal: Bool, wrapped: UnsafeMutableRawPointer?,
        allocation: UnsafeMutableRawPointer?, cpu: UnsafeMutableRawPointer
    ) {
        self.index = index
        self.id = id
        self.handle = handle
        self.size = size
        self.isLocal = isLocal
        self.wrapped = wrapped
        self.allocation = allocation
        self.cpu = cpu
        expected = calloc(1, size)!
    }

    deinit {
        free(expected)
        free(allocation)
    }
}

/// One binding: from the bind's call to its unbind's.
final class SimulationBinding {
    let vma: SimulationVMA
    let start: UInt64
    /// Done when the entries are written; later, when write access has been added.
    var bind: SimulationFence
    /// The first of them: the entries are written before it is done.
    let written: SimulationFence
    var isBound = false
    var isReadOnly: Bool
    /// Write access was added, and is there when `bind` is done.
    var isUpgraded = false
    /// Fences attached to it.
    var users: [SimulationFence] = []
    var holds: [SimulationHold] = []
    /// Which of the buffer's memories it shows: how many moves there were before.
    let generation: Int

    init(_ vma: SimulationVMA, start: UInt64, bind: SimulationFence, isReadOnly: Bool) {
        generation = vma.buffer.moves.generation
        self.vma = vma
        self.start = start
        self.bind = bind
        written = bind
        self.isReadOnly = isReadOnly
    }

    var end: UInt64 { start + vma.size }
    /// What it takes of the address space, with its guards.
    var low: UInt64 { start - vma.guardSize }
    var high: UInt64 { end + vma.guardSize }
    /// What its unbind waits for.
    var dependencies: [SimulationFence] { users + [bind] + unfinishedHolds }
    var unfinishedHolds: [SimulationFence] { holds.map(\.fence).filter { $0.isDone != true } }
    var isHeld: Bool { !unfinishedHolds.isEmpty }
}

final class SimulationVMA {
    let index: Int
    var handle: OpaquePointer?
    let space: SimulationSpace
    let buffer: SimulationBuffer
    let fixed: UInt64?
    let alignment: UInt64
    let color: UInt32
    let isReadOnly: Bool
    let guardSize: UInt64
    let view: SimulationView?
    var binding: SimulationBinding?
    var pins = 0
    var size: UInt64 { view?.size ?? UInt64(buffer.size) }
    /// Without padding.
    var mappedBytes: UInt64 { view?.mappedBytes ?? size }

    init(
        index: Int, handle: OpaquePointer, space: SimulationSpace, buffer: SimulationBuffer, fixed: UInt64?,
        alignment: UInt64, color: UInt32, isReadOnly: Bool, guardSize: UInt64, view: SimulationView?
    ) {
        self.index = index
        self.handle = handle
        self.space = space
        self.buffer = buffer
        self.fixed = fixed
        self.alignment = alignment
        self.color = color
        self.isReadOnly = isReadOnly
        self.guardSize = guardSize
        self.view = view
    }

    func bufferOffset(of offset: UInt64) -> UInt64? { view == nil ? offset : view!.bufferOffset(of: offset) }
}

/// A scheduled unbind: the binding it ended and its fence.
struct SimulationUnbind {
    let binding: SimulationBinding
    let fence: SimulationFence
    /// The entries were written when it was scheduled, and have not been lost.
    var wasBound: Bool
    /// The entries are sure to be lost.
    var isLost = false
    /// Held, and its entries were cleared within the call all the same: no bind waits for it. Nil: perhaps.
    var wasImmediate: Bool? = false
}

final class SimulationSpace {
    let index: Int
    let id: UInt64
    var handle: OpaquePointer?
    var isClosed = false
    var isSuspended = false
    let policy: UInt32
    let size: UInt64
    let pageSizes: UInt64
    let hasColors: Bool
    let hasTableModes: Bool
    var vmas: [SimulationVMA] = []
    /// In the order of scheduling; those known to be done are taken out.
    var pending: [SimulationUnbind] = []
    /// Any VMA whose bind or unbind could not be observed makes some figures inexact.
    var binds: UInt64 = 0
    var unbinds: UInt64 = 0

    init(
        index: Int, id: UInt64, handle: OpaquePointer, policy: UInt32, size: UInt64, pageSizes: UInt64, hasColors: Bool,
        hasTableModes: Bool
    ) {
        self.index = index
        self.id = id
        self.handle = handle
        self.policy = policy
        self.size = size
        self.pageSizes = pageSizes
        self.hasColors = hasColors
        self.hasTableModes = hasTableModes
    }

    var smallestPage: UInt64 { pageSizes & (~pageSizes &+ 1) }
    var bindings: [SimulationBinding] { vmas.compactMap(\.binding) }

    func largestPage(fitting size: UInt64) -> UInt64 {
        [0x20_0000, 0x1_0000, 0x1000].first { pageSizes & $0 != 0 && $0 <= size } ?? smallestPage
    }

    /// True if a VMA may not be put there: it would overlap a neighbour, or be too near one of another color.
    func isTaken(_ start: UInt64, _ end: UInt64, color: UInt32, by others: [SimulationBinding]? = nil) -> Bool {
        (others ?? bindings).contains { other in
            let gap: UInt64 = hasColors && other.vma.color != color ? 0x1000 : 0
            return start < other.high + gap && other.low < end + gap
        }
    }

    func alignment(of vma: SimulationVMA) -> UInt64 {
        max(vma.alignment == 0 ? largestPage(fitting: vma.size) : vma.alignment, smallestPage)
    }

    /// True if there is a place beside the others: tried at the lowest address of every hole.
    func hasRoom(
        _ bytes: UInt64, alignment: UInt64, color: UInt32, above lowest: UInt64 = 0, beside others: [SimulationBinding]
    ) -> Bool {
        let candidates: [UInt64] = [lowest] + others.map(\.high) + others.map { $0.high + 0x1000 }
        return candidates.contains { candidate in
            let start = (candidate + alignment - 1) / alignment * alignment
            return start >= lowest && start + bytes <= size && !isTaken(start, start + bytes, color: color, by: others)
        }
    }

    /// The unbinds that a bind of that range has to wait for, as far as they are not known to be done.
    func awaited(_ start: UInt64, _ end: UInt64) -> [SimulationUnbind] {
        let margin: UInt64 = hasColors ? 0x1000 : 0
        return pending.filter { unbind in
            unbind.wasImmediate == false
                && (policy == UNBIND_POLICY_TIMELINE
                    || (start < unbind.binding.high + margin && unbind.binding.low < end + margin))
        }
    }

    /// The unbinds that it may wait for besides: those in the tables at its ends, if their mode changes, and those that
    /// are held and may have been immediate.
    func maybeAwaited(_ start: UInt64, _ end: UInt64) -> [SimulationUnbind] {
        if policy == UNBIND_POLICY_TIMELINE { return pending.filter { $0.wasImmediate != false } }
        if !hasTableModes { return pending.filter { $0.wasImmediate == nil } }
        let block: UInt64 = 0x20_0000
        let (first, limit) = (start / block * block, (end + block - 1) / block * block)
        return pending.filter { $0.wasImmediate == nil || ($0.binding.low < limit && first < $0.binding.high) }
    }

    func forgetFinished() { pending.removeAll { $0.fence.isDone == true } }
}

final class SimulationQueue {
    var handle: OpaquePointer?
    let space: SimulationSpace
    let id: UInt64
    var last: SimulationFence?
    var submitted: UInt64 = 0

    init(handle: OpaquePointer, space: SimulationSpace, id: UInt64) {
        self.handle = handle
        self.space = space
        self.id = id
    }
}

/// A place in a buffer, and the GPU address a job reaches it through.
struct SimulationPlace {
    let buffer: SimulationBuffer
    let offset: Int
    let address: UInt64
    /// Of the buffer's memory.
    let generation: Int
}

enum SimulationCommand {
    case fill(SimulationPlace, size: Int, value: UInt32)
    case copy(to: SimulationPlace, from: SimulationPlace, size: Int)
    case store(SimulationPlace, value: UInt64)
    case load(SimulationPlace, slot: Int)
    case delay(UInt64)
    case wait(SimulationFence)
    /// One that is not allowed. `kinds`: the faults it may cause; `mayPass`: it may also go unnoticed.
    case stray(address: UInt64, isWrite: Bool, kinds: [UInt32], mayPass: Bool, over: SimulationBinding?)
}

final class SimulationJob {
    let queue: SimulationQueue
    let seqno: UInt64
    let fence: SimulationFence
    let commands: [SimulationCommand]
    let waits: [SimulationFence]
    let bindings: [SimulationBinding]
    /// What LOAD commands and stray reads write to.
    let results: UnsafeMutablePointer<UInt64>
    var isApplied = false
    static var canary: UInt64 { 0x5ca1_ab1e_0ddb_a115 }

    init(
        queue: SimulationQueue, fence: SimulationFence, commands: [SimulationCommand], waits: [SimulationFence],
        bindings: [SimulationBinding], results: UnsafeMutablePointer<UInt64>
    ) {
        self.queue = queue
        seqno = queue.submitted
        self.fence = fence
        self.commands = commands
        self.waits = waits
        self.bindings = bindings
        self.results = results
    }

    deinit { results.deallocate() }
}

/// One leaf entry, as compared between runs.
struct SimulationPage: Equatable {
    let address: UInt64
    let size: UInt64
    let flags: UInt32
    let buffer: UInt64
    let offset: UInt64
}

/// What the programs of a test have exercised, so that a generator that misses its target is noticed.
struct SimulationCoverage {
    var programs = 0
    var steps = 0
    var binds = 0
    var awaited = 0
    var immediate = 0
    var deferred = 0
    var jobs = 0
    var faults = 0
    var suspends = 0
    var resumedPages = 0

    var pins = 0
    var moves = 0
    var upgrades = 0
    var views = 0
    var evictions = 0

    var holds = 0
    var heldUnbinds = 0
    var migrations = 0
    var losses = 0
    var cpuMoves = 0
    var objectUnbinds = 0
    var refusals = 0
    var dyingJobs = 0
    var closes = 0

    mutating func add(_ other: SimulationCoverage) {
        programs += 1
        steps += other.steps
        binds += other.binds
        awaited += other.awaited
        immediate += other.immediate
        deferred += other.deferred
        jobs += other.jobs
        faults += other.faults
        pins += other.pins
        moves += other.moves
        upgrades += other.upgrades
        views += other.views
        evictions += other.evictions
        holds += other.holds
        heldUnbinds += other.heldUnbinds
        migrations += other.migrations
        losses += other.losses
        cpuMoves += other.cpuMoves
        objectUnbinds += other.objectUnbinds
        refusals += other.refusals
        dyingJobs += other.dyingJobs
        closes += other.closes
        suspends += other.suspends
        resumedPages += other.resumedPages
    }
}
