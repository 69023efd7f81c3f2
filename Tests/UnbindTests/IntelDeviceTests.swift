import Foundation
import Synchronization
import Testing
import Unbind

/// On the GPU of the mock kernel (Tests/Mock), where Tests/run loads it beneath the tests: threads that bind, run jobs
/// and unbind, for ThreadSanitizer to look at.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["UNBIND_MOCK_MACHINE"] != nil))
struct IntelDeviceTests {
    private static let size: UInt64 = 64 << 10

    /// With ordinary and with long-running address spaces, which only xe has.
    private static var kinds: [Device.IntelOptions] {
        let machine = ProcessInfo.processInfo.environment["UNBIND_MOCK_MACHINE"]
        return machine == "lnl" ? [Device.IntelOptions(), Device.IntelOptions(longRunning: true)] : [.init()]
    }

    /// One thread's part: its own range of the space, bound to one buffer after another, each written by a job.
    private static func work(_ space: AddressSpace, at address: UInt64, rounds: UInt64) throws {
        let queue = try Queue(in: space)
        var unbound: [Fence] = []
        var written: [(buffer: BufferObject, value: UInt64)] = []
        for round in 1...rounds {
            let buffer = try BufferObject(of: space.device, size: size)
            let vma = try VMA(buffer, in: space, VMA.Options(.fixed(address)))
            if round % 2 == 0 { try vma.bind() } else { try vma.bindAsync() }
            try queue.submit(
                [.store(address: address + 8, value: round)], using: [(vma: vma, use: .write)])
            unbound.append(try vma.unbindAsync())
            written.append((buffer, round))
        }
        for fence in unbound {
            try fence.wait(timeout: .seconds(60))
            #expect(try fence.error() == nil)
        }
        for (buffer, value) in written {
            #expect(buffer.contents.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == value)
        }
    }

    @Test("threads bind, use and unbind ranges of one address space, and of their own", arguments: [false, true], kinds)
    func threads(_ isShared: Bool, _ kind: Device.IntelOptions) throws {
        let device = try Device(intel: "pci:card=0", kind)
        let shared = try AddressSpace(of: device)
        let failures = Mutex<[String]>([])
        let threads = (0..<4).map { index in
            let thread = Thread {
                do {
                    let space = isShared ? shared : try AddressSpace(of: device)
                    try Self.work(space, at: 0x100_0000 * UInt64(index + 1), rounds: 30)
                } catch {
                    failures.withLock { $0.append("\(error)") }
                }
            }
            thread.start()
            return thread
        }
        while threads.contains(where: { !$0.isFinished }) { usleep(1000) }
        #expect(failures.withLock { $0 } == [])
    }

    @Test("closing a device ends what threads have under way", arguments: kinds)
    func closing(_ kind: Device.IntelOptions) throws {
        let device = try Device(intel: "pci:card=0", kind)
        let thread = Thread {
            guard let space = try? AddressSpace(of: device) else { return }
            for _ in 0..<50 { _ = try? Self.work(space, at: 0x100_0000, rounds: 4) }
        }
        thread.start()
        usleep(20_000)
        try device.close()
        while !thread.isFinished { usleep(1000) }
        #expect(throws: UnbindError.self) { try AddressSpace(of: device) }
    }
}
