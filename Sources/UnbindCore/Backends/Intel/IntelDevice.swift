// IntelDevice: opens a device on an Intel GPU: finds the GPU, makes the backend for the driver that it has, and opens
// the device on that. When it fails, the program's log is told why.

import CLibDRM
import CSystem
import CUnbind

/// The checked form of struct unbind_intel_options, and the selection.
struct IntelOptions {
    var selector = DeviceSelector.any
    /// The program's own node; -1: none.
    var file: Int32 = -1
    var usesScratch = false
    var unbindsLazily = false
    var isLongRunning = false
    var servesFaults = false
}

enum IntelDevice {
    /// `memory` is the device's, and `backendMemory`, of the same functions, the backend's.
    /// - Parameter limitsLocal: the limit of local memory is the program's; else it is all there is.
    static func open(
        _ intel: IntelOptions, _ options: DeviceOptions, limitsLocal: Bool, memory: consuming Memory,
        backendMemory: consuming Memory
    ) throws(Status) -> DevicePointer {
        if options.executor == .simulated {
            options.host.tell("an Intel GPU needs the pool or the manual executor: its time cannot be simulated")
            throw Status.unsupported
        }
        if intel.servesFaults {
            options.host.tell("of long-running address spaces there are none whose page faults are served")
            throw Status.unsupported
        }
        guard let own = OpeningDevice.makeMemory(backendMemory) else { throw Status.noMemory }
        var options = options
        let description: BackendDescription
        do throws(Status) {
            let gpu = try find(intel, options.host, memory: own)
            if !limitsLocal { options.localMemoryBytes = min(gpu.gpu.localBytes, 1 << 47) }
            description = try makeBackend(gpu, intel, options.host, memory: own)
        } catch {
            OpeningDevice.free(own)
            throw error
        }
        do throws(Status) {
            return try DevicePointer.open(options, memory: memory, backend: description)
        } catch {
            // With its memory.
            description.ops.destroy!(description.context)
            throw error
        }
    }

    private static func find(
        _ intel: IntelOptions, _ host: HostCallbacks, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> IntelGPU {
        do throws(Status) {
            return try IntelGPU.open(intel.selector, file: intel.file, memory: memory)
        } catch {
            switch error.raw {
            case -ENODEV: host.tell(intel.file < 0 ? "no Intel GPU is selected" : "fd is no node of an Intel GPU")
            case -ENOENT: host.tell("the Intel GPU has no device node: has it a driver?")
            case -EACCES, -EPERM: host.tell("no permission to open the Intel GPU's device node")
            default: host.tell("the Intel GPU's driver could not be asked")
            }
            throw error
        }
    }

    /// Takes the GPU's node, also when it fails.
    private static func makeBackend(
        _ gpu: IntelGPU, _ intel: IntelOptions, _ host: HostCallbacks, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> BackendDescription {
        switch gpu.gpu.driver {
        case .xe:
            do throws(Status) {
                let options = XeOptions(usesScratch: intel.usesScratch, isLongRunning: intel.isLongRunning)
                let backend = try XeBackendPointer.make(gpu, options: options, memory: memory)
                if !intel.isLongRunning || backend.pointee.supportsLongRunning { return backend.description }
                backend.free()
            } catch {
                host.tell(
                    error == .unsupported
                        ? "its kernel has no timeline sync objects" : "its driver refused what the library needs",
                    of: gpu.gpu)
                throw error
            }
            host.tell("its kernel makes no long-running address spaces", of: gpu.gpu)
            throw Status.unsupported
        case .i915:
            if intel.isLongRunning {
                host.tell("its driver has no long-running address spaces", of: gpu.gpu)
                gpu.node.close()
                throw Status.unsupported
            }
            do throws(Status) {
                let options = I915Options(unbindsLazily: intel.unbindsLazily, log: HostLog(host))
                return try I915BackendPointer.make(gpu, options: options, memory: memory).description
            } catch {
                host.tell("its driver lacks or refused what the library needs", of: gpu.gpu)
                throw error
            }
        case .other, .none:
            host.tell("its kernel driver is not supported", of: gpu.gpu)
            gpu.node.close()
            throw Status.unsupported
        }
    }
}

extension HostCallbacks {
    /// A line about a device that there is not yet, and of which GPU it speaks.
    fileprivate func tell(_ message: StaticString, of gpu: GPU? = nil) {
        guard let log else { return }
        var text = FixedText()
        if let gpu {
            text.append(gpu.pci.address.text)
            text.append(", ")
            text.append(gpu.driverName)
            text.append(": ")
        }
        text.append(message)
        text.withCString { if let text = $0 { log(logData, LogLevel.error.rawValue, text) } }
    }
}
