// W5: fences and gates.
//
// Variants: 0, a fence from a slab: initialise, add a callback, signal, drop, free. 1, the same in memory that stays.
// 2, a gate that awaits another gate: both initialised, committed and completed; gates know nothing of each other here,
// whoever opens one tells the next. 3, a gate that awaits a fence, with an edge from a slab. Signals are time-stamped.

import CSystem

private struct Rig: ~Copyable {
    var variant: UInt32
    let space: BenchVM
    let home: FenceHomePointer
    var fence: Fence
    var callback = FenceCallback(function: fenceCalled)
    var gate: UnsafePointer<SoftwareFence>?
    var calls: UInt64 = 0
}

@_cdecl("bench_w5_open")
public func benchW5Open(_ count: UInt64, _ variant: UInt32) -> UnsafeMutableRawPointer {
    let space = BenchVM(workers: 0)
    let home = benchArray(of: FenceHome.self, count: 1)
    home.initialize(to: FenceHome(owner: UnsafeMutableRawPointer(space.device), isOwnWork: true, release: fenceKept))
    return benchBox(Rig(variant: variant, space: space, home: home, fence: Fence(home: home)))
}

@_cdecl("bench_w5_round")
public func benchW5Round(_ box: UnsafeMutableRawPointer, _ operations: UInt64) -> UInt64 {
    let rig = box.assumingMemoryBound(to: Rig.self)
    let began = csys_monotonic_ns()
    switch rig.pointee.variant {
    case 0: for _ in 0..<operations { rig.cycleAllocated() }
    case 1: for _ in 0..<operations { rig.cycleInPlace() }
    case 2: for _ in 0..<operations { rig.awaitGate() }
    default: for _ in 0..<operations { rig.awaitFence() }
    }
    return csys_monotonic_ns() - began
}

@_cdecl("bench_w5_close")
public func benchW5Close(_ box: UnsafeMutableRawPointer) {
    let rig = box.assumingMemoryBound(to: Rig.self)
    rig.pointee.space.close()
    benchFree(rig.pointee.home)
    rig.deinitialize(count: 1)
    benchFree(rig)
}

extension UnsafeMutablePointer where Pointee == Rig {
    private var device: DevicePointer { pointee.space.device }
    private var callback: UnsafeMutablePointer<FenceCallback> { withUnsafeMutablePointer(to: &pointee.callback) { $0 } }
    private var fence: FencePointer { withUnsafeMutablePointer(to: &pointee.fence) { $0 } }

    private func resetFence() { fence.initialize(to: Fence(home: pointee.home)) }

    func cycleAllocated() {
        let fence = pointee.space.makeFence()
        callback.initialize(to: FenceCallback(function: fenceCalled, context: UnsafeMutableRawPointer(self)))
        _ = fence.add(callback)
        fence.signal(at: device.now)
        fence.drop()
    }

    func cycleInPlace() {
        resetFence()
        callback.initialize(to: FenceCallback(function: fenceCalled, context: UnsafeMutableRawPointer(self)))
        _ = fence.add(callback)
        fence.signal(at: device.now)
        fence.drop()
    }

    func awaitGate() {
        let first = SoftwareFence()
        let second = SoftwareFence()
        second.await()
        let isOpenTooEarly = second.commit()
        if first.commit(), second.complete(error: first.error) { pointee.calls &+= 1 }
        invariant(!isOpenTooEarly, "a gate opened before what it awaits")
    }

    func awaitFence() {
        let gate = SoftwareFence()
        resetFence()
        guard let edge = device.cache(.await).takeAwait(on: fence, function: edgeFired) else {
            panic("there is not enough memory for the benchmark")
        }
        unsafe withUnsafePointer(to: gate) { gate in
            pointee.gate = gate
            gate.pointee.await()
            _ = edge.arm(for: UnsafeMutableRawPointer(self))
            _ = gate.pointee.commit()
            fence.signal(at: device.now)
            fence.drop()
            invariant(gate.pointee.isOpen, "a gate did not open")
        }
    }
}

private func fenceCalled(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let rig = callback.assumingMemoryBound(to: FenceCallback.self).pointee.context!.assumingMemoryBound(to: Rig.self)
    rig.pointee.calls &+= 1
}

private func edgeFired(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let rig = edge.pointee.waiter.assumingMemoryBound(to: Rig.self)
    _ = rig.pointee.gate!.pointee.complete(error: 0)
    rig.pointee.space.device.free(edge, on: fence.assumingMemoryBound(to: Fence.self))
}

private func fenceKept(_ memory: UnsafeMutableRawPointer) {}
