// Device: a GPU, its clock, and who runs its work (<unbind/device.h>).

import CUnbind

/// A software GPU, of which every opening gives another one, or an Intel GPU.
///
/// With the simulated executor a device and all its objects belong to one thread; otherwise every
/// method may be called from any thread.
public final class Device: @unchecked Sendable {
    /// The C handle, for calls that this module does not wrap.
    public let handle: OpaquePointer

    /// What the C callbacks point at; it must live as long as the C device.
    private let callbacks: Callbacks

    /// Opens a software GPU.
    public convenience init(_ options: Options = Options()) throws(UnbindError) {
        try self.init(options) { raw, out in unbind_device_open_software(raw, out) }
    }

    /// How an Intel GPU is opened (<unbind/intel.h>).
    public struct IntelOptions: Sendable {
        /// GPU access to what is not mapped reads zero and writes nothing, instead of ending the job.
        public var scratch: Bool
        /// i915: an unbind leaves the mapping to the kernel, which drops it when its place is wanted.
        public var lazyUnbind: Bool
        /// xe: address spaces in which jobs may take as long as they like.
        public var longRunning: Bool

        public init(scratch: Bool = false, lazyUnbind: Bool = false, longRunning: Bool = false) {
            self.scratch = scratch
            self.lazyUnbind = lazyUnbind
            self.longRunning = longRunning
        }
    }

    /// Opens an Intel GPU.
    ///
    /// - Parameter selector: which one, as for `GPUInfo.find`.
    public convenience init(
        intel selector: String, _ intel: IntelOptions = IntelOptions(), _ options: Options = Options()
    ) throws(UnbindError) {
        try self.init(options) { raw, out in
            var rawIntel = unbind_intel_options()
            rawIntel.struct_size = structSize(of: unbind_intel_options.self)
            rawIntel.flags =
                (intel.scratch ? UNBIND_INTEL_SCRATCH : 0) | (intel.lazyUnbind ? UNBIND_INTEL_LAZY_UNBIND : 0)
                | (intel.longRunning ? UNBIND_INTEL_LONG_RUNNING : 0)
            rawIntel.fd = -1
            return unbind_device_open_intel(selector, &rawIntel, raw, out)
        }
    }

    private init(
        _ options: Options,
        open: (UnsafePointer<unbind_device_options>, UnsafeMutablePointer<OpaquePointer?>) -> Int32
    ) throws(UnbindError) {
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
                    return open(&raw, out)
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

    /// What the device can do; what it cannot is refused with `UnbindError.notSupported`.
    public var capabilities: Capabilities { Capabilities(rawValue: unbind_device_capabilities(handle)) }

    /// The device's clock in nanoseconds: monotonic time, or virtual time from 0.
    public var now: UInt64 { unbind_device_now(handle) }

    /// Manual and simulated executors: runs work that is ready, and says how many pieces; none from a callback.
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
