// The Swift interface to holds, to unbinding a buffer everywhere, and to moves between memory regions.

import Testing
import Unbind

@Suite("The Swift interface to moving and holding")
struct MovingTests {
    @Test("a hold tells what it holds, reads its bytes, and delays the unbind until it goes")
    func holds() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(of: device)
        let buffer = try BufferObject(of: device, size: 0x2000, in: .local)
        let vma = try VMA(buffer, in: space, .init(.fixed(0x40000), readOnly: true))
        #expect(throws: UnbindError.invalidArgument) { try Hold(of: vma) }
        try vma.bind()
        buffer.contents.storeBytes(of: 0x1122, toByteOffset: 0x1000, as: UInt16.self)
        var hold: Hold? = try Hold(of: vma)
        let unbound = try vma.unbindAsync()
        let info = try #require(try hold?.info())
        #expect(info.address == 0x40000 && info.size == 0x2000 && info.bufferID == buffer.id)
        #expect(info.isLocal && info.isReadOnly && info.isUnbinding && !info.isBroken)
        #expect(try hold?.bytes(at: 0x1000, count: 2) == [0x22, 0x11])
        #expect(throws: UnbindError.invalidArgument) { try hold?.bytes(at: 0x1fff, count: 2) }
        var word: UInt16 = 0
        try withUnsafeMutableBytes(of: &word) { try hold?.read(at: 0x1000, into: $0) }
        #expect(word == 0x1122)
        try device.waitIdle()
        #expect(!unbound.isSignaled)
        hold = nil
        #expect(unbound.isSignaled)
        #expect(throws: UnbindError.closed) { try Hold(at: 0x40000, in: space) }
    }

    @Test("what is bound at an address can be held, and a closed device breaks the hold")
    func brokenHold() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(of: device)
        let vma = try VMA(try BufferObject(of: device, size: 0x1000), in: space, .init(.fixed(0x5000)))
        try vma.bind()
        let hold = try Hold(at: 0x5fff, in: space)
        #expect(try !hold.info().isBroken && hold.info().address == 0x5000)
        #expect(try device.close().holds == 1)
        #expect(try hold.info().isBroken)
    }

    @Test("a buffer is unbound everywhere, now or when its work has ended")
    func unbindEverywhere() throws {
        let device = try Device(.init(executor: .simulated()))
        let buffer = try BufferObject(of: device, size: 0x1000)
        let vmas = try (0..<3).map { _ in try VMA(buffer, in: try AddressSpace(of: device)) }
        for vma in vmas { try vma.bind() }
        let user = try Fence(of: device)
        try vmas[1].addUser(user)
        #expect(throws: UnbindError.busy) { try buffer.unbind(.test) }
        #expect(throws: UnbindError.busy) { try buffer.unbind() }
        try buffer.unbind(.async)
        #expect(vmas.allSatisfy { $0.state == .unbound })
        #expect(throws: UnbindError.timedOut) { try buffer.wait(timeout: .zero) }
        try user.signal()
        try buffer.wait()
        try buffer.unbind(.test)
    }

    @Test("a buffer moves behind the work that uses it, and keeps its bytes")
    func moves() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(of: device)
        let buffer = try BufferObject(of: device, size: 0x1000)
        let vma = try VMA(buffer, in: space)
        buffer.contents.storeBytes(of: 0x77, as: UInt8.self)
        try vma.bind()
        let user = try Fence(of: device)
        try vma.addUser(user)
        let moved = try buffer.migrate(to: .local)
        #expect(buffer.region == .local && vma.state == .unbound && !moved.isSignaled)
        let back = try buffer.migrate(to: .system, .afterUnbind)
        try user.signal()
        try back.wait()
        #expect(moved.isSignaled && buffer.region == .system)
        #expect(buffer.contents.load(as: UInt8.self) == 0x77)
    }

    @Test("a copy that fails is made by the CPU, or the buffer is lost")
    func failures() throws {
        let device = try Device(.init(executor: .simulated()))
        let buffer = try BufferObject(of: device, size: 0x1000)
        let vma = try VMA(buffer, in: try AddressSpace(of: device))
        buffer.contents.storeBytes(of: 0x77, as: UInt8.self)
        try device.failNext(.copy)
        let first = try buffer.migrate(to: .local)
        try first.wait()
        #expect(try first.error() == nil && buffer.contents.load(as: UInt8.self) == 0x77)
        try device.failNext(.copy)
        let second = try buffer.migrate(to: .system, .noCPUCopy)
        try second.wait()
        #expect(try second.error() == .lost)
        #expect(throws: UnbindError.lost) { try vma.bind() }
        #expect(throws: UnbindError.lost) { try buffer.migrate(to: .local) }
    }
}
