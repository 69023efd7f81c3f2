// How a device is opened.

import CUnbind

/// Sizes of GPU pages, a set.
public struct PageSizes: OptionSet, Sendable {
    public let rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// 4 KiB, a leaf of the lowest page table.
    public static let small4K = PageSizes(rawValue: 0x1000)
    /// 64 KiB, sixteen neighbouring leaves.
    public static let medium64K = PageSizes(rawValue: 0x10000)
    /// 2 MiB, one entry of the table above.
    public static let large2M = PageSizes(rawValue: 0x20_0000)
}

/// What the software GPU's work costs.
public struct CostModel: Sendable {
    /// Picoseconds to write or clear one page-table entry.
    public var pagePicoseconds: UInt64
    /// Nanoseconds for one TLB invalidation.
    public var tlbFlushNanoseconds: UInt64
    /// Picoseconds to fill or copy one byte.
    public var bytePicoseconds: UInt64
    /// Nanoseconds to start a command.
    public var commandNanoseconds: UInt64

    /// The defaults are those of the simulated executor.
    public init(
        pagePicoseconds: UInt64 = 2_000, tlbFlushNanoseconds: UInt64 = 20_000,
        bytePicoseconds: UInt64 = 20, commandNanoseconds: UInt64 = 1_000
    ) {
        self.pagePicoseconds = pagePicoseconds
        self.tlbFlushNanoseconds = tlbFlushNanoseconds
        self.bytePicoseconds = bytePicoseconds
        self.commandNanoseconds = commandNanoseconds
    }

    var cValue: unbind_cost_model {
        unbind_cost_model(
            struct_size: structSize(of: unbind_cost_model.self), reserved: 0, pte_ps: pagePicoseconds,
            tlb_flush_ns: tlbFlushNanoseconds, byte_ps: bytePicoseconds, command_ns: commandNanoseconds)
    }
}

extension Device {
    /// Who runs what happens by itself.
    public enum Executor: Sendable {
        /// Worker threads of the library's own, 1 to 64.
        case pool(workers: UInt32 = 2)
        /// No hidden thread: the caller's event loop calls `run`.
        case manual
        /// One thread, virtual time, a schedule chosen by the seed.
        case simulated(seed: UInt64 = 0)
    }

    /// Keeps the real device awake while entries of a global address space are written or cleared. Each `get`, and each
    /// `getIfInUse` that answered true, is followed by one `put`.
    public protocol Power: AnyObject, Sendable {
        /// Wakes the device.
        func get()
        /// Takes a reference if the device is awake; must not wake it.
        func getIfInUse() -> Bool
        /// Gives a reference back.
        func put()
    }

    /// How to open a device; each member has the library's default.
    public struct Options: Sendable {
        /// Who runs what happens by itself.
        public var executor: Executor
        /// Limit for buffers in system memory; nil is 4 GiB.
        public var systemMemoryBytes: UInt64?
        /// Size of local memory; nil is 256 MiB.
        public var localMemoryBytes: UInt64?
        /// Empty means all sizes.
        public var pageSizes: PageSizes
        /// nil: no costs on real time, those of `CostModel()` on the simulated executor.
        public var costModel: CostModel?
        /// Makes every object one allocation, for leak checkers.
        public var withoutSlabs: Bool
        /// Receives messages; called on the thread where the event happened.
        public var log: (@Sendable (LogLevel, String) -> Void)?
        /// Receives GPU page faults, on the thread that runs the queue.
        public var fault: (@Sendable (Fault) -> Void)?
        /// Receives every bind and unbind: those of one address space one by one and in order, as a piece of the
        /// device's work.
        public var binding: (@Sendable (BindingEvent) -> Void)?
        /// Called around what touches the entries of global address spaces.
        public var power: (any Power)?

        public init(
            executor: Executor = .pool(), systemMemoryBytes: UInt64? = nil, localMemoryBytes: UInt64? = nil,
            pageSizes: PageSizes = [], costModel: CostModel? = nil, withoutSlabs: Bool = false,
            log: (@Sendable (LogLevel, String) -> Void)? = nil, fault: (@Sendable (Fault) -> Void)? = nil,
            binding: (@Sendable (BindingEvent) -> Void)? = nil, power: (any Power)? = nil
        ) {
            self.executor = executor
            self.systemMemoryBytes = systemMemoryBytes
            self.localMemoryBytes = localMemoryBytes
            self.pageSizes = pageSizes
            self.costModel = costModel
            self.withoutSlabs = withoutSlabs
            self.log = log
            self.fault = fault
            self.binding = binding
            self.power = power
        }

        /// All but the pointers, which the caller fills in.
        var cValue: unbind_device_options {
            var raw = unbind_device_options()
            raw.struct_size = structSize(of: unbind_device_options.self)
            raw.flags = withoutSlabs ? UNBIND_DEVICE_NO_SLABS : 0
            switch executor {
            case .pool(let workers):
                raw.executor = UNBIND_EXECUTOR_POOL
                raw.worker_count = workers
            case .manual:
                raw.executor = UNBIND_EXECUTOR_MANUAL
            case .simulated(let seed):
                raw.executor = UNBIND_EXECUTOR_SIMULATED
                raw.seed = seed
            }
            raw.system_memory_bytes = systemMemoryBytes ?? 0
            raw.local_memory_bytes = localMemoryBytes ?? 0
            raw.page_sizes = pageSizes.rawValue
            return raw
        }
    }
}
