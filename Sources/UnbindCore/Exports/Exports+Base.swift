// Exports of <unbind/base.h>: version and status texts.

import CSystem
import CUnbind

@implementation @_cdecl("unbind_version")
public func unbind_version() -> UInt32 {
    UInt32(UNBIND_VERSION_MAJOR) << 20 | UInt32(UNBIND_VERSION_MINOR) << 10 | UInt32(UNBIND_VERSION_PATCH)
}

@implementation @_cdecl("unbind_version_string")
public func unbind_version_string() -> UnsafePointer<CChar>! { csys_version_string() }

@implementation @_cdecl("unbind_status_name")
public func unbind_status_name(_ status: Int32) -> UnsafePointer<CChar>! { cString(statusTexts(status).name) }

@implementation @_cdecl("unbind_status_string")
public func unbind_status_string(_ status: Int32) -> UnsafePointer<CChar>! { cString(statusTexts(status).sentence) }

/// Static text is NUL-terminated in the binary.
private func cString(_ text: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}

private func statusTexts(_ status: Int32) -> (name: StaticString, sentence: StaticString) {
    switch status {
    case 0...: ("0", "Success.")
    case -EINVAL:
        ("-EINVAL", "Bad argument: compare handles, alignment, ranges, flags and reserved fields with the header.")
    case -E2BIG: ("-E2BIG", "A struct is larger than this library knows: set the rest to 0, or use a newer library.")
    case -ENOENT: ("-ENOENT", "Closed, or no such thing: open a new device, address space or queue.")
    case -ENOMEM: ("-ENOMEM", "No memory: free buffers or wait for pending unbinds, then try again.")
    case -ENOSPC: ("-ENOSPC", "No free address range: unbind something, or choose another fixed address.")
    case -ENODEV: ("-ENODEV", "The range lies outside the address space, or there is no such GPU: see the call.")
    case -EAGAIN: ("-EAGAIN", "Not now: wait for it, or try again later.")
    case -EBUSY: ("-EBUSY", "In use: finish what uses it, or use the waiting form of the call.")
    case -EINTR: ("-EINTR", "A signal interrupted the wait: nothing has changed, call again.")
    case -ETIME: ("-ETIME", "The wait expired: it has not happened yet, wait again.")
    case -EDEADLK: (
        "-EDEADLK",
        "Waiting cannot help: signal what everything waits for; with locks held, give them up and lock again.")
    case -EEXIST: ("-EEXIST", "Something is mapped there already: unmap it, or allow that it is replaced.")
    case -ENOBUFS: ("-ENOBUFS", "Too many operations for one batch: cut the list, or let the library do it.")
    case -EALREADY: ("-EALREADY", "This lock context has the lock already: go on.")
    case -EIO: ("-EIO", "The device is lost: close it and open it again.")
    case -EFAULT: ("-EFAULT", "A job hit a GPU page fault: the fault callback knows where and what was mapped there.")
    case -EOPNOTSUPP: ("-EOPNOTSUPP", "This executor or backend cannot do that: see the function in the header.")
    case -EMFILE: ("-EMFILE", "This process has too many open files: close some.")
    case -ENFILE: ("-ENFILE", "The system has too many open files: try again later.")
    case -EACCES: ("-EACCES", "No permission for the GPU's device node: join its group, often render.")
    case -EBADF: ("-EBADF", "Not an open file descriptor.")
    default: ("unknown", "Not a status of this library.")
    }
}
