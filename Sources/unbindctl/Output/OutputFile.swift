// A file that appears whole or not at all.

import Glibc

/// Text is written beside the target and takes its place at the end. What is not a regular file, such
/// as a pipe or /dev/stdout, is written to directly; "-" is standard output.
struct OutputFile: ~Copyable {
    private let path: String
    private let temporary: String?
    private var descriptor: Int32

    /// Opens the file before the work begins, so that a bad path is known early.
    init(path: String) throws(ToolError) {
        self.path = path
        var status = stat()
        if path == "-" {
            temporary = nil
            descriptor = dup(STDOUT_FILENO)
        } else if stat(path, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
            temporary = nil
            descriptor = open(path, O_WRONLY | O_CLOEXEC)
        } else {
            let name = "\(path).\(getpid()).part"
            temporary = name
            descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        }
        if descriptor < 0 { throw .system(path, "cannot write", exitCode: EX_CANTCREAT) }
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if let temporary { unlink(temporary) }
    }

    /// Writes the text and puts the file in its place.
    mutating func commit(_ text: String) throws(ToolError) {
        let bytes = Array(text.utf8)
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw .system(path, "cannot write", exitCode: EX_IOERR)
            }
            written += count
        }
        guard let temporary else { return }
        let synced = fsync(descriptor)
        let closed = close(descriptor)
        descriptor = -1
        guard synced == 0, closed == 0, rename(temporary, path) == 0 else {
            throw .system(path, "cannot write", exitCode: EX_IOERR)
        }
    }
}
