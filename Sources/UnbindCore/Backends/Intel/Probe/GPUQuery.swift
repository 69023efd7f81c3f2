// GPUQuery: what a GPU's kernel driver says of itself.
//
// Only the render node is opened: the first to open a primary node becomes its master, which is not for a probe to be.
// The node is closed again. The version comes from the ioctl, not from drmGetVersion, which crashes (libdrm 2.4.114 to
// 2.4.124) when a driver leaves one of its three texts empty.

import CLibDRM
import CSystem

extension UnsafeMutablePointer where Pointee == GPU {
    /// Opens the GPU's render node and asks its driver. Whatever fails is in the two statuses.
    func query(memory: UnsafeMutablePointer<Memory>) {
        // Asked already, for its type.
        if pointee.openStatus <= 0 { return }
        let file = pointee.renderNode.withCString { $0.map { clibdrm_open($0) } ?? -ENOENT }
        pointee.openStatus = min(file, 0)
        pointee.queryStatus = min(file, 0)
        if file < 0 { return }
        defer { _ = clibdrm_close(file) }
        ask(file, memory: memory)
    }

    /// Asks the driver that an open node belongs to. What fails is in the status.
    func ask(_ file: Int32, memory: UnsafeMutablePointer<Memory>) {
        pointee.queryStatus = 0
        do throws(Status) {
            try readVersion(file)
            switch pointee.driver {
            case .xe: try XeQuery(file: file, memory: memory).fill(self)
            case .i915: try I915Query(file: file, memory: memory).fill(self)
            case .other, .none: break
            }
        } catch {
            pointee.queryStatus = error.raw
        }
        if pointee.type == .unknown, pointee.queryStatus == 0, pointee.driver != .other {
            pointee.type = pointee.localBytes > 0 ? .discrete : .integrated
        }
    }

    /// The driver's version, and its name if sysfs did not tell it.
    private func readVersion(_ file: Int32) throws(Status) {
        var name = InlineArray<32, CChar>(repeating: 0)
        var span = name.mutableSpan
        let (status, version) = span.withUnsafeMutableBufferPointer { name in
            var version = unbind_drm_version()
            version.name = name.baseAddress
            // The kernel adds no NUL.
            version.name_len = name.count - 1
            return (clibdrm_ioctl(file, UNBIND_DRM_IOCTL_VERSION, &version), version)
        }
        if status < 0 { throw Status(raw: status) }
        pointee.driverVersion = [version.version_major, version.version_minor, version.version_patchlevel]
        guard pointee.driverName.isEmpty else { return }
        name.span.withUnsafeBufferPointer { pointee.driverName = FixedText(copying: $0.baseAddress!) }
        pointee.driver = KernelDriver(named: pointee.driverName)
    }
}

/// An answer of the kernel's whose size it told beforehand.
struct QueryAnswer: ~Copyable {
    let bytes: UnsafeMutableRawPointer
    let count: Int
    private let memory: UnsafeMutablePointer<Memory>

    /// Zeroed: the kernels demand it. None is shorter than a header, or as long as 1 MiB.
    init(count: Int, memory: UnsafeMutablePointer<Memory>) throws(Status) {
        guard count >= 16, count <= 1 << 20 else { throw Status(raw: -EIO) }
        guard let bytes = memory.allocate(bytes: count, alignment: 16) else { throw .noMemory }
        self.bytes = bytes
        self.count = count
        self.memory = memory
        memset(bytes, 0, count)
    }

    deinit { memory.deallocate(bytes, bytes: count) }

    /// How many entries of a list there are: what its header says, as far as the answer holds them.
    func entries(claimed: UInt32, header: Int, stride: Int) -> Int {
        min(Int(claimed), max(count - header, 0) / stride)
    }

    /// - Precondition: the answer holds it, aligned.
    func load<T>(_ type: T.Type, at offset: Int) -> T { bytes.load(fromByteOffset: offset, as: type) }
}
