// Random batches against the page-granular model: many seeds, each a program on a simulated device.
// UNBIND_SEEDS=n runs n seeds, beginning with UNBIND_FIRST_SEED; UNBIND_BATCHES=n makes that many batches in each;
// UNBIND_SEED=k runs one and says what it does.

import CUnbind
import Glibc
import Testing

@Suite struct BatchModelTests {
    static let chunks = 4

    @Test(
        "random batches leave the page tables that the model has, and failed ones change nothing",
        arguments: 0..<chunks)
    func randomBatches(chunk: Int) {
        SeedReport.install()
        let batches = Int(SeedReport.number("UNBIND_BATCHES") ?? 100)
        var coverage = BatchCoverage()
        if let seed = SeedReport.number("UNBIND_SEED") {
            if chunk == 0 { Self.run(.init(seed: seed, batches: batches, isVerbose: true), chunk, &coverage) }
            return
        }
        let first = SeedReport.number("UNBIND_FIRST_SEED") ?? 0
        let seeds = SeedReport.number("UNBIND_SEEDS") ?? 500
        var (failures, programs) = (0, 0)
        for seed in first..<first + seeds where seed % UInt64(Self.chunks) == chunk {
            programs += 1
            if !Self.run(.init(seed: seed, batches: batches), chunk, &coverage) { failures += 1 }
            if failures == 3 { return }
        }
        if batches >= 1000 { print("\(programs) programs: \(coverage)") }
        if programs >= 100 && batches >= 50 && failures == 0 { Self.check(coverage, programs * batches) }
    }

    /// The programs do what they are for; far below what they reach.
    private static func check(_ coverage: BatchCoverage, _ batches: Int) {
        #expect(coverage.batches == batches && coverage.comparisons >= batches, "\(coverage)")
        #expect(coverage.operations > 2 * batches && coverage.pages > 10 * batches, "\(coverage)")
        #expect(coverage.splits > batches / 4 && coverage.kept > batches / 20, "\(coverage)")
        #expect(coverage.merges > batches / 100 && coverage.refusals > batches / 40, "\(coverage)")
        #expect(coverage.blocked > batches / 10 && coverage.jobs > batches / 10, "\(coverage)")
        #expect(coverage.faults > batches / 200, "\(coverage)")
        // Failures: at each allocation, in lists with each kind of operation, and after all that is done against them.
        #expect(coverage.starved > batches / 10 && coverage.unchanged > coverage.starved, "\(coverage)")
        #expect(coverage.sweeps > batches / 500 && coverage.misplaced > batches / 200, "\(coverage)")
        for kind in 0..<BatchOperation.kinds {
            #expect(coverage.starvedKinds[kind] > batches / 500, "operations of kind \(kind): \(coverage)")
            #expect(coverage.stepsReached(kind) > 10, "operations of kind \(kind): \(coverage)")
        }
        #expect(coverage.evictions > batches / 1000 && coverage.waits > batches / 1000, "\(coverage)")
        #expect(coverage.cuts > batches / 1000, "\(coverage)")
        #expect(coverage.evicted > 0 || batches < 100_000, "\(coverage)")
    }

    @discardableResult
    private static func run(_ plan: BatchRun.Plan, _ chunk: Int, _ coverage: inout BatchCoverage) -> Bool {
        SeedReport.set(plan.seed, chunk: chunk)
        do {
            coverage.add(try BatchRun(plan).run())
            return true
        } catch {
            let replay = "UNBIND_BATCHES=\(plan.batches) UNBIND_SEED=\(plan.seed) swift test --filter BatchModelTests"
            Issue.record("seed \(plan.seed): \(error)\n  replay: \(replay)")
            return false
        }
    }
}
