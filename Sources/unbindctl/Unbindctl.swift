// unbindctl: the command-line tool of libunbind.
//
// It reaches the library through its public interface alone, so it is also a program of the kind
// that users write.

import ArgumentParser
import Glibc
import Unbind

@main
struct Unbindctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unbindctl",
        abstract: "Replays captures of GPU address spaces, measures the waiting, and lists the GPUs of this machine.",
        version: "unbindctl \(Library.version)",
        subcommands: [
            ReplayCommand.self, DemoCommand.self, ProbeCommand.self, SelftestCommand.self, VersionCommand.self,
        ])
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Prints the version of the library in use.")

    func run() { print(Library.version) }
}

/// What went wrong, as one line for the user and an exit code of sysexits.h.
struct ToolError: Error {
    let message: String
    let exitCode: Int32

    /// The input is not what it should be.
    static func data(_ file: String, _ line: Int?, _ message: String) -> ToolError {
        let place = line.map { "\(file):\($0)" } ?? file
        return ToolError(message: "\(place): \(message)", exitCode: EX_DATAERR)
    }

    /// The run itself failed, or its result is not what it must be.
    static func software(_ message: String) -> ToolError { ToolError(message: message, exitCode: EX_SOFTWARE) }

    /// The name of an errno, in words.
    static func system(_ file: String, _ what: String, exitCode: Int32) -> ToolError {
        ToolError(message: "\(file): \(what): \(String(cString: strerror(errno)))", exitCode: exitCode)
    }
}

/// Runs a command's body; an error becomes its line on stderr and its exit code.
func reportingErrors(_ body: () throws -> Void) throws {
    do {
        try body()
    } catch let error as ToolError {
        writeError("unbindctl: \(error.message)\n")
        throw ExitCode(error.exitCode)
    } catch let error as UnbindError {
        writeError("unbindctl: \(error)\n")
        throw ExitCode(EX_SOFTWARE)
    }
}
