// Status: why something failed, as the negative errno that the C interface returns.
//
// One errno per cause; the table is in include/unbind/unbind.h. Inside the core a failing function
// throws a Status (typed throws: no allocation, no existential); Exports turn it into the int.

import CSystem

struct Status: Error, Equatable {
    let raw: Int32

    @inline(__always) init(raw: Int32) { self.raw = raw }

    static var invalid: Status { Status(raw: -EINVAL) }
    static var tooBig: Status { Status(raw: -E2BIG) }
    static var closed: Status { Status(raw: -ENOENT) }
    static var noMemory: Status { Status(raw: -ENOMEM) }
    static var noSpace: Status { Status(raw: -ENOSPC) }
    static var noDevice: Status { Status(raw: -ENODEV) }
    static var busy: Status { Status(raw: -EBUSY) }
    static var again: Status { Status(raw: -EAGAIN) }
    static var interrupted: Status { Status(raw: -EINTR) }
    static var timedOut: Status { Status(raw: -ETIME) }
    static var exists: Status { Status(raw: -EEXIST) }
    static var noBuffers: Status { Status(raw: -ENOBUFS) }
    static var already: Status { Status(raw: -EALREADY) }
    static var deadlock: Status { Status(raw: -EDEADLK) }
    static var lost: Status { Status(raw: -EIO) }
    static var fault: Status { Status(raw: -EFAULT) }
    static var unsupported: Status { Status(raw: -EOPNOTSUPP) }
}
