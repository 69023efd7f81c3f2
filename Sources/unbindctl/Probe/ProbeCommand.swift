// unbindctl probe: which Intel GPUs are in the machine, and what their drivers say.

import ArgumentParser
import Glibc
import Unbind

struct ProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe", abstract: "Lists the Intel GPUs of this machine.",
        discussion: """
            A selector is a PCI address (0000:03:00.0), a device node (/dev/dri/renderD128), "discrete", "integrated", \
            or a list of ids (pci:vendor=8086,device=56a0,card=0).
            """)

    @Option(help: ArgumentHelp("Lists only the GPU that this means.", valueName: "selector"))
    var device: String?

    @Flag(help: "Prints JSON.")
    var json = false

    @Flag(name: .customLong("no-open"), help: "Opens no device node, so that no sleeping GPU wakes up.")
    var noOpen = false

    func run() throws {
        try reportingErrors {
            let gpus = try device.map { [try find($0)] } ?? GPUInfo.all(opensNodes: !noOpen)
            if json {
                print(JSON.object([("gpus", .array(gpus.map(\.json)))]).text())
            } else if gpus.isEmpty {
                print("No Intel GPU in this machine.")
            } else {
                print(gpus.map { $0.lines.joined(separator: "\n") }.joined(separator: "\n\n"))
            }
        }
    }

    private func find(_ selector: String) throws -> GPUInfo {
        do {
            return try GPUInfo.find(selector, opensNodes: !noOpen)
        } catch .malformed(let offset) {
            let rest = String(decoding: selector.utf8.dropFirst(offset), as: UTF8.self)
            let place = rest.isEmpty ? "it ends too early" : "from character \(offset + 1) on, \"\(rest)\""
            throw ToolError(message: "--device \"\(selector)\" is no selector: \(place)", exitCode: EX_USAGE)
        } catch .notFound {
            throw ToolError(
                message: "--device \"\(selector)\": no such Intel GPU in this machine", exitCode: EX_UNAVAILABLE)
        } catch .failed(let error) {
            throw error
        }
    }
}
