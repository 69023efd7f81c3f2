// CostModel: how long the software GPU's work takes on the device's clock.
//
// Durations come from here and not from how long this machine needed, so that a run in virtual time gives the same
// figures everywhere. Times are rounded up to whole nanoseconds, and saturate instead of wrapping.

struct CostModel: Equatable {
    /// Picoseconds to write or clear one page-table entry.
    var ptePicoseconds: UInt64
    /// Nanoseconds for one TLB invalidation.
    var tlbFlushNanoseconds: UInt64
    /// Picoseconds to fill or copy one byte.
    var bytePicoseconds: UInt64
    /// Nanoseconds to start a command.
    var commandNanoseconds: UInt64

    /// Nothing takes time: the default on the real clock.
    static var zero: CostModel {
        CostModel(ptePicoseconds: 0, tlbFlushNanoseconds: 0, bytePicoseconds: 0, commandNanoseconds: 0)
    }

    /// The default of the simulated executor: 2 ns an entry, 20 us an invalidation, 50 GB/s, 1 us a command.
    static var simulatedDefault: CostModel {
        CostModel(
            ptePicoseconds: 2000, tlbFlushNanoseconds: 20_000, bytePicoseconds: 20, commandNanoseconds: 1000)
    }

    /// Of a device with a backend: no unbind is done within its call. Nobody is charged for it.
    static var backend: CostModel {
        CostModel(ptePicoseconds: 0, tlbFlushNanoseconds: 1, bytePicoseconds: 0, commandNanoseconds: 0)
    }

    /// Nanoseconds to write or clear so many page-table entries.
    func entries(_ count: UInt64) -> UInt64 { CostModel.nanoseconds(count, ptePicoseconds) }

    /// Nanoseconds to fill or copy so many bytes.
    func bytes(_ count: UInt64) -> UInt64 { CostModel.nanoseconds(count, bytePicoseconds) }

    private static func nanoseconds(_ count: UInt64, _ picoseconds: UInt64) -> UInt64 {
        if picoseconds == 0 { return 0 }
        let total = count.multipliedSaturating(by: picoseconds)
        return total / 1000 + (total % 1000 == 0 ? 0 : 1)
    }
}
