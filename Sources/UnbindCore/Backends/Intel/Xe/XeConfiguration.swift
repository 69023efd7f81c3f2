// XeConfiguration: what the xe driver says of a GPU that the backend goes by: memory regions, engines, address width.

import CLibDRM
import CSystem

struct XeConfiguration: BitwiseCopyable {
    /// 1280 for 12.80.
    let version: UInt32
    let vaBits: UInt32
    var system = XeRegion()
    /// Nothing in it: the GPU has none.
    var local = XeRegion()
    /// Those that queues use, and the kernel picks one for each job: of each class all of the first tile that has any,
    /// at the place of the class's number.
    private var engines = InlineArray<5, XeEngines>(repeating: XeEngines())

    func engines(_ kind: EngineKind) -> XeEngines { engines[Int(kind.rawValue)] }

    /// What jobs on engines of a class can do; nil: there is none.
    func jobEngine(_ kind: EngineKind) -> JobEngine? {
        engines(kind).count == 0 ? nil : JobEngine(kind, version: version)
    }

    init(_ gpu: IntelGPU, memory: UnsafeMutablePointer<Memory>) throws(Status) {
        version = UInt32(gpu.gpu.versionMajor) * 100 + UInt32(gpu.gpu.versionMinor)
        vaBits = gpu.gpu.vaBits
        let query = XeQuery(file: gpu.node.file, memory: memory)
        try readRegions(query)
        try readEngines(query)
        guard vaBits >= 32, system.placement != 0 else { throw Status(raw: -EIO) }
    }

    private mutating func readRegions(_ query: XeQuery) throws(Status) {
        typealias Region = unbind_drm_xe_mem_region
        let answer = try query.ask(UNBIND_DRM_XE_DEVICE_QUERY_MEM_REGIONS)
        let count = answer.entries(
            claimed: answer.load(UInt32.self, at: 0), header: XeQuery.header, stride: MemoryLayout<Region>.stride)
        for index in 0..<count {
            let region = answer.load(Region.self, at: XeQuery.header + index * MemoryLayout<Region>.stride)
            guard region.instance < 32, isPowerOfTwo(UInt64(region.min_page_size)) else { continue }
            // The first of each class: of several local memories each is as good.
            if UInt32(region.mem_class) == UNBIND_DRM_XE_MEM_REGION_CLASS_SYSMEM, system.placement == 0 {
                system = XeRegion(region)
            } else if UInt32(region.mem_class) == UNBIND_DRM_XE_MEM_REGION_CLASS_VRAM, local.placement == 0 {
                local = XeRegion(region)
            }
        }
    }

    private mutating func readEngines(_ query: XeQuery) throws(Status) {
        typealias Engine = unbind_drm_xe_engine
        let answer = try query.ask(UNBIND_DRM_XE_DEVICE_QUERY_ENGINES)
        let count = answer.entries(
            claimed: answer.load(UInt32.self, at: 0), header: XeQuery.header, stride: MemoryLayout<Engine>.stride)
        for index in 0..<count {
            let engine = answer.load(Engine.self, at: XeQuery.header + index * MemoryLayout<Engine>.stride).instance
            if let kind = EngineKind(rawValue: engine.engine_class) { engines[Int(kind.rawValue)].add(engine) }
        }
    }

    var pageAttributes: XePageAttributes { XePageAttributes(version: version) }
}

/// Engines of one class and tile.
struct XeEngines: BitwiseCopyable {
    /// More than that no queue takes.
    static var most: Int { 9 }

    private(set) var count = 0
    private(set) var list = InlineArray<9, unbind_drm_xe_engine_class_instance>(
        repeating: unbind_drm_xe_engine_class_instance())

    /// Of another tile: left out.
    mutating func add(_ engine: unbind_drm_xe_engine_class_instance) {
        if count == Self.most || (count > 0 && list[0].gt_id != engine.gt_id) { return }
        list[count] = engine
        list[count].pad = 0
        count += 1
    }

    /// The pseudo engine of bind queues.
    static var binds: XeEngines {
        var engine = unbind_drm_xe_engine_class_instance()
        engine.engine_class = UInt16(UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND)
        var engines = XeEngines()
        engines.add(engine)
        return engines
    }
}

struct XeRegion: BitwiseCopyable {
    /// The bit that names it when an object is made; 0: there is no such region.
    var placement: UInt32 = 0
    /// Sizes, offsets and addresses are multiples of it.
    var pageSize: UInt64 = 0x1000
    var size: UInt64 = 0
    /// Less than the size where the CPU sees only a part.
    var visibleSize: UInt64 = 0

    /// What names it elsewhere.
    var instance: UInt32 { UInt32(placement.trailingZeroBitCount) }

    init() {}

    init(_ region: unbind_drm_xe_mem_region) {
        placement = 1 &<< UInt32(region.instance)
        pageSize = max(UInt64(region.min_page_size), 0x1000)
        size = region.total_size
        visibleSize = region.cpu_visible_size
    }
}
