// What the benchmarks of the core share: a device with one address space, the peer's random numbers and its way to
// scatter ranges, and one bind and one unbind at the level of the peer, a VMAResource.
//
// Each workload is a file with three C functions: open a rig with n things in it, run a round of so many operations
// and answer the nanoseconds it took, close. Tests/bench/core.c lists them. A rig's memory is C's, not the device's.

import CSystem
import Synchronization

/// The peer's generator (xorshift), so that both sides work on the same ranges.
struct BenchRandom {
    private var state: UInt64

    init(_ seed: UInt64 = 88_172_645_463_325_252) { state = seed }

    @inline(__always)
    mutating func next() -> UInt64 {
        state ^= state &<< 13
        state ^= state &>> 7
        state ^= state &<< 17
        return state
    }
}

/// A bijection on `bits` bits: distinct slots, in scattered order, for as many successive numbers as there are slots.
@inline(__always)
func scattered(_ number: UInt64, bits: UInt64) -> UInt64 {
    let mask = (1 &<< bits) &- 1
    var slot = (number &* 0x9E37_79B9_7F4A_7C15) & mask
    slot ^= slot &>> ((bits &+ 1) / 2)
    return (slot &* 0xD6E8_FEB8_6659_FD93) & mask
}

func bitsUp(_ count: UInt64) -> UInt64 { count <= 1 ? 0 : UInt64(64 - (count - 1).leadingZeroBitCount) }

/// Memory as the peer has it: zeroed, in huge pages where the kernel gives them.
func benchArray<T: ~Copyable>(of type: T.Type, count: Int) -> UnsafeMutablePointer<T> {
    let bytes = roundUp(max(count, 1) * MemoryLayout<T>.stride, to: 1 << 21)
    var memory: UnsafeMutableRawPointer?
    invariant(posix_memalign(&memory, 1 << 21, bytes) == 0, "there is not enough memory for the benchmark")
    _ = madvise(memory, bytes, MADV_HUGEPAGE)
    memset(memory!, 0, bytes)
    return memory!.bindMemory(to: T.self, capacity: max(count, 1))
}

func benchFree<T: ~Copyable>(_ array: UnsafeMutablePointer<T>) { free(UnsafeMutableRawPointer(array)) }

/// A rig lives behind a C pointer.
func benchBox<T: ~Copyable>(_ value: consuming T) -> UnsafeMutableRawPointer {
    let memory = benchArray(of: T.self, count: 1)
    memory.initialize(to: value)
    return UnsafeMutableRawPointer(memory)
}

struct BenchVM {
    let device: DevicePointer
    let vm: VMPointer
    let bo: BufferObjectPointer
    /// Of fences of somebody else's work, as a request would own; freed with their last reference.
    let fenceHome: FenceHomePointer

    /// - workers: 0 for the manual executor.
    init(workers: Int) {
        var options = DeviceOptions()
        options.executor = workers > 0 ? .pool : .manual
        options.workerCount = max(workers, 1)
        do throws(Status) {
            device = try DevicePointer.open(options, memory: Memory())
            vm = try VMPointer.make(device: device, options: AddressSpaceOptions())
            bo = try device.makeBenchBuffer()
            fenceHome = benchArray(of: FenceHome.self, count: 1)
            fenceHome.initialize(
                to: FenceHome(owner: UnsafeMutableRawPointer(device), isOwnWork: true, release: releaseBenchFence))
        } catch {
            panic("a benchmark could not open its device")
        }
    }

    func close() {
        bo.dropHandle()
        vm.dropHandle()
        device.dropHandle()
        benchFree(fenceHome)
    }

    /// Allocates a resource, looks for pending unbinds in its way (there are none), initialises it and binds: what a
    /// bind does below the VMA, its range and its reservation.
    @inline(__always)
    func bind(start: UInt64, size: UInt64) -> ResourcePointer {
        guard let memory = device.cache(.resource).take() else { panic("there is not enough memory for the benchmark") }
        let pages = bo.pages
        let binding = Binding(
            start: start, size: size, physical: pages.pointee.physical, isLocal: false, isReadOnly: false)
        vm.pointee.lock.acquire()
        let unbinds = vm.pointee.pending.unfinished(in: start...(binding.end &- 1))
        invariant(unbinds.count == 0, "a benchmark bound a range with a pending unbind in it")
        invariant(vm.pointee.pending.reserve(), "there is not enough memory for the benchmark")
        let resource = ResourcePointer.initialize(
            memory, vm: vm, pages: pages, binding: binding, boID: 1, timelineAwait: nil)
        vm.pointee.stats.pointee.binds &+= 1
        _ = resource.writeEntries(binding)
        vm.pointee.pending.reap(
            recording: .bound, of: binding, boID: 1, time: device.pointee.executor.approximateNow, isApproximate: true)
        vm.pointee.lock.release()
        return resource
    }

    /// Unbinds once `user` has signalled, at once if there is none, and drops the unbind fence.
    @inline(__always)
    func unbind(_ resource: ResourcePointer, after user: FencePointer?) {
        vm.pointee.lock.acquire()
        vm.pointee.pending.reap()
        var edge: AwaitPointer?
        if let user {
            edge = device.cache(.await).takeAwait(on: user, function: unbindAwaitFired)
            invariant(edge != nil, "there is not enough memory for the benchmark")
        }
        let last = resource.pointee.start &+ resource.pointee.size &- 1
        let schedule = resource.schedule(awaiting: edge, range: resource.pointee.start...last) {}
        vm.pointee.lock.release()
        _ = resource.follow(schedule)
        resource.fence.drop()
    }
}

extension BenchVM {
    @inline(__always)
    func makeFence() -> FencePointer {
        guard let memory = device.cache(.callerFence).take() else {
            panic("there is not enough memory for the benchmark")
        }
        let fence = memory.bindMemory(to: Fence.self, capacity: 1)
        fence.initialize(to: Fence(home: fenceHome))
        return fence
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    fileprivate func makeBenchBuffer() throws(Status) -> BufferObjectPointer {
        try BufferObjectPointer.make(device: self) { () throws(Status) in
            try PageListPointer.makeSystem(device: self, size: 1 << 21)
        }
    }

}

private func releaseBenchFence(_ memory: UnsafeMutableRawPointer) {
    let fence = memory.assumingMemoryBound(to: Fence.self)
    let device = fence.device
    fence.deinitialize(count: 1)
    device.cache(.callerFence).give(memory)
}
