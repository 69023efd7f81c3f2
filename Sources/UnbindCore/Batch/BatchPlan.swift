// BatchPlan: what a batch does to the mappings that are there: which lose a part and into what pieces they fall, and
// which ranges get a new mapping. Only found out here, nothing is changed.
//
// A mapping that is touched falls into pieces, in order: those that go and those that are left. What a batch maps just
// as it is mapped already is left, too. The rest of what it maps are new mappings. Idle mappings that an unmap takes
// away as a whole are not touched, but go in runs.
//
// - Locking: the batches' lock is held, so that what is found stays so; the VM's lock while it is looked for.

/// A mapping of which something goes.
struct TouchedMapping {
    /// With a reference.
    let vma: VMAPointer
    /// With a reference.
    let resource: ResourcePointer
    var firstPiece: Int
    var pieceCount = 0

    // Of one that is split:

    /// Its bind has not been done: the split awaits it.
    var isDeferred = false
    /// Extra slots in its buffer's reservation.
    var slots = 0
    var splitMemory: UnsafeMutableRawPointer?
    var workMemory: UnsafeMutableRawPointer?
    /// From its bind to the split.
    var bindEdge: AwaitPointer?

    var isSplit: Bool { pieceCount > 1 }
}

/// A part of a mapping that is touched.
struct MappingPiece {
    let start: UInt64
    var end: UInt64
    /// Nil: it goes.
    var content: MappingContent?
    /// Of one that is left: its new VMA, with the reference that goes with the range.
    var vma: VMAPointer?
    /// Its own, but for a mapping that goes as a whole: then that of the mapping.
    var resource: ResourcePointer?
    var hasTables = false
    var hasIndexSlot = false
    /// To what its unbind awaits, or, of one that is left, its split.
    var edges: AwaitPointer?
    /// For an edge on the split.
    var splitUser: UnsafeMutableRawPointer?
    var schedule = UnbindSchedule.deferred

    var isLeft: Bool { content != nil }
}

/// A range that gets a new mapping.
struct NewMapping {
    let start: UInt64
    let end: UInt64
    let content: MappingContent
    /// With the reference that goes with the range.
    var vma: VMAPointer?
    var hasSlot = false
    var resource: ResourcePointer?
    var hasTables = false
    var hasIndexSlot = false
    var edges: AwaitPointer?
    /// To the unbinds of pieces that are in the way, in reverse order; the last one comes before `pieceEnd`.
    var pieceEdges: AwaitPointer?
    var pieceEnd = 0
    var workMemory: UnsafeMutableRawPointer?
    var bindUser: UnsafeMutableRawPointer?
    /// How many unbinds it waits for.
    var awaited: UInt64 = 0
    /// Of them, those that do not overlap it.
    var awaitedNotOverlapping: UInt64 = 0
    /// Within the call.
    var isBound = false
    /// It continues a neighbour, or is continued by one.
    var mayMerge = false
}

struct BatchPlan: ~Copyable {
    let vm: VMPointer
    var touched: GrowingArray<TouchedMapping>
    var pieces: GrowingArray<MappingPiece>
    var new: GrowingArray<NewMapping>
    /// Those that go in runs.
    var going: GrowingArray<VMAPointer>
    var runs: GrowingArray<MappingRun>
    private let hasRuns: Bool
    var keptCount: UInt64 = 0

    init(of vm: VMPointer) {
        let memory = vm.pointee.device.pointee.memory
        self.vm = vm
        touched = GrowingArray(memory: memory)
        pieces = GrowingArray(memory: memory)
        new = GrowingArray(memory: memory)
        going = GrowingArray(memory: memory)
        runs = GrowingArray(memory: memory)
        hasRuns = vm.hasMappingRuns
    }

    /// - Failure: closed; busy if somebody's VMA is there, or a mapping would be split that is held; noMemory.
    mutating func find(_ overlay: inout BatchOverlay) throws(Status) {
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        if vm.isClosed { throw Status.closed }
        var status: Status?
        do throws(Status) {
            try overlay.forEachRange { (start, end, content) throws(Status) in
                try self.add(from: start, to: end, content)
            }
            try endTouched()
        } catch {
            status = error
        }
        if let status { throw status }
        for index in 0..<touched.count where touched.elements[index].isSplit {
            if touched.elements[index].resource.isHeld { throw Status.busy }
            if let backend = vm.pointee.backendSpace { try check(touched.elements[index], of: backend) }
        }
    }

    /// - Failure: unsupported: nothing is split there; invalid: not there: what is left of it could not be mapped.
    private func check(_ split: TouchedMapping, of space: BackendSpacePointer) throws(Status) {
        if !space.canSplit { throw Status.unsupported }
        let unit = space.localPageSize
        if unit == pageSize || !split.resource.pointee.pages.pointee.isLocal { return }
        for index in 1..<split.pieceCount
        where !isAligned(pieces.elements[split.firstPiece + index].start, to: unit) {
            throw Status.invalid
        }
    }

    private mutating func add(from start: UInt64, to end: UInt64, _ content: MappingContent?) throws(Status) {
        var position = start
        var nodes = vm.pointee.ranges.nodes(from: start, to: end)
        while let node = nodes.nextNode() {
            let vma = VMAPointer(containing: node)
            guard let old = vma.mapping, let resource = vma.pointee.resource else {
                throw Status.busy
            }
            let first = max(start, node.pointee.start)
            let last = min(end, node.pointee.end)
            if let content,
                content.advanced(by: first &- start).equals(old.advanced(by: first &- node.pointee.start))
            {
                keptCount &+= 1
                if position < first { try addNew(from: position, to: first, content, from: start) }
                position = last
                continue
            }
            if content == nil, hasRuns, node.pointee.start >= start, node.pointee.end <= end, !old.isNull,
                vma.isIdleMapping
            {
                try addToRun(vma, old)
                continue
            }
            try touch(vma, resource)
            try addGoing(from: first, to: last, of: old, from: node.pointee.start)
        }
        if let content, position < end { try addNew(from: position, to: end, content, from: start) }
    }

    private mutating func addNew(
        from start: UInt64, to end: UInt64, _ content: MappingContent, from base: UInt64
    ) throws(Status) {
        try new.append(NewMapping(start: start, end: end, content: content.advanced(by: start &- base)))
    }

    private mutating func addToRun(_ vma: VMAPointer, _ content: MappingContent) throws(Status) {
        let node = vma.node
        try going.append(vma)
        if runs.count > 0 {
            let last = runs.elements + (runs.count - 1)
            if last.pointee.end == node.pointee.start, last.pointee.bo == content.bo,
                last.pointee.isReadOnly == content.isReadOnly
            {
                last.pointee.end = node.pointee.end
                last.pointee.count &+= 1
                return
            }
        }
        try runs.append(
            MappingRun(
                first: going.count - 1, count: 1, start: node.pointee.start, end: node.pointee.end, bo: content.bo,
                isReadOnly: content.isReadOnly))
    }

    // MARK: Mappings that are touched

    private mutating func touch(_ vma: VMAPointer, _ resource: ResourcePointer) throws(Status) {
        if touched.count > 0, touched.elements[touched.count - 1].vma == vma { return }
        try endTouched()
        try touched.append(TouchedMapping(vma: vma, resource: resource, firstPiece: pieces.count))
        vma.retain()
        resource.fence.retain()
    }

    private mutating func addGoing(
        from start: UInt64, to end: UInt64, of old: MappingContent, from base: UInt64
    ) throws(Status) {
        let last = touched.elements + (touched.count - 1)
        var position = base
        if pieces.count > last.pointee.firstPiece {
            let piece = pieces.elements + (pieces.count - 1)
            position = piece.pointee.end
            if position == start {
                piece.pointee.end = end
                return
            }
        }
        if position < start {
            try pieces.append(
                MappingPiece(start: position, end: start, content: old.advanced(by: position &- base)))
        }
        try pieces.append(MappingPiece(start: start, end: end))
    }

    /// Whatever of the last one lies behind what goes is left.
    private mutating func endTouched() throws(Status) {
        if touched.count == 0 { return }
        let last = touched.elements + (touched.count - 1)
        let node = last.pointee.vma.node.pointee
        let position = pieces.elements[pieces.count - 1].end
        if position < node.end {
            let content = last.pointee.vma.mapping!.advanced(by: position &- node.start)
            try pieces.append(MappingPiece(start: position, end: node.end, content: content))
        }
        last.pointee.pieceCount = pieces.count - last.pointee.firstPiece
    }
}
