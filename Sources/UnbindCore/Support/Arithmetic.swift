// Arithmetic on addresses, sizes and times: 64 bits, powers of two, saturating where an end could wrap.

@inline(__always)
func roundUp(_ value: Int, to alignment: Int) -> Int { (value &+ alignment &- 1) & ~(alignment &- 1) }

/// The caller makes sure that the result fits.
@inline(__always)
func roundUp(_ value: UInt64, to alignment: UInt64) -> UInt64 { (value &+ alignment &- 1) & ~(alignment &- 1) }

@inline(__always)
func roundDown(_ value: UInt64, to alignment: UInt64) -> UInt64 { value & ~(alignment &- 1) }

@inline(__always)
func isPowerOfTwo(_ value: UInt64) -> Bool { value != 0 && value & (value &- 1) == 0 }

@inline(__always)
func isAligned(_ value: UInt64, to alignment: UInt64) -> Bool { value & (alignment &- 1) == 0 }

extension UInt64 {
    /// self + other, or UInt64.max if that does not fit.
    @inline(__always)
    func addingSaturating(_ other: UInt64) -> UInt64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? .max : sum
    }

    /// self - other, or 0 if that is negative.
    @inline(__always)
    func subtractingSaturating(_ other: UInt64) -> UInt64 { self > other ? self &- other : 0 }

    /// self * other, or UInt64.max if that does not fit.
    @inline(__always)
    func multipliedSaturating(by other: UInt64) -> UInt64 {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? .max : product
    }
}

/// The page size, in bytes, that addresses are a multiple of on every VM.
let pageSize: UInt64 = 4096
