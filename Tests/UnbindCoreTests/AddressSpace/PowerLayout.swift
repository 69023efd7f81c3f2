// The layout that PowerReferences relies on; apart, because the tests of the C functions do not see the core.

@testable import UnbindCore

enum PowerLayout {
    /// The work item of a device with power callbacks knows what it is in.
    static func isItemInPlace(_ device: OpaquePointer) -> Bool {
        guard let power = DevicePointer(device).pointee.power else { return false }
        return power.itemPointer.pointee.context == UnsafeMutableRawPointer(power)
    }
}
