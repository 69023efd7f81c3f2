import CSystem
import Synchronization
import Testing

@testable import UnbindCore

/// Memory that really goes away.
private func mapPages(_ size: Int) -> UInt64 {
    let memory = csys_pages_map(size)!
    memset(memory, 0x5A, size)
    return UInt64(UInt(bitPattern: memory))
}

private func unmapPages(_ address: UInt64, _ size: Int) {
    munmap(UnsafeMutableRawPointer(bitPattern: UInt(address))!, size)
}

/// Runs the body on so many threads of its own at once.
private func inParallel(_ count: Int, _ body: (Int) -> Void) {
    struct Task {
        let index: Int
        let body: (Int) -> Void
    }
    withoutActuallyEscaping(body) { body in
        var threads = [pthread_t](repeating: pthread_t(), count: count)
        let tasks = UnsafeMutablePointer<Task>.allocate(capacity: count)
        for index in 0..<count {
            (tasks + index).initialize(to: Task(index: index, body: body))
            let result = pthread_create(
                &threads[index], nil,
                { argument in
                    let task = argument!.assumingMemoryBound(to: Task.self).pointee
                    task.body(task.index)
                    return nil
                }, tasks + index)
            precondition(result == 0)
        }
        for thread in threads { pthread_join(thread, nil) }
        tasks.deinitialize(count: count)
        tasks.deallocate()
    }
}

private func sleepUntilSignalled(_ fence: FencePointer) {
    try! fence.sleep(until: .max, interruptible: false)
}

@Suite struct EngineThreadTests {
    @Test("memory may be unmapped after an invalidation while engines go on using its addresses")
    func unmapWhileCopying() {
        let test = TestGPU(executor: .pool)
        let space = test.space()
        let size = 0x3_0000
        let engines = (1...3).map { try! test.gpu.makeEngine(space: space, id: $0, timeline: $0) }
        let targets = engines.indices.map { index in
            test.bind(space, at: UInt64(index + 1) << 30, size: UInt64(size), to: test.block(size))
        }
        let isDone = Atomic<Bool>(false)
        let completed = Atomic<Int>(0)
        inParallel(3) { thread in
            if thread == 0 {
                // Binds, unbinds and unmaps; every other time the pages are such that one leaf of 64 KiB is used.
                for round in 0..<150 {
                    let memory = mapPages(size)
                    let source = UInt64(round % 2) * 0x1000
                    let binding = test.bind(space, at: 0x10_0000 + source, size: UInt64(size), to: memory)
                    if round % 3 == 0 { usleep(50) }
                    test.unbind(space, binding)
                    unmapPages(memory, size)
                }
                isDone.store(true, ordering: .releasing)
                return
            }
            var round = 0
            while !isDone.load(ordering: .acquiring) {
                round += 1
                let index = thread == 1 ? 0 : 1 + round % 2
                let commands = [
                    Command(kind: .copy, address: targets[index].start, source: 0x10_0000, size: UInt64(size)),
                    Command(kind: .load, address: 0x10_1000, result: nil),
                ]
                let fence = test.submit(engines[index], commands)
                sleepUntilSignalled(fence)
                #expect(fence.error == 0 || fence.error == Status.fault.raw)
                if fence.error == 0 { completed.wrappingAdd(1, ordering: .relaxed) }
                fence.drop()
            }
        }
        try! test.executor.waitIdle(timeout: .max, absolute: false, interruptible: false)
        #expect(completed.load(ordering: .relaxed) + test.faults.count > 0)
        #expect(test.faults.allSatisfy { $0.kind != .readOnly && $0.access == .read })
        for binding in targets { test.unbind(space, binding) }
        space.checkInvariants()
        for engine in engines { engine.free() }
        test.gpu.freeSpace(space)
    }

    @Test("jobs with gates and WAIT commands, appended and released by several threads, all end in order")
    func gatesFromThreads() {
        let test = TestGPU(executor: .pool)
        let space = test.space()
        let engines = (1...2).map { try! test.gpu.makeEngine(space: space, id: $0, timeline: $0) }
        let block = test.block(0x2000)
        let binding = test.bind(space, at: 0, size: 0x2000, to: block)
        let rounds = 150
        let gates = (0..<rounds).map { _ in makeTestFence() }
        let waits = (0..<rounds).map { _ in makeTestFence() }
        inParallel(4) { thread in
            if thread < 2 {
                var fences: [FencePointer] = []
                for round in 0..<rounds {
                    let after = [gates[round]] + (fences.last.map { [$0] } ?? [])
                    let store = Command(kind: .store, address: UInt64(thread) * 0x1000, value: UInt64(round))
                    let wait = Command(kind: .wait, fence: waits[round])
                    fences.append(test.submit(engines[thread], [wait, store], after: after))
                }
                sleepUntilSignalled(fences.last!)
                for fence in fences {
                    #expect(fence.isSignalled && fence.error == 0)
                    fence.drop()
                }
            } else {
                let mine = thread == 2 ? gates : waits
                for fence in mine { fence.signal(at: 0) }
            }
        }
        try! test.executor.waitIdle(timeout: .max, absolute: false, interruptible: false)
        let last = UInt64(rounds - 1)
        for thread in 0..<2 {
            let word = UnsafePointer<UInt64>(bitPattern: UInt(block) + UInt(thread) * 0x1000)!
            #expect(word.pointee == last)
        }
        for fence in gates + waits { fence.drop() }
        #expect(test.jobs.liveCount == 0 && test.awaits.liveCount == 0)
        test.unbind(space, binding)
        for engine in engines { engine.free() }
        test.gpu.freeSpace(space)
    }

    @Test("several threads reserve, write, clear and look at neighbouring ranges of one space")
    func tablesFromThreads() {
        let test = TestGPU(executor: .pool)
        let space = test.space()
        inParallel(3) { thread in
            if thread == 2 {
                for _ in 0..<300 {
                    if let page = space.findPage(endingAfter: 0) { #expect(page.leaf.entry.isPresent) }
                }
                return
            }
            for round in 0..<300 {
                let binding = Binding(
                    start: 0x1F_0000 + UInt64(thread) * 0x1_0000, size: 0x1_0000,
                    physical: 0x10_0000_0000 + UInt64(round % 3) * 0x1000, isLocal: false, isReadOnly: false)
                try! space.reserve(binding)
                if round % 5 == 0 {
                    space.cancel(binding)
                } else {
                    #expect(space.write(binding) == 16)
                    test.unbind(space, binding)
                }
            }
        }
        space.checkInvariants()
        test.gpu.invalidate(space, start: 0, size: .max)
        space.freeRetired()
        #expect(test.gpu.pointee.tables.liveCount == 1)
        test.gpu.freeSpace(space)
    }
}
