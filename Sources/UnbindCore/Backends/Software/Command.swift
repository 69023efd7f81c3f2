// Command: one thing a queue does (struct unbind_command of <unbind/queue.h>).

/// The values below 256 are those of UNBIND_COMMAND_*.
enum CommandKind: UInt32 {
    case fill = 0
    case copy = 1
    case store = 2
    case load = 3
    case delay = 4
    case wait = 5
    /// Of the caller's own commands; a backend's alone.
    case batch = 6
    /// The library's own: moves a buffer's memory, both addresses being the host's.
    case move = 256
}

/// Checked by whoever makes it: FILL has address and size in multiples of 4, STORE, LOAD and BATCH an address in
/// multiples of 8.
struct Command {
    var kind: CommandKind
    var address: UInt64 = 0
    var source: UInt64 = 0
    var size: UInt64 = 0
    var value: UInt64 = 0
    var result: UnsafeMutablePointer<UInt64>?
    /// WAIT: a counted reference once the command is in a job.
    var fence: FencePointer?
}
