// GPUInfo: the Intel GPUs of this machine. No device has to be open.

import CUnbind
import Glibc

/// One Intel GPU, as the PCI bus, a table of names and its kernel driver describe it.
///
///     for gpu in try GPUInfo.all() {
///         print(gpu.pciAddress, gpu.name ?? "unknown", gpu.renderNode ?? "no node")
///     }
public struct GPUInfo: Sendable {
    /// Where a GPU's memory is.
    public enum Kind: UInt32, Sendable {
        /// Neither the table nor the driver tells.
        case unknown
        /// It shares the system's.
        case integrated
        /// It has its own.
        case discrete
    }

    /// What drives the device.
    public enum Driver: UInt32, Sendable {
        case none
        case i915
        case xe
        /// Such as vfio-pci.
        case other
    }

    /// What the table of PCI ids says.
    public struct Platform: Sendable {
        /// Such as "DG2".
        public let name: String
        /// Such as "Alchemist".
        public let codename: String
        /// Such as "Xe-HPG".
        public let family: String
    }

    /// What the driver says; only a GPU whose node can be opened has it.
    public struct Answer: Sendable {
        /// The driver's version.
        public let version: (major: Int, minor: Int, patch: Int)
        /// An address space has two to the power of this many bytes.
        public let addressBits: Int
        /// Memory of the GPU's own, and what the CPU can reach of it.
        public let localMemoryBytes, localVisibleBytes: UInt64
        /// Whether a program gets address spaces of its own, in which it chooses the addresses.
        public let hasAddressSpaces: Bool
    }

    /// A region of the PCI device.
    public struct Region: Sendable {
        /// What a region is.
        public enum Kind: UInt32, Sendable {
            case none
            /// Registers; since generation 4 the global page table too.
            case registers
            /// The CPU's window on what the global page table maps.
            case aperture
            /// The GPU's memory, or the part of it that the CPU reaches.
            case localMemory
            /// System memory that the firmware set aside for the GPU.
            case stolenMemory
            /// The global page table alone.
            case pageTable
            /// I/O ports.
            case ports
            /// Not known.
            case other
        }

        /// The number of the base address register.
        public let index: Int
        public let bytes: UInt64
        public let kind: Kind
    }

    /// Such as "0000:03:00.0"; a selection string too.
    public let pciAddress: String
    /// PCI ids; the subsystem's are 0 if not known.
    public let vendorID, deviceID, subsystemVendorID, subsystemDeviceID: UInt16
    /// Of the PCI device.
    public let revision: UInt8
    /// nil if the id is not in the table.
    public let platform: Platform?
    /// What it is sold as.
    public let name: String?
    public let kind: Kind
    /// Of the graphics part: 12.55, or 20.1 where 20.01 is written; nil if unknown.
    public let graphicsVersion: (major: Int, minor: Int)?
    public let driver: Driver
    /// nil if no driver has the device.
    public let driverName: String?
    /// Paths of the device nodes; nil if there is none.
    public let renderNode, primaryNode: String?
    /// Why the render node cannot be opened: an errno; 0 if it can; nil if that was not tried.
    public let openErrno: Int32?
    /// What the driver answered, or why it did not: an errno, 0 if it was not asked.
    public let answer: Result<Answer, Refusal>
    /// The PCI regions that there are.
    public let regions: [Region]

    /// Why the driver did not answer.
    public struct Refusal: Error, Sendable {
        /// 0 if it was not asked.
        public let errno: Int32
    }
}

// MARK: Finding

extension GPUInfo {
    /// Why no GPU was found.
    public enum LookupError: Error, Sendable {
        /// The selection string has, at this offset in UTF-8, a character that does not fit.
        case malformed(offset: Int)
        /// There is no such GPU.
        case notFound
        case failed(UnbindError)
    }

    /// All Intel GPUs, in the order of their PCI addresses.
    /// - Parameter opensNodes: false leaves sleeping GPUs asleep, and `answer` empty.
    public static func all(opensNodes: Bool = true) throws(UnbindError) -> [GPUInfo] {
        let flags = opensNodes ? 0 : UNBIND_PROBE_NO_OPEN
        var capacity: UInt32 = 8
        while true {
            var infos = [unbind_gpu_info](repeating: unbind_gpu_info(), count: Int(capacity))
            infos[0].struct_size = structSize(of: unbind_gpu_info.self)
            var count: UInt32 = 0
            try UnbindError.check(unbind_probe(flags, &infos, capacity, &count))
            if count <= capacity { return infos.prefix(Int(count)).map { GPUInfo($0) } }
            capacity = count
        }
    }

    /// The first GPU that a selection string means; `<unbind/probe.h>` has the grammar. nil means any.
    public static func find(_ selector: String?, opensNodes: Bool = true) throws(LookupError) -> GPUInfo {
        var info = unbind_gpu_info()
        info.struct_size = structSize(of: unbind_gpu_info.self)
        var offset = UInt32.max
        let status = unbind_probe_find(selector, opensNodes ? 0 : UNBIND_PROBE_NO_OPEN, &info, &offset)
        if status == 0 { return GPUInfo(info) }
        if status == -EINVAL, offset != .max { throw .malformed(offset: Int(offset)) }
        throw status == -ENODEV ? .notFound : .failed(UnbindError(status: status))
    }

    init(_ raw: unbind_gpu_info) {
        pciAddress = text(raw.pci_address)
        vendorID = raw.vendor_id
        deviceID = raw.device_id
        subsystemVendorID = raw.subvendor_id
        subsystemDeviceID = raw.subdevice_id
        revision = raw.revision
        let isKnown = raw.flags & UNBIND_GPU_KNOWN != 0
        platform =
            isKnown ? Platform(name: text(raw.platform), codename: text(raw.codename), family: text(raw.family)) : nil
        name = some(text(raw.name))
        kind = Kind(rawValue: raw.type) ?? .unknown
        graphicsVersion = raw.graphics_major == 0 ? nil : (Int(raw.graphics_major), Int(raw.graphics_minor))
        driver = Driver(rawValue: raw.kernel_driver) ?? .other
        driverName = some(text(raw.driver_name))
        renderNode = some(text(raw.render_node))
        primaryNode = some(text(raw.primary_node))
        openErrno = raw.open_status == UNBIND_PROBE_NOT_TRIED ? nil : -raw.open_status
        answer =
            raw.query_status == 0
            ? .success(Answer(raw)) : .failure(Refusal(errno: max(-raw.query_status, 0)))
        regions = Region.list(raw)
    }
}

extension GPUInfo.Answer {
    fileprivate init(_ raw: unbind_gpu_info) {
        version = (Int(raw.driver_major), Int(raw.driver_minor), Int(raw.driver_patch))
        addressBits = Int(raw.va_bits)
        localMemoryBytes = raw.local_memory_bytes
        localVisibleBytes = raw.local_visible_bytes
        hasAddressSpaces = raw.flags & UNBIND_GPU_ADDRESS_SPACES != 0
    }
}

extension GPUInfo.Region {
    fileprivate static func list(_ raw: unbind_gpu_info) -> [GPUInfo.Region] {
        let sizes = withUnsafeBytes(of: raw.bar_sizes) { Array($0.bindMemory(to: UInt64.self)) }
        let kinds = withUnsafeBytes(of: raw.bar_kinds) { Array($0.bindMemory(to: UInt32.self)) }
        return zip(sizes, kinds).enumerated().compactMap { index, region in
            guard region.0 != 0 else { return nil }
            return GPUInfo.Region(index: index, bytes: region.0, kind: Kind(rawValue: region.1) ?? .other)
        }
    }
}

/// An array of characters, up to its NUL.
private func text<T>(_ characters: T) -> String {
    withUnsafeBytes(of: characters) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
}

private func some(_ text: String) -> String? { text.isEmpty ? nil : text }
