// The distributions behind the demo's workload: quantiles of real captures.
//
// Each table gives the 0 %, 5 %, 10 % ... 95 % quantile and, in place of the maximum, the 99 % one.
//
// Sizes, lifetimes and reuse: github GPUOpen-Tools/radeon_memory_visualizer, samples/sample_trace.rmv
// at commit 2a91cef (MIT licence, copyright AMD): 9,152 page-table maps and 8,833 unmaps of a machine
// with an RX 6600, Windows driver, over 33 s. A lifetime is the time from a map to the unmap of it; a
// reuse time is the time from an unmap to the next map at the same address. The stream quantises
// time to 3.2 us. Two tables end at their 95 % quantile: beyond it lie mappings that live as long
// as their program, 33 s.
//
// Job lengths: github pytorch/kineto, tb_plugin/samples/resnet50_num_workers_4 at commit be239c04
// (BSD licence): 9,258 GPU operations of a ResNet-50 training step on a Tesla V100. A length is the
// time from the later of the job's submit and the completion before it, to its completion.

/// Quantiles at equal steps of probability.
struct Distribution {
    let quantiles: [UInt64]

    /// A value between two neighbouring quantiles.
    func interpolated(_ random: inout DemoRandom) -> UInt64 {
        let position = random.unit() * Double(quantiles.count - 1)
        let index = min(Int(position), quantiles.count - 2)
        let low = Double(quantiles[index])
        let high = Double(quantiles[index + 1])
        return UInt64(low + (high - low) * (position - Double(index)))
    }

    /// One of the quantiles: for values that come in few kinds.
    func chosen(_ random: inout DemoRandom) -> UInt64 {
        quantiles[Int(random.unit() * Double(quantiles.count))]
    }

    /// Bytes of a mapping.
    static let size = Distribution(quantiles: [
        4096, 4096, 8192, 8192, 8192, 8192, 8192, 8192, 8192, 8192, 262_144, 262_144, 1_572_864, 2_097_152,
        2_097_152, 2_097_152, 2_097_152, 2_097_152, 2_097_152, 2_097_152, 2_097_152,
    ])

    /// Nanoseconds from a map to its unmap.
    static let lifetime = Distribution(quantiles: [
        51_200, 150_400, 179_200, 220_800, 345_600, 444_800, 496_000, 579_200, 870_400, 1_110_400, 1_324_800,
        1_600_000, 1_891_200, 2_259_200, 3_100_800, 3_721_600, 5_590_400, 5_862_400, 6_172_800, 7_296_000,
    ])

    /// Nanoseconds from an unmap to the next map at the same address.
    static let reuse = Distribution(quantiles: [
        0, 51_200, 96_000, 131_200, 188_800, 329_600, 518_400, 748_800, 896_000, 1_043_200, 1_302_400, 1_708_800,
        2_134_400, 2_960_000, 3_705_600, 5_564_800, 5_952_000, 6_275_200, 7_420_800, 14_457_600,
    ])

    /// Nanoseconds that a GPU job takes.
    static let jobLength = Distribution(quantiles: [
        1_000, 2_000, 2_000, 2_000, 2_000, 2_000, 3_000, 3_000, 3_000, 4_000, 8_000, 11_000, 12_000, 18_000, 29_000,
        46_000, 70_000, 127_000, 272_000, 377_000, 691_000,
    ])
}

/// A small generator (SplitMix64): the same numbers on every machine.
struct DemoRandom {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    /// From 0 up to, but not, 1.
    mutating func unit() -> Double { Double(next() >> 11) / Double(UInt64(1) << 53) }

    mutating func below(_ limit: Int) -> Int { Int(unit() * Double(limit)) }
}
