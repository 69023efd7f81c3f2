// RunningDevice: whose work a thread is doing: work items and callbacks. One device's may be inside another's: a
// callback signals a fence of a second device, whose callback comes back to the first.

import CSystem

struct RunningDevice {
    private let device: UnsafeMutableRawPointer
    private let outer: UnsafeMutableRawPointer?

    /// For as long as body runs, this thread does the device's work.
    @inline(__always)
    static func run(_ device: UnsafeMutableRawPointer, _ body: () -> Void) {
        let current = csys_thread_running_device()!
        let outer = current.pointee
        var running = RunningDevice(device: device, outer: outer)
        withUnsafeMutablePointer(to: &running) {
            current.pointee = UnsafeMutableRawPointer($0)
            body()
        }
        current.pointee = outer
    }

    static func isRunning(_ device: UnsafeMutableRawPointer) -> Bool {
        var next = csys_thread_running_device()!.pointee
        while let running = next?.assumingMemoryBound(to: RunningDevice.self) {
            if running.pointee.device == device { return true }
            next = running.pointee.outer
        }
        return false
    }
}
