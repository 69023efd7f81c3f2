// The Swift interface to locks and fences of buffers, and to fences made of fences and times.

import Testing
import Unbind

@Suite("The Swift interface to sharing")
struct SharingTests {
    @Test("fences made of fences signal with all, with any, and give their leaves")
    func composites() throws {
        let device = try Device(.init(executor: .simulated()))
        let fences = try (0..<3).map { _ in try Fence(of: device) }
        let (all, any) = (try Fence.all(of: fences), try Fence.any(of: fences))
        let merged = try Fence.merging([fences[0], fences[0], try Fence.signaled(of: device)])
        #expect(merged.handle == fences[0].handle)
        #expect(Set(try all.leaves().map(\.handle)) == Set(fences.map(\.handle)))
        #expect(try any.leaves().map(\.handle) == [any.handle])
        try fences[1].signal(error: .pageFault)
        #expect(any.isSignaled && !all.isSignaled)
        #expect(try any.error() == .pageFault && all.leaves().count == 2)
        try fences[0].signal()
        try fences[2].signal()
        #expect(try all.error() == .pageFault && all.leaves().isEmpty)
        #expect(throws: UnbindError.invalidArgument) { try Fence.all(of: []) }
    }

    @Test("a timeline reaches its points in order")
    func timelines() throws {
        let device = try Device(.init(executor: .simulated()))
        let timeline = try Timeline(of: device)
        let fences = try (0..<2).map { _ in try Fence(of: device) }
        try timeline.add(1, after: fences[0])
        try timeline.add(5, after: fences[1])
        try timeline.signal(6)
        let points = try [1, 2, 6].map { try timeline.point($0) }
        #expect(throws: UnbindError.notYet) { try timeline.point(7) }
        try fences[1].signal()
        #expect(timeline.value == 0 && !points.contains { $0.isSignaled })
        try fences[0].signal()
        #expect(timeline.value == 6 && points.allSatisfy { $0.isSignaled })
    }

    @Test("fences signal at their time, and a deadline ends a wait")
    func times() throws {
        let device = try Device(.init(executor: .simulated()))
        let fence = try Fence(of: device)
        let (timer, limited) = (try Fence(of: device, at: 500), try fence.withDeadline(300))
        try limited.wait()
        #expect(device.now == 300 && !timer.isSignaled)
        #expect(try limited.error() == .timedOut)
        try timer.wait()
        #expect(device.now == 500)
        #expect(try timer.error() == nil && timer.timestamp() == 500)
    }

    @Test("a context locks many buffers, gives way to an older one, and begins again")
    func locks() throws {
        let device = try Device(.init(executor: .simulated()))
        let buffers = try (0..<4).map { _ in try BufferObject(of: device, size: 0x1000) }
        let (older, younger) = (try LockContext(of: device), try LockContext(of: device))
        try younger.lock(buffers[0])
        #expect(throws: UnbindError.alreadyLocked) { try younger.lock(buffers[0]) }
        #expect(try older.tryLock(buffers[0]) == false && older.tryLock(buffers[1]))
        #expect(throws: UnbindError.deadlock) { try older.lock(buffers[0]) }
        #expect(younger.isWounded && !older.isWounded)
        var rounds = 0
        try younger.untilAllLocked { (locks) throws(UnbindError) in
            rounds += 1
            try locks.lock(buffers[2])
            if rounds > 1 { try locks.lock(buffers[3]) }
        }
        #expect(rounds == 2 && !younger.isWounded)
        try older.lock(buffers[0])
        try younger.unlock(buffers[2])
        younger.unlockAll()
        older.unlockAll()
        try younger.lockSlowly(buffers[0])
        younger.unlockAll()
        try older.lock(buffers, reserving: 2)
        #expect(try younger.tryLock(buffers[3]) == false)
        #expect(throws: UnbindError.deadlock) {
            try younger.untilAllLocked { (locks) throws(UnbindError) in try locks.lock(buffers[3]) }
        }
    }

    @Test("the fences of a buffer are added, listed, merged, copied and waited for by usage")
    func fences() throws {
        let device = try Device(.init(executor: .simulated()))
        let buffers = try (0..<2).map { _ in try BufferObject(of: device, size: 0x1000) }
        let locks = try LockContext(of: device)
        let fences = try (0..<4).map { _ in try Fence(of: device) }
        try locks.lock(buffers, reserving: 4)
        for (fence, usage) in zip(fences, BufferObject.Usage.allCases) {
            try buffers[0].add(fence, as: usage, in: locks)
        }
        #expect(throws: UnbindError.noSpace) { try buffers[0].add(fences[0], as: .read, in: locks) }
        try buffers[0].reserveFences(1, in: locks)
        try buffers[0].unreserveFences(1, in: locks)
        try buffers[1].copyFences(from: buffers[0], in: locks)
        #expect(try buffers[1].fences(.read).count == 3)
        #expect(try buffers[0].uses(.bookkeep).map(\.usage) == BufferObject.Usage.allCases)
        #expect(try buffers[0].uses(.write).map(\.fence.handle) == fences.prefix(2).map(\.handle))
        let merged = try buffers[0].fence(.write)
        #expect(throws: UnbindError.timedOut) { try buffers[0].wait(for: .write, timeout: .nanoseconds(10)) }
        try fences[0].signal()
        try fences[1].signal()
        #expect(merged.isSignaled && buffers[0].isSignaled(.write) && !buffers[0].isSignaled(.read))
        try buffers[0].wait(for: .write)
        try fences[2].signal()
        try fences[3].signal()
        try buffers[1].wait()
    }
}
