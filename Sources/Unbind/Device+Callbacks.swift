// From the C callbacks to Swift closures.

import CUnbind

/// How serious a message of the library is.
public enum LogLevel: UInt32, Sendable {
    /// Something was lost or is wrong.
    case error
    /// Legal, but probably not what was meant.
    case warning
    /// A rare event of interest.
    case info
}

/// What a device's C callbacks get as their user data. The device owns it, and every object keeps
/// its device, so that no callback can come after it has gone.
final class Callbacks: Sendable {
    let log: (@Sendable (LogLevel, String) -> Void)?
    let fault: (@Sendable (Fault) -> Void)?
    let binding: (@Sendable (BindingEvent) -> Void)?
    let power: (any Device.Power)?

    init(
        log: (@Sendable (LogLevel, String) -> Void)?, fault: (@Sendable (Fault) -> Void)?,
        binding: (@Sendable (BindingEvent) -> Void)?, power: (any Device.Power)?
    ) {
        self.log = log
        self.fault = fault
        self.binding = binding
        self.power = power
    }

    /// For an object with `power`.
    var powerCallbacks: unbind_power_callbacks {
        var raw = unbind_power_callbacks()
        raw.struct_size = structSize(of: unbind_power_callbacks.self)
        raw.user_data = Unmanaged.passUnretained(self).toOpaque()
        raw.get = { data in Callbacks.power(data)?.get() }
        raw.get_if_in_use = { data in Callbacks.power(data)?.getIfInUse() == true ? 1 : 0 }
        raw.put = { data in Callbacks.power(data)?.put() }
        return raw
    }

    private static func power(_ data: UnsafeMutableRawPointer?) -> (any Device.Power)? {
        guard let data else { return nil }
        return Unmanaged<Callbacks>.fromOpaque(data).takeUnretainedValue().power
    }

    func install(in options: inout unbind_device_options) {
        let pointer = Unmanaged.passUnretained(self).toOpaque()
        if log != nil {
            options.log_data = pointer
            options.log = { data, level, message in
                guard let data, let message else { return }
                let callbacks = Unmanaged<Callbacks>.fromOpaque(data).takeUnretainedValue()
                callbacks.log?(LogLevel(rawValue: level) ?? .info, String(cString: message))
            }
        }
        if fault != nil {
            options.fault_data = pointer
            options.fault = { data, fault in
                guard let data, let fault else { return }
                let callbacks = Unmanaged<Callbacks>.fromOpaque(data).takeUnretainedValue()
                callbacks.fault?(Fault(fault.pointee))
            }
        }
        if binding != nil {
            options.binding_data = pointer
            options.binding = { data, event in
                guard let data, let event else { return }
                let callbacks = Unmanaged<Callbacks>.fromOpaque(data).takeUnretainedValue()
                callbacks.binding?(BindingEvent(event.pointee))
            }
        }
    }
}

/// Puts the pieces of a dump together.
final class TextCollector {
    private var bytes: [UInt8] = []

    var pointer: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }
    var string: String { String(decoding: bytes, as: UTF8.self) }

    static let write: unbind_write_fn = { data, text, length in
        guard let data, let text else { return }
        let collector = Unmanaged<TextCollector>.fromOpaque(data).takeUnretainedValue()
        text.withMemoryRebound(to: UInt8.self, capacity: length) {
            collector.bytes.append(contentsOf: UnsafeBufferPointer(start: $0, count: length))
        }
    }
}
