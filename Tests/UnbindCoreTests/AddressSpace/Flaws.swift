// Breaking one rule of one address space on purpose, to see that the tests would find it broken.

@testable import UnbindCore

enum Flaws {
    static func searchOwnRangeOnly(_ space: OpaquePointer) { VMPointer(space).pointee.flaw = .searchesOwnRangeOnly }
    static func dropInvalidation(_ space: OpaquePointer) { VMPointer(space).pointee.flaw = .dropsInvalidation }
    static func signalBeforeInvalidation(_ space: OpaquePointer) {
        VMPointer(space).pointee.flaw = .signalsBeforeInvalidation
    }

    /// The page tables' own checks.
    static func checkPageTables(_ space: OpaquePointer) { VMPointer(space).pointee.space.checkInvariants() }
}
