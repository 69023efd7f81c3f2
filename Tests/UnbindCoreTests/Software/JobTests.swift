import CSystem
import Synchronization
import Testing

@testable import UnbindCore

@Suite struct JobTests {
    @Test("an engine knows where its work item is, and a job begins with its fence")
    func layout() {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let item = withUnsafePointer(to: &engine.pointee.item) { UnsafeRawPointer($0) }
        #expect(item == UnsafeRawPointer(engine.itemPointer))
        let job = try! test.gpu.makeJob(for: engine, commandCount: 0)
        #expect(job.fence.pointee.magic == Fence.magic)
        job.discard()
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("jobs run in order, each with the next place in the timeline")
    func order() {
        let test = TestGPU(costs: CostModel.simulatedDefault)
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 5)
        let block = test.block(0x1000)
        let binding = test.bind(space, at: 0, size: 0x1000, to: block)
        let fences = (0..<20).map { index in
            test.submit(engine, [Command(kind: .store, address: 8, value: UInt64(index))])
        }
        test.run()
        #expect(bytes(block + 8, 1) == [19])
        for (index, fence) in fences.enumerated() {
            #expect(fence.isSignalled && fence.seqno == UInt64(index + 1) && fence.context == 5)
            #expect(fence.pointee.timestamp == UInt64(index + 1) * 1001)
            fence.drop()
        }
        #expect(engine.isIdle)
        test.unbind(space, binding)
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("a command has its effect and its fault at its end, and lateness never adds up")
    func times() {
        let costs = CostModel(ptePicoseconds: 0, tlbFlushNanoseconds: 0, bytePicoseconds: 1000, commandNanoseconds: 10)
        let test = TestGPU(costs: costs)
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let block = test.block(0x2_0000)
        let binding = test.bind(space, at: 0, size: 0x2_0000, to: block)
        let wait = makeTestFence()
        let fence = test.submit(
            engine,
            [
                Command(kind: .fill, address: 0, size: 0x2_0000, value: 0),  // ends at 10 + 131072
                Command(kind: .delay, value: 900),
                Command(kind: .wait, fence: wait),
                Command(kind: .copy, address: 0x2_0000, source: 0, size: 90),  // faults at its end
            ])
        try! test.executor.runUntil(131_081)
        #expect(bytes(block, 16) != Array(repeating: 0, count: 16))
        try! test.executor.runUntil(131_082)
        #expect(bytes(block, 0x2_0000).allSatisfy { $0 == 0 })
        try! test.executor.runUntil(200_000)
        #expect(!fence.isSignalled)
        wait.signal(at: 200_000)
        test.run()
        #expect(fence.error == Status.fault.raw && fence.pointee.timestamp == 200_100)
        #expect(test.faults.count == 1 && test.faults[0].time == 200_100 && test.faults[0].address == 0x2_0000)
        fence.drop()
        wait.drop()
        test.unbind(space, binding)
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("a job starts when its last awaited fence has signalled, whenever that is", arguments: 0..<8)
    func gates(mask: Int) {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let fences = (0..<3).map { _ in makeTestFence() }
        for (index, fence) in fences.enumerated() where mask & 1 << index != 0 { fence.signal(at: 0) }
        let job = test.submit(engine, [Command(kind: .delay)], after: fences)
        let behind = test.submit(engine, [])
        for (index, fence) in fences.enumerated() where mask & 1 << index == 0 {
            test.run()
            #expect(!job.isSignalled && !behind.isSignalled)
            fence.signal(at: 0)
        }
        test.run()
        #expect(job.isSignalled && job.error == 0 && behind.isSignalled)
        for fence in fences + [job, behind] { fence.drop() }
        #expect(test.awaits.liveCount == 0 && test.jobs.liveCount == 0)
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("an error of an awaited fence skips the commands and is carried on", arguments: [false, true])
    func errorsCarriedByGates(early: Bool) {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let fence = makeTestFence()
        if early { fence.signal(error: -5, at: 0) }
        let job = test.submit(engine, [Command(kind: .store, address: 0)], after: [fence])
        let dependent = test.submit(engine, [Command(kind: .store, address: 0)], after: [job])
        let free = test.submit(engine, [Command(kind: .delay)])
        fence.signal(error: -5, at: 0)
        test.run()
        #expect(job.error == -5 && dependent.error == -5 && free.isSignalled && free.error == 0)
        #expect(test.faults.isEmpty)
        for fence in [fence, job, dependent, free] { fence.drop() }
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("a WAIT command stops the engine until its fence has signalled, and fails the job with its error")
    func waits() {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let fences = (0..<4).map { _ in makeTestFence() }
        fences[1].signal(at: 0)
        let block = test.block(0x1000)
        let binding = test.bind(space, at: 0, size: 0x1000, to: block)
        let first = test.submit(
            engine,
            [
                Command(kind: .wait, fence: fences[0]), Command(kind: .store, address: 0, value: 1),
                Command(kind: .wait, fence: fences[1]), Command(kind: .wait, fence: fences[2]),
                Command(kind: .store, address: 0, value: 2),
            ])
        let second = test.submit(
            engine, [Command(kind: .wait, fence: fences[3]), Command(kind: .store, address: 0, value: 3)])
        test.run()
        #expect(bytes(block, 2) == [0, 7])
        fences[0].signal(at: 0)
        test.run()
        #expect(bytes(block, 1) == [1] && !first.isSignalled && !engine.isIdle)
        fences[2].signal(at: 0)
        test.run()
        #expect(bytes(block, 1) == [2] && first.isSignalled && first.error == 0 && !second.isSignalled)
        fences[3].signal(error: -17, at: 0)
        test.run()
        #expect(bytes(block, 1) == [2] && second.error == -17)
        for fence in fences + [first, second] { fence.drop() }
        #expect(test.awaits.liveCount == 0 && test.jobs.liveCount == 0 && engine.isIdle)
        test.unbind(space, binding)
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("a job discarded before or after admission leaves nothing, and the queue works on")
    func discards() {
        let test = TestGPU()
        let space = test.space()
        let engine = try! test.gpu.makeEngine(space: space, id: 1, timeline: 1)
        let fence = makeTestFence()
        for admitted in [false, true] {
            let job = try! test.gpu.makeJob(for: engine, commandCount: 3)
            try! job.add(Command(kind: .wait, fence: fence))
            try! job.await(fence)
            if admitted { engine.admit(job) }
            job.discard()
        }
        #expect(test.awaits.liveCount == 0 && test.jobs.liveCount == 0)
        #expect(test.runJob(engine, []) == 0)
        fence.signal(at: 0)
        fence.drop()
        engine.free()
        test.gpu.freeSpace(space)
    }

    @Test("long work that costs nothing gives others a turn")
    func turns() {
        let test = TestGPU()
        let space = test.space()
        let engines = (1...2).map { try! test.gpu.makeEngine(space: space, id: UInt64($0), timeline: UInt64($0)) }
        let block = test.block(8 << 20)
        let binding = test.bind(space, at: 0, size: 8 << 20, to: block)
        let before = test.executor.itemsRun
        let fences = engines.map { test.submit($0, [Command(kind: .fill, address: 0, size: 8 << 20, value: 0)]) }
        test.run()
        #expect(test.executor.itemsRun - before >= 4)
        for fence in fences { fence.drop() }
        test.unbind(space, binding)
        for engine in engines { engine.free() }
        test.gpu.freeSpace(space)
    }

    @Test("the owner may free the engine when its last job has ended")
    func freeFromHook() {
        let test = TestGPU()
        let space = test.space()
        let count = UnsafeMutablePointer<(Int, EnginePointer?)>.allocate(capacity: 1)
        let engine = try! test.gpu.makeEngine(
            space: space, id: 1, timeline: 1,
            jobEnded: { context, _ in
                let count = context!.assumingMemoryBound(to: (Int, EnginePointer?).self)
                count.pointee.0 -= 1
                if count.pointee.0 == 0 { count.pointee.1!.free() }
            }, context: UnsafeMutableRawPointer(count))
        count.initialize(to: (3, engine))
        for _ in 0..<3 { test.submit(engine, [Command(kind: .delay, value: 5)]).drop() }
        test.run()
        #expect(count.pointee.0 == 0 && space.pointee.engines == nil && test.jobs.liveCount == 0)
        count.deallocate()
        test.gpu.freeSpace(space)
    }
}
