// I915Configuration: what the i915 driver says of a GPU that the backend goes by: its engines, its memory regions, how
// the CPU may map objects, and whether the kernel is recent enough.

import CLibDRM
import CSystem

struct I915Configuration: BitwiseCopyable {
    /// 1255 for 12.55.
    let version: UInt32
    /// Of an address space.
    let vaBits: UInt32
    /// The GPU and the CPU share the last cache, so that the CPU may cache what it maps.
    let hasSharedCache: Bool
    /// The kernel says at once whether it can use memory of the program's.
    let probesUserMemory: Bool
    let isDiscrete: Bool
    var local = I915Region()
    /// Run jobs: the first of each class, at the place of its number.
    private var engines = InlineArray<5, unbind_i915_engine_class_instance?>(repeating: nil)
    /// Runs the empty batches of binds and unbinds: not the one that jobs keep busy, if there is another.
    var bindEngine = unbind_i915_engine_class_instance()

    /// Local objects of these GPUs begin and end at multiples of 2 MiB: Linux 6.1 demands it, and 64 KiB, which is
    /// enough for later ones, is a divisor of it. Elsewhere pages are small everywhere.
    var localAlignment: UInt64 { version >= 1250 ? 2 << 20 : 4096 }

    /// - Failure: unsupported: no address spaces of one's own, or a kernel without timeline fences.
    init(_ gpu: IntelGPU, memory: UnsafeMutablePointer<Memory>, log: HostLog) throws(Status) {
        let query = I915Query(file: gpu.node.file, memory: memory)
        version = UInt32(gpu.gpu.versionMajor) * 100 + UInt32(gpu.gpu.versionMinor)
        vaBits = min(gpu.gpu.vaBits, 48)
        isDiscrete = gpu.gpu.localBytes > 0
        hasSharedCache = try query.parameter(UNBIND_I915_PARAM_HAS_LLC) == 1
        probesUserMemory = try query.parameter(UNBIND_I915_PARAM_HAS_USERPTR_PROBE) == 1
        guard gpu.gpu.hasAddressSpaces, vaBits >= 32 else {
            log.error("i915: this GPU has no address space for each context")
            throw Status.unsupported
        }
        let fences = try query.parameter(UNBIND_I915_PARAM_HAS_EXEC_TIMELINE_FENCES)
        let mappings = try query.parameter(UNBIND_I915_PARAM_MMAP_GTT_VERSION) ?? 0
        guard fences == 1, mappings >= 4 else {
            log.error("i915: this kernel is too old: it has no timeline fences, or no mapping offsets")
            throw Status.unsupported
        }
        try readEngines(query)
        if isDiscrete { try readRegions(query) }
    }

    func engine(_ kind: EngineKind) -> unbind_i915_engine_class_instance? { engines[Int(kind.rawValue)] }

    /// What jobs on an engine of a class can do; nil: there is none.
    func jobEngine(_ kind: EngineKind) -> JobEngine? {
        if engine(kind) == nil { return nil }
        // The driver itself checks what these run, and lets a batch jump within its own buffer only.
        let isParsed = kind == .copy && version / 100 == 9
        return JobEngine(kind, version: version, callsBatches: !isParsed)
    }

    private mutating func readEngines(_ query: I915Query) throws(Status) {
        typealias Engine = unbind_drm_i915_engine_info
        let answer = try query.ask(UNBIND_DRM_I915_QUERY_ENGINE_INFO)
        let header = MemoryLayout<unbind_drm_i915_query_engine_info>.size
        let count = answer.entries(
            claimed: answer.load(UInt32.self, at: 0), header: header, stride: MemoryLayout<Engine>.stride)
        var best: UInt32?
        for index in 0..<count {
            let engine = answer.load(Engine.self, at: header + index * MemoryLayout<Engine>.stride).engine
            let kind = UInt32(engine.engine_class)
            if let place = EngineKind(rawValue: engine.engine_class)?.rawValue, engines[Int(place)] == nil {
                engines[Int(place)] = engine
            }
            guard let rank = Self.bindRank(kind), rank < best ?? .max else { continue }
            bindEngine = engine
            best = rank
        }
        if best == nil { throw Status(raw: -EIO) }
    }

    /// Which engine binds rather run on, the lowest first: those that the fewest programs use.
    private static func bindRank(_ kind: UInt32) -> UInt32? {
        switch kind {
        case UNBIND_I915_ENGINE_CLASS_VIDEO_ENHANCE: 0
        case UNBIND_I915_ENGINE_CLASS_VIDEO: 1
        case UNBIND_I915_ENGINE_CLASS_RENDER: 2
        case UNBIND_I915_ENGINE_CLASS_COPY: 3
        default: nil
        }
    }

    private mutating func readRegions(_ query: I915Query) throws(Status) {
        typealias Region = unbind_drm_i915_memory_region_info
        let answer = try query.ask(UNBIND_DRM_I915_QUERY_MEMORY_REGIONS)
        let header = MemoryLayout<unbind_drm_i915_query_memory_regions>.size
        let count = answer.entries(
            claimed: answer.load(UInt32.self, at: 0), header: header, stride: MemoryLayout<Region>.stride)
        for index in 0..<count {
            let region = answer.load(Region.self, at: header + index * MemoryLayout<Region>.stride)
            // Of several local memories each is as good.
            guard UInt32(region.region.memory_class) == UNBIND_I915_MEMORY_CLASS_DEVICE, local.size == 0 else {
                continue
            }
            local = I915Region(
                instance: region.region.memory_instance, size: region.probed_size,
                visibleSize: region.probed_cpu_visible_size)
        }
    }
}

/// Local memory.
struct I915Region: BitwiseCopyable {
    var instance: UInt16 = 0
    /// 0: there is none.
    var size: UInt64 = 0
    /// Of which the CPU sees so much; 0: the kernel does not say, and it is all.
    var visibleSize: UInt64 = 0

    /// The CPU sees a part only.
    var isPartlyVisible: Bool { visibleSize != 0 && visibleSize < size }
}
