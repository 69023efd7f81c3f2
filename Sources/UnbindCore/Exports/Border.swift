// Border: how C arguments become the core's, and the core's results become C's. Used by every file here, which hold
// nothing else: an export checks its arguments and calls one method.

import CSystem
import CUnbind

/// Runs an export's body; its failure becomes the negative errno.
@inline(__always)
func cStatus(_ body: () throws(Status) -> Void) -> Int32 {
    do throws(Status) {
        try body()
        return 0
    } catch {
        return error.raw
    }
}

// MARK: Handles

/// What a C handle can point to: begins with a word that says what it is, while it is alive.
protocol HandleObject: ~Copyable {
    static var magic: UInt32 { get }
}

extension Device: HandleObject {}
extension Fence: HandleObject {}
extension AddressSpace: HandleObject {}
extension BufferObject: HandleObject {}
extension VMA: HandleObject {}
extension Queue: HandleObject {}
extension Timeline: HandleObject {}
extension Hold: HandleObject {}
extension BindQueue: HandleObject {}
extension RangeTracker: HandleObject {}
extension ZoneAllocator: HandleObject {}

/// A C handle as a pointer to the object, if the object there is of that kind and alive. What `magic` cannot see (a
/// pointer to memory that is no object at all) is the caller's to avoid.
@inline(__always)
func object<T: HandleObject & ~Copyable>(_ handle: OpaquePointer?) throws(Status) -> UnsafeMutablePointer<T> {
    guard let handle, UInt(bitPattern: handle) & 7 == 0,
        UnsafeRawPointer(handle).load(as: UInt32.self) == T.magic
    else { throw Status.invalid }
    return UnsafeMutablePointer<T>(handle)
}

/// An out-parameter that must be there.
@inline(__always)
func required<T>(_ pointer: UnsafeMutablePointer<T>?) throws(Status) -> UnsafeMutablePointer<T> {
    guard let pointer else { throw Status.invalid }
    return pointer
}

// MARK: Lists

/// The most entries that a list of the caller's may have.
let listLimit: UInt32 = 65536

// MARK: Flags and times

/// Only flags of the mask are known.
@inline(__always)
func check(_ flags: UInt32, allowed: UInt32) throws(Status) {
    if flags & ~allowed != 0 { throw Status.invalid }
}

struct WaitFlags {
    let absolute: Bool
    let interruptible: Bool

    @inline(__always)
    init(_ flags: UInt32, allowed: UInt32 = UNBIND_WAIT_ABSOLUTE | UNBIND_WAIT_INTERRUPTIBLE) throws(Status) {
        try check(flags, allowed: allowed)
        absolute = flags & UNBIND_WAIT_ABSOLUTE != 0
        interruptible = flags & UNBIND_WAIT_INTERRUPTIBLE != 0
    }
}

// MARK: Structs that grow

/// A struct larger than this is no struct.
private let structSizeLimit = 4096

/// Checks struct_size, the first member, and that what lies beyond the members this library knows is zero.
private func checkedSize(of pointer: UnsafeRawPointer, known: Int) throws(Status) -> Int {
    let size = Int(pointer.loadUnaligned(as: UInt32.self))
    if size < MemoryLayout<UInt32>.size || size & 3 != 0 { throw Status.invalid }
    if size > structSizeLimit { throw Status.tooBig }
    var offset = known
    while offset < size {
        if (pointer + offset).load(as: UInt8.self) != 0 { throw Status.tooBig }
        offset += 1
    }
    return size
}

/// The caller's struct; members that an older caller does not send stay as in `value`, which is all zero.
func read<T: BitwiseCopyable>(_ pointer: UnsafePointer<T>, zero value: T) throws(Status) -> T {
    let size = try checkedSize(of: pointer, known: MemoryLayout<T>.size)
    var value = value
    withUnsafeMutableBytes(of: &value) { _ = memcpy($0.baseAddress!, pointer, min(size, $0.count)) }
    return value
}

/// Fills the caller's struct as far as the caller knows it; its struct_size stays.
func write<T: BitwiseCopyable>(_ value: T, to pointer: UnsafeMutablePointer<T>) throws(Status) {
    let size = try checkedSize(of: pointer, known: MemoryLayout<T>.size)
    let sizeField = MemoryLayout<UInt32>.size
    withUnsafeBytes(of: value) { bytes in
        let (to, from) = (UnsafeMutableRawPointer(pointer) + sizeField, bytes.baseAddress! + sizeField)
        _ = memcpy(to, from, min(size, bytes.count) - sizeField)
    }
}
