// Random batches against the page-granular model: many seeds, each a program on a simulated device.
// UNBIND_SEEDS=n runs n seeds, UNBIND_BATCHES=n makes that many batches in each, UNBIND_SEED=k runs one and says what
// it does.

import CUnbind
import Glibc
import Testing

@Suite struct BatchModelTests {
    static let chunks = 4

    private static func number(_ name: String) -> Int? { getenv(name).flatMap { Int(String(cString: $0)) } }

    @Test(
        "random batches leave the page tables that the model has, and failed ones change nothing",
        arguments: 0..<chunks)
    func randomBatches(chunk: Int) {
        SeedReport.install()
        let batches = Self.number("UNBIND_BATCHES") ?? 100
        var coverage = BatchRun.Coverage()
        if let seed = Self.number("UNBIND_SEED") {
            if chunk == 0 { Self.run(.init(seed: UInt64(seed), batches: batches, isVerbose: true), chunk, &coverage) }
            return
        }
        let seeds = Self.number("UNBIND_SEEDS") ?? 500
        var failures = 0
        for seed in stride(from: chunk, to: seeds, by: Self.chunks) {
            if !Self.run(.init(seed: UInt64(seed), batches: batches), chunk, &coverage) { failures += 1 }
            if failures == 3 { return }
        }
        // The programs do what they are for; far below what they reach.
        let runs = seeds / Self.chunks
        if runs < 25 || batches < 50 { return }
        #expect(coverage.operations > 2 * runs * batches && coverage.pages > 10 * runs * batches, "\(coverage)")
        #expect(coverage.splits > runs * batches / 4 && coverage.kept > runs * batches / 20, "\(coverage)")
        #expect(coverage.refusals > runs * batches / 40 && coverage.starved > runs * batches / 10, "\(coverage)")
        #expect(coverage.blocked > runs * batches / 10 && coverage.jobs > runs * batches / 10, "\(coverage)")
        #expect(coverage.faults > runs * batches / 200, "\(coverage)")
    }

    @discardableResult
    private static func run(_ plan: BatchRun.Plan, _ chunk: Int, _ coverage: inout BatchRun.Coverage) -> Bool {
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
