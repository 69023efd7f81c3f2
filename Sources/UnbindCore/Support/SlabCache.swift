// SlabCache: objects of one size, cut from slabs of memory that is kept until the cache goes.
//
// A free object is one pointer pop away, so that the bind path reaches the allocator only when a slab
// runs out, and giving an object back never touches it. `uncached` makes every object one allocation,
// for leak checkers and for failing the n-th.
//
// - Locking: takes its own lock, the innermost of all.
// - Signalling: give() may be called in a signalling section, take() may not.

import CSystem
import Synchronization

struct SlabCache: ~Copyable {
    fileprivate struct FreeObject { var next: UnsafeMutablePointer<FreeObject>? }
    fileprivate struct Slab { var next: UnsafeMutablePointer<Slab>? }

    fileprivate let memory: UnsafeMutablePointer<Memory>
    let objectBytes: Int
    fileprivate let alignment: Int
    fileprivate let uncached: Bool
    fileprivate var free: UnsafeMutablePointer<FreeObject>?
    fileprivate var slabs: UnsafeMutablePointer<Slab>?
    fileprivate var live = 0
    fileprivate var taken: UInt64 = 0
    fileprivate let lock = FutexLock(.slab)

    /// Big enough that the header is noise, small enough for a device with ten objects.
    fileprivate static var slabBytes: Int { 16384 }

    init<T: ~Copyable>(for type: T.Type, memory: UnsafeMutablePointer<Memory>, uncached: Bool) {
        self.memory = memory
        self.uncached = uncached
        alignment = max(MemoryLayout<T>.alignment, 16)
        objectBytes = roundUp(max(MemoryLayout<T>.size, MemoryLayout<FreeObject>.size), to: alignment)
    }
}

extension UnsafeMutablePointer where Pointee == SlabCache {
    /// All objects must have been given back: `isEmpty`.
    func dispose() {
        invariant(pointee.live == 0, "a slab cache was disposed of with objects alive")
        while let slab = pointee.slabs {
            pointee.slabs = slab.pointee.next
            pointee.memory.deallocate(UnsafeMutableRawPointer(slab), bytes: SlabCache.slabBytes)
        }
        pointee.free = nil
    }

    /// Uninitialised memory for one object, or nil.
    func take() -> UnsafeMutableRawPointer? {
        if pointee.uncached {
            let object = pointee.memory.allocate(bytes: pointee.objectBytes, alignment: pointee.alignment)
            guard let object else { return nil }
            pointee.lock.acquire()
            pointee.live &+= 1
            pointee.taken &+= 1
            pointee.lock.release()
            return object
        }
        pointee.lock.acquire()
        if pointee.free == nil, !addSlab() {
            pointee.lock.release()
            return nil
        }
        let object = pointee.free!
        pointee.free = object.pointee.next
        pointee.live &+= 1
        pointee.taken &+= 1
        pointee.lock.release()
        return UnsafeMutableRawPointer(object)
    }

    func give(_ object: UnsafeMutableRawPointer) {
        if pointee.uncached {
            pointee.memory.deallocate(object, bytes: pointee.objectBytes)
            pointee.lock.acquire()
            pointee.live &-= 1
            pointee.lock.release()
            return
        }
        pointee.lock.acquire()
        let node = object.bindMemory(to: SlabCache.FreeObject.self, capacity: 1)
        node.initialize(to: SlabCache.FreeObject(next: pointee.free))
        pointee.free = node
        pointee.live &-= 1
        pointee.lock.release()
    }

    /// Objects taken and not given back.
    var liveCount: Int {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.live
    }

    /// Objects taken so far.
    var takenCount: UInt64 {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return pointee.taken
    }

    private func addSlab() -> Bool {
        guard let slab = pointee.memory.allocate(bytes: SlabCache.slabBytes, alignment: 64) else { return false }
        let header = slab.bindMemory(to: SlabCache.Slab.self, capacity: 1)
        header.initialize(to: SlabCache.Slab(next: pointee.slabs))
        pointee.slabs = header
        var offset = roundUp(MemoryLayout<SlabCache.Slab>.size, to: max(pointee.alignment, 64))
        while offset + pointee.objectBytes <= SlabCache.slabBytes {
            let node = (slab + offset).bindMemory(to: SlabCache.FreeObject.self, capacity: 1)
            node.initialize(to: SlabCache.FreeObject(next: pointee.free))
            pointee.free = node
            offset += pointee.objectBytes
        }
        return true
    }
}
