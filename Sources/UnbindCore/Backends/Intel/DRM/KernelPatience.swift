// KernelPatience: what a thread that has nothing to do but wait for the kernel bears from it before the device is given
// up: so many failures in a row, with a nap after each; but a lack of memory for as long as it is likely to pass, as a
// wait for many timelines needs a large array of the kernel's, with pauses that grow.
//
// A plain value, of that thread; a new one after each success.

import CSystem

struct KernelPatience: BitwiseCopyable {
    private var failures = 0
    private var shortages = 0
    /// When the first shortage was met.
    private var shortageBegan: UInt64 = 0

    private static var mostFailures: Int { 2000 }
    private static var longestShortage: UInt64 { 10_000_000_000 }

    /// After a failure: pauses. False: no more of it.
    mutating func bear(_ error: Status) -> Bool {
        guard error == .noMemory else {
            failures &+= 1
            csys_nap()
            return failures < Self.mostFailures
        }
        let now = csys_monotonic_ns()
        if shortages == 0 { shortageBegan = now }
        shortages &+= 1
        let pause: UInt64 = 50_000 &<< UInt64(min(shortages, 6))
        var nobodyWakes: UInt32 = 0
        _ = csys_futex_wait(&nobodyWakes, 0, now &+ pause)
        return now &- shortageBegan < Self.longestShortage
    }
}
