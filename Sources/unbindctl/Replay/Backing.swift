// Memory for buffers whose bytes nobody looks at.

import Glibc
import Unbind

/// One stretch of address space that all buffers of a replay share. No page of it is ever touched,
/// so that replaying many gigabytes takes no memory.
final class Backing {
    private let base: UnsafeMutableRawPointer
    private let length: Int
    private static let alignment: UInt64 = 0x20_0000

    /// - Parameter size: of the largest buffer.
    init(size: UInt64) throws(ToolError) {
        // Room to begin anywhere in a large page.
        length = Int(size + 2 * Backing.alignment)
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let mapping = mmap(nil, length, PROT_READ | PROT_WRITE, flags, -1, 0), mapping != MAP_FAILED else {
            throw .system("a buffer of \(size) bytes", "cannot reserve address space", exitCode: EX_OSERR)
        }
        base = mapping
    }

    deinit { munmap(base, length) }

    /// Memory for a buffer that will be bound at an address. Both have the same place within a large
    /// page, as a driver arranges it, so that the GPU can use large pages.
    func memory(size: UInt64, for address: UInt64) -> UnsafeMutableRawBufferPointer {
        let mask = Backing.alignment - 1
        let aligned = (UInt64(UInt(bitPattern: base)) + mask) & ~mask
        let place = aligned + (address & mask)
        return UnsafeMutableRawBufferPointer(
            start: UnsafeMutableRawPointer(bitPattern: UInt(place)), count: Int(size))
    }
}
