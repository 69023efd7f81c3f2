// BufferObject: memory that can be bound in address spaces (<unbind/bo.h>).

import CUnbind

/// A buffer. Its memory outlives everything that can still reach it: the last reference, the last
/// VMA and the last pending unbind.
public final class BufferObject: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer
    /// The device it belongs to.
    public let device: Device

    /// Where a buffer's memory is.
    public enum Region: UInt32, Sendable {
        case system
        case local
    }

    /// Makes a buffer of zeroed memory.
    ///
    /// - Parameter size: bytes, a multiple of 4 KiB.
    public init(of device: Device, size: UInt64, in region: Region = .system) throws(UnbindError) {
        self.device = device
        handle = try UnbindError.make { unbind_bo_create(device.handle, size, region.rawValue, 0, $0) }
    }

    /// Makes a buffer of the caller's memory.
    ///
    /// - Parameters:
    ///   - memory: aligned to 4 KiB, its size a multiple of 4 KiB; must stay valid until `release`
    ///     is called, or as long as the device when there is none.
    ///   - release: called once when nothing can reach the memory any more.
    public init(
        of device: Device, wrapping memory: UnsafeMutableRawBufferPointer, release: (@Sendable () -> Void)? = nil
    ) throws(UnbindError) {
        self.device = device
        guard let release else {
            handle = try UnbindError.make {
                unbind_bo_wrap(device.handle, memory.baseAddress, UInt64(memory.count), nil, nil, $0)
            }
            return
        }
        let box = Unmanaged.passRetained(Release(release))
        do throws(UnbindError) {
            handle = try UnbindError.make {
                unbind_bo_wrap(
                    device.handle, memory.baseAddress, UInt64(memory.count),
                    { data, _ in
                        guard let data else { return }
                        Unmanaged<Release>.fromOpaque(data).takeRetainedValue().body()
                    }, box.toOpaque(), $0)
            }
        } catch {
            box.release()
            throw error
        }
    }

    deinit { unbind_bo_unref(handle) }

    /// Where the CPU sees the buffer, valid as long as this object and until `migrate`. The library does not order CPU
    /// accesses against GPU work: see `wait`.
    public var contents: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: unbind_bo_cpu_pointer(handle), count: Int(size))
    }

    /// Size in bytes.
    public var size: UInt64 { unbind_bo_size(handle) }

    /// The number that names the buffer in faults, dumps and pages.
    public var id: UInt64 { unbind_bo_id(handle) }

    /// Waits until all that the library knows to use the buffer has finished.
    public func wait(timeout: Duration? = nil, interruptible: Bool = false) throws(UnbindError) {
        try UnbindError.check(
            unbind_bo_wait(handle, timeoutNanoseconds(timeout), waitFlags(interruptible: interruptible)))
    }

    private final class Release: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
