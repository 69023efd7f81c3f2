// The device that --device means, for whatever works on one.

import Glibc
import Synchronization
import Unbind

/// What the library's log says, for those who have to tell the user of an error.
final class DeviceMessages: Sendable {
    private let collected = Mutex<[String]>([])

    var lines: [String] { collected.withLock { $0 } }

    func add(_ line: String) { collected.withLock { $0.append(line) } }
}

extension Device {
    /// Opens the software GPU ("software") or an Intel GPU of this machine.
    ///
    /// - Parameter messages: gets the library's log.
    /// - Throws: ToolError, which says why it cannot be opened.
    static func opened(
        by selector: String, _ options: Options = Options(), log messages: DeviceMessages = DeviceMessages()
    ) throws -> Device {
        var options = options
        options.log = { _, line in messages.add(line) }
        if selector == "software" { return try Device(options) }
        let gpu = try GPUInfo.selected(by: selector, opensNodes: false)
        do throws(UnbindError) {
            return try Device(intel: gpu.pciAddress, IntelOptions(), options)
        } catch {
            let reasons = ["\(gpu.pciAddress) cannot be opened: \(error)"] + messages.lines
            throw ToolError(
                message: "--device \"\(selector)\": \(reasons.joined(separator: "; "))", exitCode: EX_UNAVAILABLE)
        }
    }
}
