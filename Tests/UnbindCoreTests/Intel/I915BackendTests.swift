import CSystem
import CUnbind
import Foundation
import Synchronization
import Testing

@testable import UnbindCore

/// A backend on the mock kernel's GPU (Tests/Mock, which Tests/Intel/run loads beneath the tests).
final class TestI915 {
    let memory = TestMemory()
    let backend: I915BackendPointer
    let space: I915SpacePointer

    static var isThere: Bool {
        guard let machine = ProcessInfo.processInfo.environment["UNBIND_MOCK_MACHINE"] else { return false }
        return ["tgl", "adl", "dg2", "dg2-later", "mtl"].contains(machine)
    }

    init(isLazy: Bool = false) throws {
        let gpu = try IntelGPU.open(.any, file: -1, memory: memory.pointer)
        let options = I915Options(unbindsLazily: isLazy, log: HostLog(HostCallbacks()))
        backend = try I915BackendPointer.make(gpu, options: options, memory: memory.pointer)
        space = try backend.makeSpace()
    }

    func close() {
        space.free()
        backend.free()
    }

    func buffer(_ size: UInt64) throws -> I915BufferPointer { try backend.buffers.make(size: size, isLocal: false) }

    /// What the update's completion says.
    func update(_ ranges: [unbind_backend_range]) -> Int32 {
        let ending = Ending()
        return ranges.withUnsafeBufferPointer { ranges in
            do throws(Status) {
                let isDone = try space.update(
                    ranges.baseAddress!, count: ranges.count, completion: ending.completion)
                return isDone ? 0 : ending.wait()
            } catch {
                return error.raw
            }
        }
    }

    func map(_ buffer: I915BufferPointer, at address: UInt64) -> Int32 {
        var range = unbind_backend_range()
        range.address = address
        range.size = buffer.pointee.size
        range.bo = UnsafeMutableRawPointer(buffer)
        return update([range])
    }

    func unmap(_ address: UInt64, _ size: UInt64) -> Int32 {
        var range = unbind_backend_range()
        range.op = UNBIND_BACKEND_UNMAP
        range.address = address
        range.size = size
        return update([range])
    }

    func run(_ queue: I915QueuePointer, _ commands: [unbind_command]) -> Int32 {
        let ending = Ending()
        return commands.withUnsafeBufferPointer { commands in
            do throws(Status) {
                try queue.submit(commands.baseAddress, count: commands.count, completion: ending.completion)
                return ending.wait()
            } catch {
                return error.raw
            }
        }
    }
}

/// Waits for one completion.
private final class Ending {
    private let result = UnsafeMutablePointer<Atomic<Int32>>.allocate(capacity: 1)

    init() { result.initialize(to: Atomic(1)) }

    deinit { result.deallocate() }

    var completion: PointCompletion {
        PointCompletion(context: UnsafeMutableRawPointer(result)) { context, error in
            context.assumingMemoryBound(to: Atomic<Int32>.self).pointee.store(error, ordering: .releasing)
        }
    }

    func wait() -> Int32 {
        for _ in 0..<600_000 {
            let value = result.pointee.load(ordering: .acquiring)
            if value != 1 { return value }
            usleep(500)
        }
        return 2
    }
}

extension UnsafeMutablePointer where Pointee == I915Buffer {
    func word(_ offset: Int) -> UInt64 { (pointee.cpu + offset).load(as: UInt64.self) }
}

@Suite(.enabled(if: TestI915.isThere), .serialized) struct I915BackendTests {
    private let base: UInt64 = 0x1_0000_0000

    @Test("jobs store, fill, copy and load through mappings")
    func jobs() throws {
        let gpu = try TestI915()
        let (one, two) = (try gpu.buffer(65536), try gpu.buffer(65536))
        #expect(gpu.map(one, at: base) == 0)
        #expect(gpu.map(two, at: 0x7fff_0000_0000) == 0)
        let queue = try gpu.space.makeQueue(UNBIND_QUEUE_COPY)
        #expect(gpu.run(queue, []) == 0)
        var (first, second): (UInt64, UInt64) = (0, 0)
        withUnsafeMutablePointer(to: &first) { first in
            withUnsafeMutablePointer(to: &second) { second in
                var (a, b) = (load(0x7fff_0000_0008), load(base + 8))
                a.result = first
                b.result = second
                let commands = [
                    fill(base, 65536, 0x1111_1111), store(base + 8, 42),
                    copy(to: 0x7fff_0000_0001, from: base + 1, 65535), a, b, store(base + 8, 43),
                ]
                #expect(gpu.run(queue, commands) == 0)
            }
        }
        #expect(first == 42 && second == 42)
        #expect(one.word(8) == 43 && two.word(8) == 42 && two.word(65528) == 0x1111_1111_1111_1111)
        #expect(two.word(0) == 0x1111_1111_1111_1100)
        queue.free()
        gpu.backend.buffers.destroy(one)
        gpu.backend.buffers.destroy(two)
        gpu.close()
    }

    @Test("a stray store misses what was unbound, with the neighbour left alone", arguments: [false, true])
    func unbound(isLazy: Bool) throws {
        let gpu = try TestI915(isLazy: isLazy)
        let buffers = try (0..<3).map { _ in try gpu.buffer(8192) }
        for (index, buffer) in buffers.enumerated() { #expect(gpu.map(buffer, at: base + UInt64(index) * 8192) == 0) }
        let queue = try gpu.space.makeQueue(UNBIND_QUEUE_COPY)
        #expect(gpu.unmap(base + 8192, 8192) == 0)
        let stores = (0..<6).map { store(base + UInt64($0) * 4096, 7) }
        #expect(gpu.run(queue, stores) == 0)
        #expect(buffers[0].word(0) == 7 && buffers[0].word(4096) == 7)
        #expect(buffers[2].word(0) == 7 && buffers[2].word(4096) == 7)
        // Left to the kernel it is still there: what the capability is about.
        #expect(buffers[1].word(0) == (isLazy ? 7 : 0) && buffers[1].word(4096) == (isLazy ? 7 : 0))
        // Bound elsewhere, and another one in its place.
        #expect(gpu.map(buffers[1], at: base + 0x100000) == 0)
        let other = try gpu.buffer(8192)
        #expect(gpu.map(other, at: base + 8192) == 0)
        #expect(gpu.run(queue, [store(base + 0x100008, 8), store(base + 8192 + 8, 9)]) == 0)
        #expect(buffers[1].word(8) == 8 && other.word(8) == 9)
        queue.free()
        for buffer in buffers + [other] { gpu.backend.buffers.destroy(buffer) }
        gpu.close()
    }

    @Test("what a batch still uses is not unbound under it: it is to be tried again")
    func inUse() throws {
        let gpu = try TestI915()
        let buffer = try gpu.buffer(4096)
        #expect(gpu.map(buffer, at: base) == 0)
        let mapping = try #require(gpu.space.pointee.mappings.pointee.first(endingAfter: base))
        mapping.pointee.users = 1
        #expect(gpu.unmap(base, 4096) == Status.again.raw)
        mapping.pointee.users = 0
        #expect(gpu.unmap(base, 4096) == 0)
        #expect(gpu.space.pointee.busyDummies == 0)
        #expect(gpu.space.pointee.mappings.pointee.root == nil)
        gpu.backend.buffers.destroy(buffer)
        gpu.close()
    }
}
