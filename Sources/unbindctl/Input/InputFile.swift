// The bytes of an input file.

import Glibc

/// Reads a whole file, "-" being standard input.
func readFile(_ path: String) throws(ToolError) -> [UInt8] {
    let descriptor = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(path, "cannot open", exitCode: EX_NOINPUT) }
    defer { if descriptor != STDIN_FILENO { close(descriptor) } }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 18)
    while true {
        let count = read(descriptor, &chunk, chunk.count)
        if count == 0 { return bytes }
        if count < 0 {
            if errno == EINTR { continue }
            throw .system(path, "cannot read", exitCode: EX_NOINPUT)
        }
        bytes.append(contentsOf: chunk[0..<count])
    }
}

/// The last component of a path.
func baseName(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
}
