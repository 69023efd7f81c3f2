// W2: deferred unbinds, always n of them pending, ranges scattered over 48 bits.
//
// One operation: signal the oldest awaited fence and drop it; its unbind's work runs (clear, invalidate, signal; the
// next bind takes it out of the index); a new fence; bind as in W1 in a new range; have the unbind await the fence and
// schedule it; drop.
//
// Variant 0, inline: the work is run by the signalling thread right after the signal. Variant 1, pool: by one worker;
// at most 1024 unbinds are ready and not done, and the clock stops when all are.

import CSystem
import Synchronization

private struct Rig {
    let space: BenchVM
    let isPool: Bool
    let count: UInt64
    let bits: UInt64
    let ring: UnsafeMutablePointer<FencePointer>
    /// Unbinds scheduled so far.
    var head: UInt64 = 0
    var random = BenchRandom()

    @inline(__always)
    mutating func add() {
        let start = scattered(head, bits: bits) << (48 - bits)
        let size: UInt64 = 4096 << (random.next() % 10)
        let resource = space.bind(start: start, size: size)
        let fence = space.makeFence()
        space.unbind(resource, after: fence)
        ring[Int(head & (count - 1))] = fence
        head += 1
    }

    @inline(__always)
    func signalOldest() {
        let fence = ring[Int(head & (count - 1))]
        fence.signal(at: space.device.now)
        fence.drop()
    }

    @inline(__always)
    func runWork() {
        do throws(Status) {
            _ = try space.device.pointee.executor.run(maxItems: 0)
        } catch { panic("no work can be run") }
    }

    /// Waits until at most so many unbinds are ready and not done.
    func waitForWorker(backlog limit: UInt64) {
        var tries = 0
        while head - count - space.vm.pointee.stats.pointee.completed.load(ordering: .acquiring) > limit {
            tries += 1
            if tries % 64 == 0 { sched_yield() }
        }
    }

    mutating func cycle(_ operations: UInt64) {
        if !isPool {
            for _ in 0..<operations {
                signalOldest()
                runWork()
                add()
            }
            return
        }
        for index in 0..<operations {
            if index % 64 == 0 { waitForWorker(backlog: 1024) }
            signalOldest()
            add()
        }
        waitForWorker(backlog: 0)
    }
}

@_cdecl("bench_w2_open")
public func benchW2Open(_ count: UInt64, _ variant: UInt32) -> UnsafeMutableRawPointer {
    let isPool = variant == 1
    var rig = Rig(
        space: BenchVM(workers: isPool ? 1 : 0), isPool: isPool, count: count,
        // Unbinds that are ready and not done still have their ranges.
        bits: bitsUp(isPool ? 2 * count + 4096 : 2 * count),
        ring: benchArray(of: FencePointer.self, count: Int(count)))
    for _ in 0..<count { rig.add() }
    return benchBox(rig)
}

@_cdecl("bench_w2_round")
public func benchW2Round(_ box: UnsafeMutableRawPointer, _ operations: UInt64) -> UInt64 {
    let box = box.assumingMemoryBound(to: Rig.self)
    var rig = box.pointee
    let began = csys_monotonic_ns()
    rig.cycle(operations)
    let spent = csys_monotonic_ns() - began
    box.pointee = rig
    return spent
}

@_cdecl("bench_w2_close")
public func benchW2Close(_ box: UnsafeMutableRawPointer) {
    let box = box.assumingMemoryBound(to: Rig.self)
    var rig = box.pointee
    for _ in 0..<rig.count {
        rig.signalOldest()
        if !rig.isPool { rig.runWork() }
        rig.head += 1
    }
    rig.waitForWorker(backlog: 0)
    rig.space.close()
    benchFree(rig.ring)
    benchFree(box)
}

/// Bytes that the device has taken from its allocator, and, of them, bytes of awaited fences: not the library's own.
@_cdecl("bench_w2_bytes")
public func benchW2Bytes(_ box: UnsafeMutableRawPointer, _ awaited: UnsafeMutablePointer<UInt64>) -> UInt64 {
    let device = box.assumingMemoryBound(to: Rig.self).pointee.space.device
    let cache = device.cache(.callerFence)
    awaited.pointee = UInt64(cache.liveCount * cache.pointee.objectBytes)
    return UInt64(device.pointee.memory.pointee.bytes.load(ordering: .relaxed))
}
