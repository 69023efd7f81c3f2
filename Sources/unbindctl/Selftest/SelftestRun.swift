// One test on one device: a fresh device for each, so that what one leaves behind is not taken for another's.

import Glibc
import Unbind

struct SelftestCase {
    let name: String
    let body: (SelftestRun) throws -> Void

    init(_ name: String, _ body: @escaping (SelftestRun) throws -> Void) {
        self.name = name
        self.body = body
    }
}

/// What a test saw and should not have seen.
struct Mismatch: Error { let message: String }

/// The device cannot do what the test needs.
struct Unsupported: Error { let reason: String }

/// A device with an address space, a queue, and words in buffers.
final class SelftestRun {
    let device: Device
    let space: AddressSpace
    let timeout: Duration

    /// Of every buffer; the most that any region asks for on the machines known.
    static let bufferSize: UInt64 = 64 << 10

    init(_ device: Device, timeout: Duration) throws {
        self.device = device
        self.timeout = timeout
        space = try AddressSpace(of: device)
    }

    static func outcome(of test: SelftestCase, on selector: String, timeout: Duration) throws -> SelftestOutcome {
        let messages = DeviceMessages()
        do {
            let device = try Device.opened(by: selector, log: messages)
            do {
                try test.body(SelftestRun(device, timeout: timeout))
            } catch {
                // What is left may use the device for ever; closing it ends that.
                _ = try? device.close()
                throw error
            }
            return .passed
        } catch let error as Unsupported {
            return .skipped(error.reason)
        } catch let error as UnbindError where error == .notSupported {
            return .skipped(messages.lines.last ?? "not supported by this device")
        } catch let error as Mismatch {
            return .failed([error.message] + messages.lines)
        } catch let error as ToolError {
            throw error
        } catch {
            return .failed(["\(error)"] + messages.lines)
        }
    }

    // MARK: Looking

    func expect(_ condition: Bool, _ message: @autoclosure () -> String) throws {
        if !condition { throw Mismatch(message: message()) }
    }

    /// The word that the CPU sees at an offset.
    func word(_ buffer: BufferObject, _ offset: UInt64 = 0) -> UInt64 {
        buffer.contents.loadUnaligned(fromByteOffset: Int(offset), as: UInt64.self)
    }

    func expect(_ buffer: BufferObject, _ offset: UInt64 = 0, holds value: UInt64, _ what: String) throws {
        let seen = word(buffer, offset)
        try expect(seen == value, "\(what): offset \(offset) holds \(hex(seen)), not \(hex(value))")
    }

    /// An error that must come, or a mismatch.
    func expect(_ wanted: UnbindError, _ what: String, _ body: () throws(UnbindError) -> Void) throws {
        do throws(UnbindError) {
            try body()
        } catch {
            return try expect(error == wanted, "\(what): \(error.name) instead of \(wanted.name)")
        }
        throw Mismatch(message: "\(what): succeeded instead of \(wanted.name)")
    }

    /// Waits for a fence that must signal without an error.
    func finish(_ fence: Fence, _ what: String) throws {
        let error: UnbindError?
        do throws(UnbindError) {
            try fence.wait(timeout: timeout)
            error = try fence.error()
        } catch {
            throw Mismatch(message: "\(what) did not finish: \(error)")
        }
        if error == .notSupported { throw UnbindError.notSupported }
        if let error { throw Mismatch(message: "\(what) failed: \(error)") }
    }

    /// Waits for a fence that may carry an error.
    func end(_ fence: Fence, _ what: String) throws {
        do throws(UnbindError) {
            try fence.wait(timeout: timeout)
        } catch {
            throw Mismatch(message: "\(what) did not end: \(error)")
        }
    }

    /// Still waiting after a moment in which it would have ended if nothing held it up.
    func expectPending(_ fence: Fence, _ what: String) throws {
        usleep(20_000)
        try expect(!fence.isSignaled, "\(what) has ended already")
    }

    /// Looks again and again until it is so.
    func wait(_ message: String, until condition: () -> Bool) throws {
        let clock = ContinuousClock()
        let end = clock.now + timeout
        while !condition() {
            if clock.now > end { throw Mismatch(message: message) }
            usleep(100)
        }
    }

    // MARK: Doing

    /// Of the first class that runs batches of the caller's.
    func queueForBatches() throws -> Queue {
        if !device.capabilities.contains(.batchBuffers) { throw Unsupported(reason: "the device runs no batches") }
        for engine in [Queue.Engine.compute, .render] {
            do throws(UnbindError) {
                return try Queue(in: space, on: engine)
            } catch {
                if error != .notSupported { throw error }
            }
        }
        return try Queue(in: space)
    }

    func makeBuffer(_ region: BufferObject.Region = .system, size: UInt64 = bufferSize) throws -> BufferObject {
        try BufferObject(of: device, size: size, in: region)
    }

    /// Bound, at an address of its own choice.
    func bind(_ buffer: BufferObject) throws -> (vma: VMA, address: UInt64) {
        let vma = try VMA(buffer, in: space)
        try vma.bind()
        guard let address = vma.address else { throw Mismatch(message: "a bound VMA has no address") }
        return (vma, address)
    }

    func bind(_ buffer: BufferObject, at address: UInt64) throws -> VMA {
        let vma = try VMA(buffer, in: space, VMA.Options(.fixed(address)))
        try vma.bind()
        return vma
    }

    /// A job of one store, and its fence.
    @discardableResult
    func store(
        _ value: UInt64, at address: UInt64, on queue: Queue, using vma: VMA?, after fences: [Fence] = []
    ) throws -> Fence {
        try queue.submit(
            [.store(address: address, value: value)], using: vma.map { [(vma: $0, use: .write)] } ?? [], after: fences)
    }
}
