// unbindctl probe: which Intel GPUs are in the machine, and what their drivers say.

import ArgumentParser
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
            let gpus = try device.map { [try GPUInfo.selected(by: $0, opensNodes: !noOpen)] } ?? GPUInfo.all(opensNodes: !noOpen)
            if json {
                print(JSON.object([("gpus", .array(gpus.map(\.json)))]).text())
            } else if gpus.isEmpty {
                print("No Intel GPU in this machine.")
            } else {
                print(gpus.map { $0.lines.joined(separator: "\n") }.joined(separator: "\n\n"))
            }
        }
    }
}
