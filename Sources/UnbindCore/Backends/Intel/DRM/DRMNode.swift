// DRMNode: the seam to the kernel. Every call to an open DRM node of the Intel backends goes through here: ioctls,
// mappings, and (DRMNode+Syncobj, DRMNode+Buffers) what all drivers have in common, which libdrm does.
//
// A plain value: the descriptor and who closes it. Whoever opened the node keeps it until all that was made with it is
// gone; GEM and sync object handles are names in this descriptor's file. Any thread.
//
// What is done about errors is decided here and nowhere else:
//   EINTR    repeated, up to 1,000 times, then passed on
//   EAGAIN   repeated with a pause of some microseconds; passed on after 100 times, and for a submission (EXEC and
//            VM_BIND, where it says that the queue is full) after 8
//   EBUSY    likewise 100 times where it means that the kernel is a moment behind itself (Request.binding), and 10,000
//            times if nobody would come back for it (Request.ending)
//   others   passed on at once. ENOMEM: unbinds come back later, all else fails. ENOBUFS: an array of binds was too
//            long, and halves of it follow. What ends something (a handle, a queue) is tried 8 times

import CLibDRM
import CSystem

struct DRMNode: BitwiseCopyable {
    let file: Int32
    /// Else it is the program's, which closes it.
    let isOwned: Bool

    /// What the answer "again" means.
    enum Request {
        /// The kernel lost a race with itself.
        case ordinary
        /// The kernel has as much as it takes, and who asks has other things to do than to wait.
        case submission
        /// As submission. What it changes was bound with a user fence, which is written a moment before the kernel
        /// takes it for signalled: until then that is busy.
        case binding
        /// As binding, of what would be left as it is.
        case ending

        fileprivate var attempts: Int { self == .ordinary ? 100 : 8 }
        fileprivate var attemptsAtBusy: Int { self == .binding ? 100 : self == .ending ? 10_000 : 1 }
    }

    private static var interruptions: Int { 1000 }

    init(file: Int32, isOwned: Bool) {
        self.file = file
        self.isOwned = isOwned
    }

    /// Opens a node for reading and writing, close-on-exec.
    static func open(_ path: borrowing FixedText) throws(Status) -> DRMNode {
        let file = path.withCString { path in
            guard let path, path.pointee != 0 else { return -ENOENT }
            return repeating(.ordinary) { clibdrm_open(path) }
        }
        return DRMNode(file: try checked(file), isOwned: true)
    }

    /// Nothing may be used any more that was made with it. The program's own stays open.
    func close() {
        if isOwned { _ = clibdrm_close(file) }
    }

    /// One ioctl. The argument is as the kernel left it, also after an error.
    func call<Argument>(
        _ request: UInt, _ argument: inout Argument, as kind: Request = .ordinary
    ) throws(Status) {
        let status = withUnsafeMutablePointer(to: &argument) { argument in
            Self.repeating(kind) { clibdrm_ioctl_once(file, request, argument) }
        }
        _ = try Self.checked(status)
    }

    /// The policy: calls until what it answers is to be passed on.
    static func repeating(_ kind: Request, _ attempt: () -> Int32) -> Int32 {
        var attempts = kind.attempts
        var attemptsAtBusy = kind.attemptsAtBusy
        var interruptions = Self.interruptions
        while true {
            let status = attempt()
            if status == -EINTR, interruptions > 1 {
                interruptions &-= 1
            } else if status == -EAGAIN, attempts > 1 {
                attempts &-= 1
                csys_nap()
            } else if status == -EBUSY, attemptsAtBusy > 1 {
                attemptsAtBusy &-= 1
                csys_nap()
            } else {
                return status
            }
        }
    }

    /// As call, for what ends something. The kernel has no reason to refuse that: what it says is tried again a few
    /// times, unless it knows of no such thing, and then left.
    func end<Argument>(_ request: UInt, _ argument: inout Argument) {
        withUnsafeMutablePointer(to: &argument) { argument in
            Self.insist { clibdrm_ioctl_once(file, request, argument) }
        }
    }

    static func insist(_ end: () -> Int32) {
        for _ in 0..<8 {
            let status = end()
            if status == 0 || status == -ENOENT || status == -EINVAL { return }
            csys_nap()
        }
    }

    /// A result of the C library's: itself, or the error.
    static func checked(_ status: Int32) throws(Status) -> Int32 {
        if status < 0 { throw Status(raw: status) }
        return status
    }

    // MARK: Mappings

    /// What an offset that the driver gave stands for, where the CPU sees it.
    func map(offset: UInt64, size: UInt64) throws(Status) -> UnsafeMutableRawPointer {
        var address: UnsafeMutableRawPointer?
        _ = try Self.checked(Self.repeating(.submission) { clibdrm_map(file, offset, size, &address) })
        return address!
    }

    static func unmap(_ address: UnsafeMutableRawPointer, size: UInt64) {
        _ = clibdrm_unmap(address, size)
    }

    // MARK: What it is

    /// Of DRM_CAP_*; 0 if the kernel does not know it.
    func capability(_ capability: UInt32) throws(Status) -> UInt64 {
        var value: UInt64 = 0
        let status = clibdrm_get_cap(file, UInt64(capability), &value)
        if status == -EINVAL { return 0 }
        _ = try Self.checked(status)
        return value
    }

    /// The device number; 0 if it is no character device.
    var number: UInt64 { clibdrm_node_number(file) }
}
