// The GPU that --device means.

import Glibc
import Unbind

extension GPUInfo {
    /// - Throws: ToolError, which says what is wrong with the selector.
    static func selected(by selector: String, opensNodes: Bool) throws -> GPUInfo {
        do {
            return try find(selector, opensNodes: opensNodes)
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
