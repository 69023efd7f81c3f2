// What the programs of batches have exercised, so that a generator that misses its target is noticed.

import CUnbind

struct BatchCoverage: CustomStringConvertible {
    /// Failed allocations are told apart by how many were made before in the same call.
    static let steps = 512

    var batches = 0, operations = 0, refusals = 0, blocked = 0, splits: UInt64 = 0, merges: UInt64 = 0
    var kept: UInt64 = 0, jobs = 0, faults = 0, pages = 0
    /// Of the page tables, entry by entry, with the model; and with what they were before a batch that failed.
    var comparisons = 0, unchanged = 0
    /// Batches of which every allocation has failed in turn, and those in which an operation was wrong at every place.
    var sweeps = 0, misplaced = 0
    /// What was done when memory was short.
    var evictions: UInt64 = 0, waits: UInt64 = 0, cuts: UInt64 = 0
    /// VMAs that the library unbound to get memory.
    var evicted = 0
    /// Failed batches and, of operations of each kind, how many were in them.
    var starved = 0, starvedKinds = [Int](repeating: 0, count: BatchOperation.kinds)
    /// Whether the allocation of that number failed in a batch that has an operation of that kind.
    private var isReached = [Bool](repeating: false, count: BatchOperation.kinds * steps)

    /// A batch failed for want of memory, after so many allocations.
    mutating func noteFailure(after allocations: Int, _ operations: [BatchOperation]) {
        starved += 1
        for operation in operations {
            let kind = Int(operation.kind)
            starvedKinds[kind] += 1
            if allocations < Self.steps { isReached[kind * Self.steps + allocations] = true }
        }
    }

    /// How many different allocations have failed in batches with an operation of that kind.
    func stepsReached(_ kind: Int) -> Int {
        isReached[kind * Self.steps..<(kind + 1) * Self.steps].count { $0 }
    }

    mutating func add(_ other: BatchCoverage) {
        batches += other.batches
        operations += other.operations
        refusals += other.refusals
        blocked += other.blocked
        splits += other.splits
        merges += other.merges
        kept += other.kept
        jobs += other.jobs
        faults += other.faults
        pages += other.pages
        comparisons += other.comparisons
        unchanged += other.unchanged
        sweeps += other.sweeps
        misplaced += other.misplaced
        evictions += other.evictions
        waits += other.waits
        cuts += other.cuts
        evicted += other.evicted
        starved += other.starved
        for kind in starvedKinds.indices { starvedKinds[kind] += other.starvedKinds[kind] }
        for index in isReached.indices where other.isReached[index] { isReached[index] = true }
    }

    var description: String {
        "\(batches) batches of \(operations) operations that took effect, \(refusals) refused; "
            + "\(comparisons) comparisons with the model, \(unchanged) with before, of \(pages) pages; "
            + "\(splits) splits, \(merges) merges, \(kept) kept; "
            + "\(blocked) not done at once, \(jobs) jobs, \(faults) faults; "
            + "\(starved) failed for want of memory, \(sweeps) batches at each allocation in turn, "
            + "operations in them by kind \(starvedKinds), different allocations "
            + "\(starvedKinds.indices.map(stepsReached)); \(misplaced) with an operation wrong at each place; "
            + "\(evictions) evicting steps (\(evicted) VMAs), \(waits) waiting, \(cuts) cuts"
    }
}
