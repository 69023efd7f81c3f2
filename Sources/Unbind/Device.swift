// Device: a GPU, its clock, and who runs its work (<unbind/device.h>).

import CUnbind

/// A software GPU. Opening another one gives another GPU.
///
/// With the simulated executor a device and all its objects belong to one thread; otherwise every
/// method may be called from any thread.
public final class Device: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer

    /// What the C callbacks point at; it must live as long as the C device.
    private let callbacks: Callbacks

    /// Opens a software GPU.
    public init(_ options: Options = Options()) throws(UnbindError) {
        let callbacks = Callbacks(
            log: options.log, fault: options.fault, binding: options.binding, power: options.power)
        self.callbacks = callbacks
        handle = try UnbindError.make { out in
            var costs = options.costModel?.cValue ?? unbind_cost_model()
            var power = callbacks.powerCallbacks
            return withUnsafePointer(to: &costs) { costs in
                withUnsafePointer(to: &power) { power in
                    var raw = options.cValue
                    raw.cost_model = options.costModel == nil ? nil : costs
                    raw.power = options.power == nil ? nil : power
                    callbacks.install(in: &raw)
                    return unbind_device_open_software(&raw, out)
                }
            }
        }
    }

    deinit { unbind_device_unref(handle) }

    /// Closes the device and tells what was still alive. Accepted work runs to its end first.
    @discardableResult
    public func close() throws(UnbindError) -> LeakReport {
        var raw = unbind_leak_report()
        raw.struct_size = structSize(of: unbind_leak_report.self)
        try UnbindError.check(unbind_device_close(handle, &raw))
        return LeakReport(raw)
    }

    /// The device's clock in nanoseconds: monotonic time, or virtual time from 0.
    public var now: UInt64 { unbind_device_now(handle) }

    /// Manual and simulated executors: runs work that is ready, and says how many pieces.
    @discardableResult
    public func run(atMost maxItems: UInt32 = 0) throws(UnbindError) -> UInt32 {
        var ran: UInt32 = 0
        try UnbindError.check(unbind_device_run(handle, maxItems, &ran))
        return ran
    }

    /// Manual and simulated executors: runs all work up to a time of the device's clock.
    public func run(until time: UInt64) throws(UnbindError) {
        try UnbindError.check(unbind_device_run_until(handle, time))
    }

    /// Waits until no work is left that could run by itself.
    public func waitIdle(timeout: Duration? = nil, interruptible: Bool = false) throws(UnbindError) {
        try UnbindError.check(
            unbind_device_wait_idle(
                handle, timeoutNanoseconds(timeout), waitFlags(interruptible: interruptible)))
    }

    /// When the next piece of work can run; nil when none is known.
    public func nextEvent() throws(UnbindError) -> UInt64? {
        var time: UInt64 = 0
        try UnbindError.check(unbind_device_next_event(handle, &time))
        return time == .max ? nil : time
    }

    /// Manual executor: a file descriptor for `poll`. It belongs to the device.
    public func eventFileDescriptor() throws(UnbindError) -> Int32 {
        var descriptor: Int32 = -1
        try UnbindError.check(unbind_device_get_eventfd(handle, &descriptor))
        return descriptor
    }

    /// The device's counters; exact when nothing runs.
    public func statistics() throws(UnbindError) -> Statistics {
        var raw = unbind_device_stats()
        raw.struct_size = structSize(of: unbind_device_stats.self)
        try UnbindError.check(unbind_device_get_stats(handle, &raw))
        return Statistics(raw)
    }

    /// The state of the device as text for a human.
    public func dump() throws(UnbindError) -> String {
        let text = TextCollector()
        try UnbindError.check(unbind_device_dump(handle, TextCollector.write, text.pointer))
        return text.string
    }
}
