// BatchAttempt: one try at a batch (the bind of xe_vm.c and drm_gpuvm's split and merge steps).
//
// As with a single bind, everything that can fail comes first: the net result of the list, the VMAs, VMAResources, page
// tables, places in the indexes, slots in the reservations, edges and fences for all of it. Then, under the VM's lock,
// the change is made, in an order that makes each step find what it needs: what is left of split mappings takes its
// ranges, what goes is unbound like any binding, new mappings are bound and await the unbinds in their way.
//
// The batches' lock is held from the first look to the last change, and given up before anything is signalled. What a
// try that fails has taken goes back, with no lock held.

import Synchronization

struct BatchAttempt: ~Copyable {
    let vm: VMPointer
    let device: DevicePointer
    let request: BatchRequest
    /// Of the request's, the operations of this piece.
    let first: Int
    let count: Int
    /// The fence of the piece before, which the fence of this one stands for, too.
    let previous: FencePointer?
    var plan: BatchPlan
    /// For what is awaited before anything goes or comes; nil: nothing is.
    var start: JoinFencePointer?
    var startEdges: AwaitPointer?
    /// What is handed out.
    var out: JoinFencePointer?
    /// For the edges to what it awaits.
    var outMemory: UnsafeMutableRawPointer?
    var outEdges: AwaitPointer?
    /// What is to signal with it.
    var signals: BatchSignals
    var isCommitted = false
    var entries: UInt64 = 0

    init(_ vm: VMPointer, _ request: BatchRequest, first: Int, count: Int, previous: FencePointer?, signals: Bool) {
        self.vm = vm
        device = vm.pointee.device
        self.request = request
        self.first = first
        self.count = count
        self.previous = previous
        plan = BatchPlan(of: vm)
        self.signals = BatchSignals(request.signals, count: signals ? request.signalCount : 0)
    }

    /// The batch's fence, with a reference.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: closed, exists, busy, lost, invalid, noMemory. Nothing has changed then.
    mutating func run() throws(Status) -> FencePointer {
        let state = vm.pointee.batches
        state.pointee.lock.acquire()
        var status: Status?
        do throws(Status) {
            try look()
            try prepare()
            try change()
        } catch {
            status = error
        }
        state.pointee.lock.release()
        if let status {
            undo()
            throw status
        }
        let fence = finish()
        for index in 0..<plan.new.count where plan.new.elements[index].mayMerge {
            vm.mergeNeighbours(of: plan.new.elements[index].start)
        }
        return fence
    }

    // MARK: Looking

    private mutating func look() throws(Status) {
        if vm.isClosed { throw Status.closed }
        var overlay = BatchOverlay(of: vm)
        for index in first..<(first + count) {
            let operation = request.operations[index]
            switch operation.kind {
            case .map, .mapNull, .mapUser:
                try overlay.map(
                    content(of: operation), start: operation.start, size: operation.size,
                    replaces: operation.replaces)
            case .unmap: try overlay.unmap(start: operation.start, size: operation.size)
            case .unmapAll: try overlay.unmapAll(of: operation.bo!)
            case .prefetch, .syncOnly: break
            }
        }
        try plan.find(&overlay)
    }

    private func content(of operation: BatchOperation) throws(Status) -> MappingContent {
        if operation.kind == .mapNull {
            return MappingContent(
                bo: try vm.pointee.batches.nullBuffer(of: device), offset: 0, flags: MappingFlags(isNull: true))
        }
        let flags = MappingFlags(flags: operation.flags, cacheLevel: operation.cacheLevel)
        return MappingContent(bo: operation.bo!, offset: operation.offset, flags: flags)
    }

    // MARK: Taking what is needed

    /// With the batches' lock alone.
    private mutating func prepare() throws(Status) {
        for index in 0..<plan.new.count { try prepareNew(plan.new.elements + index) }
        for index in 0..<plan.touched.count where plan.touched.elements[index].isSplit {
            try prepareSplit(plan.touched.elements + index)
        }
        let out = try JoinFencePointer.make(device: device, ignoresErrors: false)
        self.out = out
        for index in 0..<request.waitCount { try awaitAtStart(request.waits![index]) }
        if let last = request.queue?.pointee.last { try awaitAtStart(last) }
        if let previous, !previous.isSignalled { try addOutEdge(previous) }
        try signals.prepare(device: device, out: out.fence)
    }

    /// An edge from the start of the batch to that.
    mutating func awaitAtStart(_ fence: FencePointer) throws(Status) {
        if fence.isSignalled { return }
        if start == nil { start = try JoinFencePointer.make(device: device, ignoresErrors: true) }
        let edge = try device.makeAwait(on: fence, function: joinAwaitFired)
        edge.pointee.next = startEdges
        startEdges = edge
    }

    mutating func addOutEdge(_ fence: FencePointer) throws(Status) {
        let edge = try device.makeAwait(on: fence, function: joinAwaitFired)
        edge.pointee.next = outEdges
        outEdges = edge
    }

    private func prepareNew(_ new: UnsafeMutablePointer<NewMapping>) throws(Status) {
        let (content, size) = (new.pointee.content, new.pointee.end &- new.pointee.start)
        new.pointee.vma = try VMAPointer.makeMapping(vm: vm, content: content, start: new.pointee.start, size: size)
        let reservation = content.bo.pointee.reservation
        reservation.pointee.lock.acquire()
        defer { reservation.pointee.lock.release() }
        if content.bo.pointee.isLost.load(ordering: .relaxed) { throw Status.lost }
        try reservation.reserve(1)
        content.bo.mappingBegins()
        new.pointee.hasSlot = true
        // The pages themselves may still be on their way from where the buffer was.
        var status: Status?
        reservation.forEachUnsignalled(usage: .kernel) { move in
            if status != nil { return }
            do throws(Status) { try add(bindEdgeOn: move, to: &new.pointee.edges) } catch { status = error }
        }
        if let status { throw status }
    }

    func add(bindEdgeOn fence: FencePointer, to edges: inout AwaitPointer?) throws(Status) {
        let edge = try device.makeAwait(on: fence, function: bindAwaitFired)
        edge.pointee.next = edges
        edges = edge
    }

    private func prepareSplit(_ touched: UnsafeMutablePointer<TouchedMapping>) throws(Status) {
        let bo = touched.pointee.vma.pointee.bo
        do {
            let reservation = bo.pointee.reservation
            reservation.pointee.lock.acquire()
            defer { reservation.pointee.lock.release() }
            try reservation.reserve(touched.pointee.pieceCount)
            touched.pointee.slots = touched.pointee.pieceCount
        }
        for index in 0..<touched.pointee.pieceCount {
            let piece = plan.pieces.elements + (touched.pointee.firstPiece + index)
            guard let content = piece.pointee.content else { continue }
            piece.pointee.vma = try VMAPointer.makeMapping(
                vm: vm, content: content, start: piece.pointee.start, size: piece.pointee.end &- piece.pointee.start)
            bo.mappingBegins()
        }
    }
}

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// It is not to move from now on.
    /// - Locking: the reservation's lock is held, or a mapping of it is there.
    func mappingBegins() { _ = pointee.mappingCount.wrappingAdd(1, ordering: .relaxed) }

    /// A mapping, or one that was to be, has gone.
    func mappingEnds() { _ = pointee.mappingCount.wrappingSubtract(1, ordering: .relaxed) }
}
