// W3: what a bind does about the pending unbinds in its way, in ranges that meet exactly K of them.
//
// One operation: look up a random range and hang a gate on each unbind found, with an edge of its own. The VM's lock is
// held, for batches of 256; the edges are taken off again outside the clock. The variant is K.

import CSystem

private let batchSize = 256

private struct Rig {
    let space: BenchVM
    let count: UInt64
    let found: UInt64
    let bits: UInt64
    let awaited: UnsafeMutablePointer<FencePointer>
    var random = BenchRandom(362_436_069_362_436_069)
}

private struct Waiter: ~Copyable {
    /// A plain first member. Not a list: the links of an edge are the fence's while it hangs there.
    var edges = InlineArray<8, AwaitPointer?>(repeating: nil)
    var fences = InlineArray<8, FencePointer?>(repeating: nil)
    var edgeCount = 0
    let gate = SoftwareFence()
    var start: UInt64 = 0
    var last: UInt64 = 0
}

@_cdecl("bench_w3_open")
public func benchW3Open(_ count: UInt64, _ variant: UInt32) -> UnsafeMutableRawPointer {
    let rig = Rig(
        space: BenchVM(workers: 0), count: count, found: UInt64(variant), bits: bitsUp(count),
        awaited: benchArray(of: FencePointer.self, count: Int(count)))
    // A pending unbind of 2 MiB at the start of each slot; the rest of the slot is free.
    for number in 0..<count {
        let fence = rig.space.makeFence()
        rig.awaited[Int(number)] = fence
        let start = scattered(number, bits: rig.bits) << (48 - rig.bits)
        rig.space.unbind(rig.space.bind(start: start, size: 2 << 20), after: fence)
    }
    return benchBox(rig)
}

@_cdecl("bench_w3_round")
public func benchW3Round(_ box: UnsafeMutableRawPointer, _ operations: UInt64) -> UInt64 {
    let box = box.assumingMemoryBound(to: Rig.self)
    var rig = box.pointee
    let vm = rig.space.vm
    let waiters = benchArray(of: Waiter.self, count: batchSize)
    var spent: UInt64 = 0
    for _ in 0..<(operations / UInt64(batchSize)) {
        for index in 0..<batchSize {
            (waiters + index).initialize(to: Waiter())
            rig.chooseRange(for: waiters + index)
        }
        vm.pointee.lock.acquire()
        let began = csys_monotonic_ns()
        for index in 0..<batchSize { rig.await(waiters + index) }
        spent += csys_monotonic_ns() - began
        vm.pointee.lock.release()
        for index in 0..<batchSize { rig.undo(waiters + index) }
    }
    benchFree(waiters)
    box.pointee = rig
    return spent
}

@_cdecl("bench_w3_close")
public func benchW3Close(_ box: UnsafeMutableRawPointer) {
    let box = box.assumingMemoryBound(to: Rig.self)
    let rig = box.pointee
    for number in 0..<Int(rig.count) {
        let fence = rig.awaited[number]
        fence.signal(at: rig.space.device.now)
        fence.drop()
        do throws(Status) {
            _ = try rig.space.device.pointee.executor.run(maxItems: 0)
        } catch { panic("no work can be run") }
    }
    rig.space.close()
    benchFree(rig.awaited)
    benchFree(box)
}

extension Rig {
    mutating func chooseRange(for waiter: UnsafeMutablePointer<Waiter>) {
        let span = max(found, 1)
        let slot = random.next() % (count - span + 1)
        let start = slot << (48 - bits)
        if found == 0 {
            waiter.pointee.start = start + (4 << 20)
            waiter.pointee.last = waiter.pointee.start + (2 << 20) - 1
        } else {
            waiter.pointee.start = start + 4096
            waiter.pointee.last = waiter.pointee.start + ((found - 1) << (48 - bits)) + 4096 - 1
        }
    }

    @inline(__always)
    func await(_ waiter: UnsafeMutablePointer<Waiter>) {
        let pending = space.vm.pointee.pending
        let unbinds = pending.unfinished(in: waiter.pointee.start...waiter.pointee.last)
        pending.forEachToAwait(of: unbinds) { resource in collect(resource.fence, for: waiter) }
        waiter.pointee.gate.commit(awaiting: Int32(truncatingIfNeeded: waiter.pointee.edgeCount))
        for place in 0..<waiter.pointee.edgeCount {
            let edge = waiter.pointee.edges[place].unsafelyUnwrapped
            if !edge.arm(for: UnsafeMutableRawPointer(waiter)) { panic("an unbind ended while it was looked up") }
        }
    }

    @inline(__always)
    func collect(_ fence: FencePointer, for waiter: UnsafeMutablePointer<Waiter>) {
        guard let edge = space.device.cache(.await).takeAwait(borrowing: fence, function: waiterCalled) else {
            panic("there is not enough memory for the benchmark")
        }
        waiter.pointee.edges[waiter.pointee.edgeCount] = edge
        waiter.pointee.fences[waiter.pointee.edgeCount] = fence
        waiter.pointee.edgeCount &+= 1
    }

    func undo(_ waiter: UnsafeMutablePointer<Waiter>) {
        var isOpen = waiter.pointee.edgeCount == 0
        for place in 0..<waiter.pointee.edgeCount {
            let edge = waiter.pointee.edges[place].unsafelyUnwrapped
            let callback = UnsafeMutableRawPointer(edge).assumingMemoryBound(to: FenceCallback.self)
            let fence = waiter.pointee.fences[place].unsafelyUnwrapped
            invariant(fence.remove(callback), "an edge was not on its fence")
            isOpen = waiter.pointee.gate.complete(error: 0)
            space.device.cache(.await).giveBorrowed(edge)
        }
        invariant(waiter.pointee.edgeCount == Int(found), "a range met another number of pending unbinds than it was made to")
        invariant(isOpen, "a gate did not open")
        waiter.deinitialize(count: 1)
    }
}

private func waiterCalled(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    panic("an unbind ended while a benchmark hung on it")
}
