// GPUInfo on whatever machine the tests run.

import Testing
import Unbind

@Suite("GPUs of the machine")
struct GPUInfoTests {
    @Test("each GPU that is listed is found by its address")
    func listing() throws {
        for opensNodes in [true, false] {
            for gpu in try GPUInfo.all(opensNodes: opensNodes) {
                let found = try GPUInfo.find(gpu.pciAddress, opensNodes: opensNodes)
                #expect(found.pciAddress == gpu.pciAddress && found.deviceID == gpu.deviceID)
                #expect(gpu.vendorID == 0x8086 && (gpu.openErrno == nil) == !opensNodes)
            }
        }
    }

    /// What find says of a selector.
    private func outcome(_ selector: String?) -> String {
        do {
            return try GPUInfo.find(selector).pciAddress
        } catch {
            switch error {
            case .malformed(let offset): return "malformed at \(offset)"
            case .notFound: return "not found"
            case .failed(let error): return "\(error)"
            }
        }
    }

    @Test("a selector that nothing matches is told from one that is malformed")
    func selectors() throws {
        #expect(outcome("pci:vendor=1002") == "not found")
        #expect(outcome("/dev/null") == "not found")
        #expect(outcome("pci:vendor=1002,colour=red") == "malformed at 16")
        #expect(outcome("") == "malformed at 0")
        #expect(outcome(nil) == (try GPUInfo.all().first?.pciAddress ?? "not found"))
    }
}
