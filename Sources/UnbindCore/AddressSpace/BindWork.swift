// BindWork: a bind that has to wait for pending unbinds, or for its buffer's memory to arrive (the async bind work of
// i915_vma.c).
//
// Begins with the bind fence; its gate awaits them; when that opens an executor writes the page tables. Made
// only when there is something to wait for: otherwise the bind is done within the call.
//
// Or, with `isUpgrade`, what makes a read-only binding writable: awaits the bind, rewrites the entries, and invalidates
// the TLB, which may have remembered the old ones.
//
// - Signalling: the work. What it needs (page tables, pages) was reserved by the bind.

import Synchronization

struct BindWork: ~Copyable {
    /// First: a pointer to it is a pointer to the BindWork.
    var fence: Fence
    /// At `itemOffset`.
    var item: WorkItem
    /// At `kernelPointOffset`: from when a kernel has taken it.
    let kernelPoint = KernelPoint()
    let gate = SoftwareFence()
    /// Strong, until the bind is done; then the pages of the binding are the resource's affair alone.
    let vm: VMPointer
    /// A reference, until the bind is done.
    let resource: ResourcePointer
    /// As of the call: the resource's own may become writable before this is done.
    let binding: Binding
    let calledAt: UInt64
    let isUpgrade: Bool
    /// The bind's reference that keeps the device awake, until the entries are there.
    let power: UnsafeMutablePointer<PowerReferences>?
    /// It is the split of a mapping, whose bind it awaits.
    var split: MappingSplitPointer?
    var isSplit = false
    /// The entries are there; what is left is the time that writing them takes.
    var isWritten = false
    /// Upgrade: the time that the TLB invalidation takes has begun.
    var isInvalidating = false
    /// Where a backend has the page tables: the next of those that are ready, and what it is told of a mapping.
    var next: UnsafeMutablePointer<BindWork>?
    var mapping = MappingFlags()

    static var itemOffset: Int { roundUp(MemoryLayout<Fence>.size, to: MemoryLayout<WorkItem>.alignment) }
    static var kernelPointOffset: Int {
        roundUp(itemOffset + MemoryLayout<WorkItem>.size, to: MemoryLayout<KernelPoint>.alignment)
    }
}

typealias BindWorkPointer = UnsafeMutablePointer<BindWork>

extension UnsafeMutablePointer where Pointee == BindWork {
    /// Takes over the bind's power reference, if it has one.
    static func initialize(
        _ memory: UnsafeMutableRawPointer, vm: VMPointer, resource: ResourcePointer, calledAt: UInt64,
        isUpgrade: Bool = false
    ) -> BindWorkPointer {
        let work = memory.bindMemory(to: BindWork.self, capacity: 1)
        work.initialize(
            to: BindWork(
                fence: Fence(home: vm.pointee.device.fenceHome(.bindWork)),
                item: WorkItem(label: vm.pointee.id << 8 | WorkLabel.bind, context: memory, function: runBind),
                vm: vm, resource: resource, binding: resource.pointee.binding, calledAt: calledAt,
                isUpgrade: isUpgrade, power: vm.power))
        vm.retain()
        vm.retainWeakly()
        resource.fence.retain()
        vm.pointee.device.workBegan()
        return work
    }

    @inline(__always)
    var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    private var item: WorkItemPointer { memberPointer(of: self, at: BindWork.itemOffset, as: WorkItem.self) }

    /// Hangs the bind on all that it awaits, with edges that were reserved for it; the gate counts them at once, and
    /// so opens with the last. The caller has a reference. Any lock below the executor's may be held.
    func await(_ edges: AwaitPointer?) {
        var count: Int32 = 0
        var next = edges
        while let edge = next {
            count &+= 1
            next = edge.pointee.next
        }
        pointee.gate.commit(awaiting: count)
        if count == 0 { return makeReady() }
        let device = pointee.vm.pointee.device
        next = edges
        while let edge = next {
            next = edge.pointee.next
            if edge.arm(for: UnsafeMutableRawPointer(self)) { continue }
            let isOpen = pointee.gate.complete(error: edge.pointee.fence.error)
            device.free(edge)
            if isOpen { makeReady() }
        }
    }

    fileprivate func makeReady() {
        if let space = pointee.vm.pointee.backendSpace, !pointee.isSplit { return space.add(self) }
        pointee.vm.pointee.device.pointee.executor.submit(item)
    }

    fileprivate func run(at time: UInt64) {
        let vm = pointee.vm
        let binding = pointee.binding
        let cost = costOfNextStep(at: time)
        if cost > 0 {
            vm.pointee.device.pointee.executor.submit(item, at: time.addingSaturating(cost))
            return
        }
        SignallingSection.begin()
        if pointee.isUpgrade { vm.invalidate(start: binding.start, size: binding.size) }
        SignallingSection.end()
        end(error: pointee.gate.error, at: time)
    }

    /// Tells everybody that it is over, and lets go. The VM may be gone after this.
    /// - Locking: nothing may be held.
    func end(error: Int32, at time: UInt64) {
        let vm = pointee.vm
        let device = vm.pointee.device
        let resource = pointee.resource
        let binding = pointee.binding
        SignallingSection.begin()
        if !pointee.isSplit {
            vm.pointee.history.record(
                .bound, start: binding.start, size: binding.size, boID: resource.pointee.boID, time: time)
            if let stream = vm.pointee.stream, !pointee.isUpgrade {
                stream.recordBindDone(resource, error: error, at: time)
            }
        }
        fence.signal(error: error, at: time)
        SignallingSection.end()
        pointee.power?.put()
        resource.fence.drop()
        fence.drop()
        vm.drop()
        device.workEnded()
    }

    /// What it waited for has ended.
    func countWait(until time: UInt64) {
        _ = pointee.vm.pointee.stats.pointee.bindWaitNanoseconds.wrappingAdd(
            time.subtractingSaturating(pointee.calledAt), ordering: .relaxed)
    }

    /// Writes the entries, if that is to be done yet. The time until the next step; 0: nothing is left to wait for.
    private func costOfNextStep(at time: UInt64) -> UInt64 {
        let vm = pointee.vm
        let gpu = vm.pointee.device.pointee.gpu
        if !pointee.isWritten {
            pointee.isWritten = true
            countWait(until: time)
            SignallingSection.begin()
            let entries = writeUnlessLost()
            SignallingSection.end()
            let cost = gpu.cost(ofEntries: entries)
            if cost > 0 { return cost }
        }
        if !pointee.isUpgrade || pointee.isInvalidating { return 0 }
        pointee.isInvalidating = true
        return gpu.invalidationCost
    }
}

extension UnsafeMutablePointer where Pointee == BindWork {
    /// How many entries were written: none if the memory was lost on its way.
    private func writeUnlessLost() -> UInt64 {
        if let split = pointee.split {
            pointee.split = nil
            split.run()
            _ = pointee.vm.pointee.backendSpace?.pointee.splits.wrappingSubtract(1, ordering: .releasing)
            return 0
        }
        if pointee.gate.error != 0 { return 0 }
        return pointee.isUpgrade
            ? pointee.resource.upgradeEntries(to: pointee.binding)
            : pointee.resource.writeEntries(pointee.binding)
    }
}

private func runBind(_ context: UnsafeMutableRawPointer, _ time: UInt64) {
    context.assumingMemoryBound(to: BindWork.self).run(at: time)
}

func releaseBindWork(_ memory: UnsafeMutableRawPointer) {
    let work = memory.assumingMemoryBound(to: BindWork.self)
    let vm = work.pointee.vm
    work.fence.kernelPoint!.clear()
    work.deinitialize(count: 1)
    vm.pointee.device.cache(.bindWork).give(memory)
    vm.dropWeakly()
}

/// An unbind that an asynchronous bind awaited has completed; the edge had no reference. It carries no error, unless the
/// device is lost.
func bindUnbindEnded(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let work = edge.pointee.waiter.assumingMemoryBound(to: BindWork.self)
    work.pointee.vm.pointee.device.cache(.await).giveBorrowed(edge)
    if work.pointee.gate.complete(error: fence.assumingMemoryBound(to: Fence.self).error) { work.makeReady() }
}

/// Something that an asynchronous bind awaited has ended: an unbind, which carries no error whatever became of the work
/// that it waited for, or a move of the buffer's memory.
func bindAwaitFired(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let work = edge.pointee.waiter.assumingMemoryBound(to: BindWork.self)
    let fence = fence.assumingMemoryBound(to: Fence.self)
    let error = fence.error
    work.pointee.vm.pointee.device.free(edge, on: fence)
    if work.pointee.gate.complete(error: error) { work.makeReady() }
}
