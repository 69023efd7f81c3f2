// Platform: what a PCI device id says about a GPU before anybody has asked its driver.

/// Where the GPU's memory is.
enum GPUType: UInt32 {
    case unknown = 0
    case integrated
    case discrete
}

/// What a PCI region of a GPU is.
enum RegionKind: UInt32 {
    case none = 0
    /// Registers; since generation 4 the global page table too.
    case registers
    /// The CPU's window on what the global page table maps.
    case aperture
    /// The GPU's own memory, or the part of it that the CPU reaches.
    case localMemory
    /// A window on system memory that the firmware took for the GPU.
    case stolenMemory
    /// The global page table by itself.
    case pageTable
    /// I/O ports.
    case ports
    case other
}

/// How a platform uses its six PCI regions. The names are those of the table's last column.
enum RegionLayout {
    case gen2
    case gen3
    case aperture
    case localMemory
    case stolenMemory
    case unknown

    /// What a memory region is.
    func kind(of index: Int) -> RegionKind {
        switch (self, index) {
        case (.gen2, 0): .aperture
        case (.gen2, 1): .registers
        case (.gen3, 0): .registers
        case (.gen3, 2): .aperture
        case (.gen3, 3): .pageTable
        case (.aperture, 0), (.localMemory, 0), (.stolenMemory, 0): .registers
        case (.aperture, 2): .aperture
        case (.localMemory, 2): .localMemory
        case (.stolenMemory, 2): .stolenMemory
        default: .other
        }
    }
}

/// One platform of the table, and the name of the device it was looked up for.
struct Platform {
    let name: TextSlice
    let codename: TextSlice
    let family: TextSlice
    let versionMajor: UInt16
    let versionMinor: UInt16
    let type: GPUType
    let regions: RegionLayout
    /// What the device is sold as; may be empty.
    var product: TextSlice

    /// The platform of a device id, nil if the table does not have it.
    static func find(_ device: UInt16) -> Platform? {
        var lines = TextCursor(TextSlice(table))
        var platform: Platform?
        while !lines.isAtEnd {
            let isDevice = lines.current == UInt8(ascii: " ")
            var line = TextCursor(lines.slice(upTo: UInt8(ascii: "\n")))
            guard isDevice else {
                platform = Platform(line: &line)
                continue
            }
            line.skipBlanks()
            while let id = line.hex(digits: 4...4) {
                if id == UInt64(device) {
                    _ = line.slice(upTo: UInt8(ascii: "|"))
                    platform?.product = line.slice(upTo: 0)
                    return platform
                }
                line.skipBlanks()
            }
        }
        return nil
    }

    private init(line: inout TextCursor) {
        let bar = UInt8(ascii: "|")
        name = line.slice(upTo: bar)
        codename = line.slice(upTo: bar)
        family = line.slice(upTo: bar)
        var version = TextCursor(line.slice(upTo: bar))
        versionMajor = UInt16(version.decimal(digits: 1...2) ?? 0)
        _ = version.take(UInt8(ascii: "."))
        versionMinor = UInt16(version.decimal(digits: 1...2) ?? 0)
        type = Self.type(named: line.slice(upTo: bar))
        regions = Self.layout(named: line.slice(upTo: bar))
        product = .empty
    }

    private static func type(named name: TextSlice) -> GPUType {
        if name.equals("integrated") { return .integrated }
        return name.equals("discrete") ? .discrete : .unknown
    }

    private static func layout(named name: TextSlice) -> RegionLayout {
        if name.equals("aperture") { return .aperture }
        if name.equals("local") { return .localMemory }
        if name.equals("stolen") { return .stolenMemory }
        if name.equals("gen3") { return .gen3 }
        return name.equals("gen2") ? .gen2 : .unknown
    }
}
