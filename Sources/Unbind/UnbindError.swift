// The one error of the module: the status a C function returned.

import CUnbind
import Glibc

/// Why a call failed. A call that failed changed nothing.
///
///     do {
///         try vma.bind()
///     } catch .noSpace {
///         // the fixed range is taken
///     }
public struct UnbindError: Error, Hashable, Sendable {
    /// The negative errno that the C function returned.
    public let status: Int32

    /// The error of a negative errno.
    public init(status: Int32) { self.status = status }

    /// Bad argument: an unaligned or overflowing range, or an object of another device.
    public static let invalidArgument = UnbindError(status: -EINVAL)
    /// The device, the address space or the queue is closed; nothing was found.
    public static let closed = UnbindError(status: -ENOENT)
    /// No memory.
    public static let noMemory = UnbindError(status: -ENOMEM)
    /// No free address range, or the fixed one is taken.
    public static let noSpace = UnbindError(status: -ENOSPC)
    /// The range lies outside the address space.
    public static let outsideAddressSpace = UnbindError(status: -ENODEV)
    /// Still in use: wait for it first. Of a lock: somebody else has it.
    public static let busy = UnbindError(status: -EBUSY)
    /// Not now: not signalled yet, suspended, or closing.
    public static let notYet = UnbindError(status: -EAGAIN)
    /// The wait was interrupted by a signal.
    public static let interrupted = UnbindError(status: -EINTR)
    /// The wait expired.
    public static let timedOut = UnbindError(status: -ETIME)
    /// The lock context has the lock already.
    public static let alreadyLocked = UnbindError(status: -EALREADY)
    /// A lock context has to give way to an older one; simulated executor: nothing is left that could run.
    public static let deadlock = UnbindError(status: -EDEADLK)
    /// A job hit a GPU page fault.
    public static let pageFault = UnbindError(status: -EFAULT)
    /// A move lost the buffer's contents.
    public static let lost = UnbindError(status: -EIO)
    /// Something is mapped there already.
    public static let alreadyMapped = UnbindError(status: -EEXIST)
    /// More operations than one batch can have.
    public static let tooManyOperations = UnbindError(status: -ENOBUFS)
    /// This executor cannot do that.
    public static let notSupported = UnbindError(status: -EOPNOTSUPP)

    /// Throws unless `status` says success; hands it back otherwise.
    @discardableResult
    static func check(_ status: Int32) throws(UnbindError) -> Int32 {
        guard status >= 0 else { throw UnbindError(status: status) }
        return status
    }

    /// Runs a function that makes an object, and gives the object's handle.
    static func make(
        _ body: (_ out: UnsafeMutablePointer<OpaquePointer?>) -> Int32
    ) throws(UnbindError) -> OpaquePointer {
        var handle: OpaquePointer?
        try check(body(&handle))
        guard let handle else { throw .invalidArgument }
        return handle
    }
}

extension UnbindError: CustomStringConvertible {
    /// The errno's name, such as "-ENOSPC".
    public var name: String { String(cString: unbind_status_name(status)) }

    /// The name and one sentence: what it means and what to do next.
    public var description: String { "\(name): \(String(cString: unbind_status_string(status)))" }
}
