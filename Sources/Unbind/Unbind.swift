// The Swift interface of libunbind.
//
// Written on the C functions of <unbind/unbind.h> alone: a class for each kind of handle, whose
// deinit drops the reference; a struct with defaults for each set of options; one typed error.
// What a call does, and when it may wait, is told by the C header; here stands what differs.
//
// Every object keeps the objects it was made from alive, so a device is closed when the last of
// its objects has gone, or by Device.close().

import CUnbind

/// The library that is running.
public enum Library {
    /// The version as text, such as "0.1.0".
    public static var version: String { String(cString: unbind_version_string()) }

    /// One number that orders versions: major, minor and patch in ten bits each.
    public static var versionNumber: UInt32 { unbind_version() }
}

/// `sizeof` a C struct, for its `struct_size` member.
func structSize<T>(of _: T.Type) -> UInt32 { UInt32(MemoryLayout<T>.size) }

/// The arguments that a waiting function takes: nil waits for ever.
func timeoutNanoseconds(_ timeout: Duration?) -> UInt64 {
    guard let timeout else { return .max }
    let (seconds, attoseconds) = timeout.components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carry) = product.addingReportingOverflow(UInt64(attoseconds) / 1_000_000_000)
    return overflow || carry ? .max : sum
}

/// The flags that a waiting function takes.
func waitFlags(interruptible: Bool) -> UInt32 { interruptible ? UNBIND_WAIT_INTERRUPTIBLE : 0 }
