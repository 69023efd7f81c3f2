// The reference-model test: many seeds, each a random program on a simulated device, compared with the naive model
// after every step. UNBIND_SEEDS=n runs n seeds, beginning with UNBIND_FIRST_SEED; UNBIND_SEED=k runs one and says what
// it does.

import CUnbind
import Glibc
import Testing

@Suite struct SimulationTests {
    static let chunks = 4

    @Test("random programs agree with the reference model", arguments: 0..<chunks)
    func randomProgramsAgreeWithTheModel(chunk: Int) {
        SeedReport.install()
        var coverage = SimulationCoverage()
        if let seed = SeedReport.number("UNBIND_SEED") {
            if chunk == Int(seed % 4) { Self.runSeed(seed, chunk: chunk, isVerbose: true, &coverage) }
            return
        }
        var failures = 0
        let first = SeedReport.number("UNBIND_FIRST_SEED") ?? 0
        for seed in first..<first + (SeedReport.number("UNBIND_SEEDS") ?? 5000) where seed % UInt64(Self.chunks) == chunk {
            if !Self.runSeed(seed, chunk: chunk, isVerbose: false, &coverage) { failures += 1 }
            if failures == 5 { return }
        }
        // The programs do what they are for; far below what they reach.
        let programs = coverage.programs
        if programs < 100 { return }
        #expect(coverage.steps > 30 * programs && coverage.binds > 4 * programs, "\(coverage)")
        #expect(coverage.immediate > programs / 2 && coverage.deferred > programs, "\(coverage)")
        #expect(coverage.awaited > programs / 4 && coverage.jobs > programs, "\(coverage)")
        #expect(coverage.faults > programs / 20, "\(coverage)")
        #expect(coverage.pins > programs / 2 && coverage.moves > programs / 60, "\(coverage)")
        #expect(coverage.upgrades > programs / 20 && coverage.views > programs / 4, "\(coverage)")
        #expect(coverage.evictions > programs / 4, "\(coverage)")
        #expect(coverage.suspends > programs / 4 && coverage.resumedPages > programs / 4, "\(coverage)")
        #expect(coverage.migrations > programs / 2 && coverage.objectUnbinds > programs / 4, "\(coverage)")
        // All of the first are calm.
        if chunk == 0 { return }
        #expect(coverage.holds > programs / 2 && coverage.heldUnbinds > programs / 20, "\(coverage)")
        #expect(coverage.losses > programs / 100 && coverage.cpuMoves > programs / 100, "\(coverage)")
        #expect(coverage.refusals > programs / 4, "\(coverage)")
        #expect(coverage.dyingJobs > programs / 10 && coverage.closes > programs / 4, "\(coverage)")
    }

    /// One seed: every fourth is a calm program, run under the three policies; some are run twice.
    @discardableResult
    private static func runSeed(
        _ seed: UInt64, chunk: Int, isVerbose: Bool, _ coverage: inout SimulationCoverage
    ) -> Bool {
        SeedReport.set(seed, chunk: chunk)
        do {
            var plan = Simulation.Plan(seed: seed, isVerbose: isVerbose)
            if seed % 4 == 0 {
                try runUnderEachPolicy(&plan, &coverage)
            } else {
                let first = try run(plan)
                coverage.add(first.coverage)
                if seed % 8 == 1 { try compareRepeated(first, run(plan)) }
            }
            return true
        } catch {
            let replay = "UNBIND_SEED=\(seed) swift test --filter SimulationTests"
            Issue.record("seed \(seed): \(error)\n  replay: \(replay)")
            return false
        }
    }

    private static func run(_ plan: Simulation.Plan) throws -> Simulation.Outcome {
        if plan.isVerbose { print("seed \(plan.seed), policy \(plan.policy.map(String.init) ?? "any")") }
        return try Simulation(plan).run()
    }

    private static func runUnderEachPolicy(
        _ plan: inout Simulation.Plan, _ coverage: inout SimulationCoverage
    ) throws {
        plan.isCalm = true
        var outcomes: [Simulation.Outcome] = []
        for policy in [UNBIND_POLICY_RANGES, UNBIND_POLICY_TIMELINE, UNBIND_POLICY_SYNC] {
            plan.policy = UInt32(policy)
            do {
                outcomes.append(try run(plan))
                coverage.add(outcomes.last!.coverage)
            } catch {
                throw SimulationFailure("policy \(policy): \(error)")
            }
        }
        for (policy, outcome) in outcomes.enumerated().dropFirst() {
            try require(outcome.pages == outcomes[0].pages, "policy \(policy) ends with other page tables than ranges")
            try require(outcome.bytes == outcomes[0].bytes, "policy \(policy) ends with other bytes than ranges")
        }
        if plan.seed % 16 == 0 {
            plan.policy = UInt32(UNBIND_POLICY_RANGES)
            try compareRepeated(outcomes[0], run(plan))
        }
    }

    private static func compareRepeated(_ first: Simulation.Outcome, _ second: Simulation.Outcome) throws {
        try require(first.digest == second.digest, "the same seed gave another schedule")
        try require(first.now == second.now, "the same seed took another time")
        try require(first.statistics == second.statistics, "the same seed gave other figures")
        try require(first.pages == second.pages && first.bytes == second.bytes, "the same seed ended otherwise")
    }
}

/// Which seeds are wanted, and which were running when an invariant stopped the process.
enum SeedReport {
    /// A number that the environment gives; nil if none.
    static func number(_ name: String) -> UInt64? { getenv(name).flatMap { UInt64(String(cString: $0)) } }

    // One slot a chunk, written by the chunk's own task and read by the signal handler only.
    nonisolated(unsafe) private static let seeds = {
        let slots = UnsafeMutablePointer<UInt64>.allocate(capacity: SimulationTests.chunks)
        slots.initialize(repeating: UInt64.max, count: SimulationTests.chunks)
        return slots
    }()

    private static let installed: Void = {
        _ = seeds
        for number in [SIGABRT, SIGILL, SIGTRAP, SIGSEGV, SIGBUS] {
            signal(number) { number in
                SeedReport.write("simulation: stopped by signal; seeds that were running, replay with UNBIND_SEED=n:\n")
                for chunk in 0..<SimulationTests.chunks { SeedReport.write(SeedReport.seeds[chunk]) }
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }()

    static func install() { _ = installed }

    static func set(_ seed: UInt64, chunk: Int) { seeds[chunk] = seed }

    private static func write(_ text: StaticString) { _ = Glibc.write(2, text.utf8Start, text.utf8CodeUnitCount) }

    private static func write(_ value: UInt64) {
        if value == UInt64.max { return }
        var digits: InlineArray<24, UInt8> = .init(repeating: 10)
        var rest = value
        var index = 23
        repeat {
            index -= 1
            digits[index] = UInt8(48 + rest % 10)
            rest /= 10
        } while rest > 0
        withUnsafeBytes(of: &digits) { _ = Glibc.write(2, $0.baseAddress! + index, 24 - index) }
    }
}
