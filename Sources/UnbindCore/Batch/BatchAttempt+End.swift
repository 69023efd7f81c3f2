// The end of a batch: what signals, or may free something, when no lock is held any more; or giving back what a try
// that failed has taken.

import Synchronization

extension BatchAttempt {
    /// The batch's fence, with a reference.
    mutating func finish() -> FencePointer {
        let out = out!
        self.out = nil
        start?.commit()
        start?.fence.drop()
        start = nil
        for index in 0..<plan.touched.count { finish(plan.touched.elements + index) }
        for index in 0..<plan.runs.count { finish(plan.runs.elements + index) }
        freeNew()
        freeOutMemory()
        device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: entries))
        let fence = out.fence
        signals.start(on: fence)
        out.commit()
        count(in: vm.pointee.batches)
        return fence
    }

    private func count(in state: UnsafeMutablePointer<BatchState>) {
        state.pointee.batches.add(1)
        state.pointee.operations.add(UInt64(count))
        state.pointee.maps.add(UInt64(plan.new.count))
        state.pointee.kept.add(plan.keptCount)
        var unmaps = UInt64(plan.going.count)
        for index in 0..<plan.pieces.count where !plan.pieces.elements[index].isLeft { unmaps &+= 1 }
        state.pointee.unmaps.add(unmaps)
        var splits: UInt64 = 0
        for index in 0..<plan.touched.count where plan.touched.elements[index].isSplit { splits &+= 1 }
        state.pointee.splits.add(splits)
    }

    private func finish(_ touched: UnsafeMutablePointer<TouchedMapping>) {
        let vma = touched.pointee.vma
        let pieces = plan.pieces.elements + touched.pointee.firstPiece
        if touched.pointee.isSplit {
            if let memory = touched.pointee.splitMemory {
                touched.pointee.splitMemory = nil
                memory.assumingMemoryBound(to: MappingSplit.self).end()
            }
            // The slot of the mapping that was. Of the pieces' own, those that are left have kept theirs.
            vma.releaseSlot()
            for index in 0..<touched.pointee.pieceCount {
                let piece = pieces[index]
                let resource = piece.resource!
                if !piece.isLeft { _ = vma.finishUnbind(of: resource, piece.schedule) }
                resource.fence.drop()
            }
        } else {
            _ = vma.finishUnbind(of: touched.pointee.resource, pieces.pointee.schedule)
            // The VMA's.
            touched.pointee.resource.fence.drop()
        }
        touched.pointee.resource.fence.drop()
        vma.drop()
        // That which goes with the range.
        vma.drop()
    }

    private func freeNew() {
        for index in 0..<plan.new.count {
            let new = plan.new.elements + index
            if let memory = new.pointee.workMemory { device.cache(.bindWork).give(memory) }
            if let memory = new.pointee.bindUser { device.cache(.await).give(memory) }
            new.pointee.resource?.fence.drop()
        }
    }

    private mutating func freeOutMemory() {
        while let memory = outMemory {
            outMemory = memory.load(as: UnsafeMutableRawPointer?.self)
            device.cache(.await).give(memory)
        }
    }

    // MARK: Nothing happened

    mutating func undo() {
        invariant(!isCommitted, "a batch was taken back that had happened")
        signals.undo()
        undoUnderLock()
        let device = device
        device.free(all: &startEdges)
        device.free(all: &outEdges)
        for index in 0..<plan.touched.count { undo(plan.touched.elements + index) }
        for index in 0..<plan.new.count { undo(plan.new.elements + index) }
        for index in 0..<plan.runs.count { undo(plan.runs.elements + index) }
        freeOutMemory()
        start?.fence.drop()
        out?.fence.drop()
        start = nil
        out = nil
    }

    private func undoUnderLock() {
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        vm.pointee.ranges.endInsertions()
        for index in 0..<plan.pieces.count {
            let piece = plan.pieces.elements[index]
            vm.unreserveRoom(of: piece.resource, hasTables: piece.hasTables, hasIndexSlot: piece.hasIndexSlot)
        }
        for index in 0..<plan.new.count {
            let new = plan.new.elements[index]
            vm.unreserveRoom(of: new.resource, hasTables: new.hasTables, hasIndexSlot: new.hasIndexSlot)
        }
    }

    private func undo(_ touched: UnsafeMutablePointer<TouchedMapping>) {
        let vma = touched.pointee.vma
        // What was looked at when it failed may have no end yet.
        for index in touched.pointee.firstPiece..<(touched.pointee.firstPiece + touched.pointee.pieceCount) {
            let piece = plan.pieces.elements + index
            device.free(all: &piece.pointee.edges)
            if let memory = piece.pointee.splitUser { device.cache(.await).give(memory) }
            if let new = piece.pointee.vma {
                vma.pointee.bo.mappingEnds()
                new.drop()
            }
            if touched.pointee.isSplit, let resource = piece.pointee.resource { resource.discard() }
        }
        if touched.pointee.slots > 0 { vma.releaseSlot(touched.pointee.slots) }
        if let memory = touched.pointee.splitMemory {
            device.pointee.memory.deallocate(memory, bytes: MappingSplit.bytes(touched.pointee.pieceCount))
        }
        if let memory = touched.pointee.workMemory { device.cache(.bindWork).give(memory) }
        if let edge = touched.pointee.bindEdge { device.free(edge) }
        touched.pointee.resource.fence.drop()
        vma.drop()
    }

    private func undo(_ new: UnsafeMutablePointer<NewMapping>) {
        device.free(all: &new.pointee.edges)
        device.free(all: &new.pointee.pieceEdges)
        if let memory = new.pointee.workMemory { device.cache(.bindWork).give(memory) }
        if let memory = new.pointee.bindUser { device.cache(.await).give(memory) }
        if let resource = new.pointee.resource { resource.discard() }
        guard let vma = new.pointee.vma else { return }
        if new.pointee.hasSlot {
            vma.releaseSlot()
            vma.pointee.bo.mappingEnds()
        }
        vma.drop()
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// A list of edges that are on no fence.
    func free(all edges: inout AwaitPointer?) {
        while let edge = edges {
            edges = edge.pointee.next
            free(edge)
        }
    }
}
