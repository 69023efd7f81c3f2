// BindingLog: the binding events of a test's device, in the order in which they came. For devices of one thread.

import CUnbind

final class BindingLog {
    private(set) var all: [unbind_binding_event] = []

    func install(in options: inout unbind_device_options) {
        options.binding_data = Unmanaged.passUnretained(self).toOpaque()
        options.binding = { data, event in
            Unmanaged<BindingLog>.fromOpaque(data!).takeUnretainedValue().all.append(event!.pointee)
        }
    }
}
