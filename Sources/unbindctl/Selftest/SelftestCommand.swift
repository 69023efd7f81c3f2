// unbindctl selftest: proves on one device that what the library promises is so, and says so in TAP or JSON.

import ArgumentParser
import Glibc
import Unbind

struct SelftestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "selftest", abstract: "Proves binding and unbinding on a device, in TAP.",
        discussion: """
            Without --device on the built-in software GPU. A selector is what unbindctl probe takes: a PCI address, a \
            device node, "discrete", "integrated". The exit code is 0 if nothing failed, 1 if something did.
            """)

    @Option(help: ArgumentHelp("The device: \"software\", or an Intel GPU of this machine.", valueName: "selector"))
    var device = "software"

    @Option(help: ArgumentHelp("Waits at most that long for anything to happen.", valueName: "seconds"))
    var timeout: UInt32 = 10

    @Flag(help: "Prints JSON instead of TAP.")
    var json = false

    func validate() throws {
        if timeout == 0 { throw ValidationError("--timeout must be at least 1") }
    }

    func run() throws {
        try reportingErrors {
            let report = SelftestReport(device: device, printsTAP: !json)
            for test in SelftestRun.tests {
                report.add(test.name, try SelftestRun.outcome(of: test, on: device, timeout: .seconds(timeout)))
            }
            if json { print(report.json.text()) } else { report.printPlan() }
            if report.failed > 0 { throw ExitCode(1) }
        }
    }
}
