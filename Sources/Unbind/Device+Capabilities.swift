// What a device can do (<unbind/backend.h>).

import CUnbind

extension Device {
    /// Abilities that not every device has; the bits of UNBIND_CAP_*, which Swift does not import.
    public struct Capabilities: OptionSet, Sendable {
        public let rawValue: UInt64
        public init(rawValue: UInt64) { self.rawValue = rawValue }

        /// Once an unbind's fence has signalled, the GPU does not reach the pages any more.
        public static let explicitUnbind = Capabilities(rawValue: 1 << 0)
        /// A part of a mapping can be unmapped or replaced.
        public static let partialUnbind = Capabilities(rawValue: 1 << 1)
        /// One buffer at several addresses of an address space.
        public static let aliasing = Capabilities(rawValue: 1 << 2)
        /// Mappings that read zero and swallow writes.
        public static let nullMappings = Capabilities(rawValue: 1 << 3)
        /// Mappings that the GPU cannot write through.
        public static let readOnly = Capabilities(rawValue: 1 << 4)
        /// The caller's memory as a buffer.
        public static let userMemory = Capabilities(rawValue: 1 << 5)
        /// Buffers in local memory.
        public static let localMemory = Capabilities(rawValue: 1 << 6)
        /// A bad access is told to the fault callback.
        public static let faultReports = Capabilities(rawValue: 1 << 7)
        /// Address spaces can be suspended.
        public static let suspend = Capabilities(rawValue: 1 << 8)
        /// Buffers can be moved between regions.
        public static let migration = Capabilities(rawValue: 1 << 9)
        /// The GPU's driver maps and unmaps in the background.
        public static let asyncUpdates = Capabilities(rawValue: 1 << 10)
        /// Fences can be shared with the kernel and other processes.
        public static let sharedFences = Capabilities(rawValue: 1 << 11)
        /// Queues run batches in the GPU's own commands.
        public static let batchBuffers = Capabilities(rawValue: 1 << 12)
    }
}
