// The Swift interface to batches of map and unmap operations.

import Testing
import Unbind

@Suite("The Swift interface to batches")
struct BatchTests {
    @Test("a list takes effect as a whole, and splits what is in its way")
    func lists() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(of: device)
        let queue = try Queue(in: space)
        let buffer = try BufferObject(of: device, size: 0x8000)
        buffer.contents.storeBytes(of: 77, toByteOffset: 0x5000, as: UInt64.self)
        try space.submit([
            .map(buffer, at: 0x10000, size: 0x8000), .unmap(at: 0x12000, size: 0x1000),
            .mapNull(at: 0x13000, size: 0x1000), .map(buffer, offset: 0x1000, at: 0x20000, size: 0x1000, .readOnly),
        ])
        let statistics = try space.batchStatistics()
        #expect(statistics.batches == 1 && statistics.operations == 4 && statistics.mappings == 4)
        #expect(try space.page(at: 0x12000)?.address == 0x13000)
        #expect(try space.page(at: 0x20000)?.isWritable == false)
        var values: (UInt64, UInt64) = (1, 1)
        try withUnsafeMutablePointer(to: &values) { values in
            let words = UnsafeMutableRawPointer(values).assumingMemoryBound(to: UInt64.self)
            try queue.submit([.load(address: 0x15000, into: words), .load(address: 0x13000, into: words + 1)]).wait()
        }
        #expect(values.0 == 77 && values.1 == 0)
        #expect(throws: UnbindError.alreadyMapped) {
            try space.submit([.unmapAll(of: buffer), .map(buffer, at: 0x13000, size: 0x1000, .noReplace)])
        }
        #expect(try space.batchStatistics().mappings == 4)
        #expect(try space.batchStatistics().failed == 1)
        try space.submit([.unmapAll(of: buffer), .unmap(at: 0x13000, size: 0x1000)])
        #expect(try space.batchStatistics().mappings == 0)
    }

    @Test("a batch waits for fences and its queue, and signals a fence of the caller's")
    func fences() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(of: device)
        let buffer = try BufferObject(of: device, size: 0x2000, in: .system)
        let queue = try AddressSpace.BindQueue(in: space)
        let gate = try Fence(of: device)
        let told = try Fence(of: device)
        let first = try space.submit([.map(buffer, at: 0, size: 0x2000)], mode: .async, on: queue, after: [gate])
        let second = try space.submit([], mode: .async, on: queue, signalling: [told])
        try device.waitIdle()
        #expect(!first.isSignaled && !second.isSignaled && !told.isSignaled)
        #expect(throws: UnbindError.deadlock) { try space.submit([.unmap(at: 0, size: 0x2000)], on: queue) }
        try gate.signal()
        try second.wait()
        #expect(first.isSignaled && told.isSignaled)
        #expect(try space.page(at: 0)?.bufferID == buffer.id)
        try space.submit([.unmap(at: 0, size: 0x1000)], mode: .deferToIdle).wait()
        #expect(try space.page(at: 0)?.address == 0x1000)
    }

    @Test("a list that is too large is refused, or cut, and buffers are moved before they are mapped")
    func cutting() throws {
        let device = try Device(.init(executor: .simulated()))
        let space = try AddressSpace(of: device)
        let buffer = try BufferObject(of: device, size: 0x1000)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 0x1000, alignment: 0x1000)
        defer { memory.deallocate() }
        let operations = (0..<65_537).map { AddressSpace.BatchOperation.mapNull(at: UInt64($0) << 13, size: 0x1000) }
        #expect(throws: UnbindError.tooManyOperations) { try space.submit(operations) }
        try space.submit(operations, .split)
        #expect(try space.batchStatistics().batches == 2)
        try space.submit([
            .prefetch(buffer, to: .local), .map(buffer, at: 0x1000, size: 0x1000, .capture, cache: .writeCombine),
            .map(memory, at: 0x3000),
        ])
        #expect(try space.page(at: 0x1000)?.isLocal == true)
        #expect(try space.page(at: 0x3000)?.isLocal == false)
        try space.submit([.unmap(at: 0, size: 1 << 40)])
        #expect(try space.page(at: 0) == nil)
    }
}
