// Queue: runs jobs in order, beside other queues (<unbind/queue.h>).

import CUnbind

/// Runs jobs in order; queues run in parallel to each other.
public final class Queue: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer
    /// Where its jobs run.
    public let addressSpace: AddressSpace

    /// One command of a job. Addresses are GPU virtual addresses.
    public enum Command {
        /// Writes a 32-bit pattern; address and size are multiples of 4.
        case fill(address: UInt64, size: UInt64, pattern: UInt32)
        case copy(to: UInt64, from: UInt64, size: UInt64)
        /// Writes 64 bits; the address is a multiple of 8.
        case store(address: UInt64, value: UInt64)
        /// Reads 64 bits; the pointer must stay valid until the job's fence has signalled.
        case load(address: UInt64, into: UnsafeMutablePointer<UInt64>)
        /// Keeps the queue busy.
        case delay(nanoseconds: UInt64)
        /// Stops the queue until the fence has signalled.
        case wait(Fence)
        /// Runs the caller's own commands, in the form that the GPU has them, until they end: `Capabilities.batchBuffers`.
        case batch(address: UInt64)
    }

    /// Which engines of the GPU run the jobs. Those of the software GPU are all alike.
    public enum Engine: UInt32, Sendable {
        case copy = 0
        case render = 1
        case compute = 2
        case video = 3
        case videoEnhance = 4
    }

    /// How a job uses a VMA.
    public struct Use: OptionSet, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        public static let read = Use(rawValue: UNBIND_USE_READ)
        public static let write = Use(rawValue: UNBIND_USE_WRITE)
    }

    /// Makes a queue that runs jobs in an address space.
    public init(in addressSpace: AddressSpace, on engine: Engine = .copy) throws(UnbindError) {
        self.addressSpace = addressSpace
        handle = try UnbindError.make { unbind_queue_create(addressSpace.handle, engine.rawValue, $0) }
    }

    deinit { unbind_queue_unref(handle) }

    /// The number that names the queue in faults and dumps.
    public var id: UInt64 { unbind_queue_id(handle) }

    /// Appends a job and gives the fence of its end.
    ///
    /// - Parameters:
    ///   - commands: what the job does.
    ///   - vmas: what the commands use; the library delays the unbind of these only.
    ///   - fences: all must signal before the job starts.
    @discardableResult
    public func submit(
        _ commands: [Command], using vmas: [(vma: VMA, use: Use)] = [], after fences: [Fence] = []
    ) throws(UnbindError) -> Fence {
        let rawCommands = commands.map(\.cValue)
        let rawVMAs = vmas.map { unbind_submit_vma(vma: $0.vma.handle, use: $0.use.rawValue, reserved: 0) }
        let rawFences: [OpaquePointer?] = fences.map(\.handle)
        let handle = handle
        let fence = try UnbindError.make { out in
            rawCommands.withUnsafeBufferPointer { commands in
                rawVMAs.withUnsafeBufferPointer { vmas in
                    rawFences.withUnsafeBufferPointer { fences in
                        var submit = unbind_submit()
                        submit.struct_size = structSize(of: unbind_submit.self)
                        submit.commands = commands.baseAddress
                        submit.command_count = UInt32(commands.count)
                        submit.vmas = vmas.baseAddress
                        submit.vma_count = UInt32(vmas.count)
                        submit.wait_fences = fences.baseAddress
                        submit.wait_fence_count = UInt32(fences.count)
                        return unbind_queue_submit(handle, &submit, out)
                    }
                }
            }
        }
        withExtendedLifetime((commands, vmas, fences)) {}
        return Fence(adopting: fence, of: addressSpace.device)
    }
}

extension Queue.Command {
    var cValue: unbind_command {
        var raw = unbind_command()
        switch self {
        case .fill(let address, let size, let pattern):
            raw.op = UNBIND_COMMAND_FILL
            raw.address = address
            raw.size = size
            raw.value = UInt64(pattern)
        case .copy(let destination, let source, let size):
            raw.op = UNBIND_COMMAND_COPY
            raw.address = destination
            raw.source = source
            raw.size = size
        case .store(let address, let value):
            raw.op = UNBIND_COMMAND_STORE
            raw.address = address
            raw.value = value
        case .load(let address, let result):
            raw.op = UNBIND_COMMAND_LOAD
            raw.address = address
            raw.result = result
        case .delay(let nanoseconds):
            raw.op = UNBIND_COMMAND_DELAY
            raw.value = nanoseconds
        case .wait(let fence):
            raw.op = UNBIND_COMMAND_WAIT
            raw.fence = fence.handle
        case .batch(let address):
            raw.op = UNBIND_COMMAND_BATCH
            raw.address = address
        }
        return raw
    }
}
