// HandleList: the buffers of one node that have a handle of the kernel's.
//
// A dma-buf of a buffer that the node has already comes in under the handle that this one has, and the kernel does not
// count: so it has to be known by its handle, and its users are counted here.
//
// - Locking: `lock` (LockRank.kernelWaits), held over the calls that make a handle from a dma-buf and that close one, so
//   that neither comes in between the other and the list.

import CLibDRM

typealias HandleEntryPointer = UnsafeMutablePointer<HandleEntry>

/// The first part of a buffer.
struct HandleEntry: BitwiseCopyable {
    let handle: UInt32
    // Under the lock.
    var users = 1
    var next: HandleEntryPointer?
    var previous: HandleEntryPointer?

    init(_ handle: UInt32) { self.handle = handle }
}

struct HandleList: ~Copyable {
    let node: DRMNode
    let lock = FutexLock(.kernelWaits)
    var first: HandleEntryPointer?

    init(_ node: DRMNode) { self.node = node }
}

extension UnsafeMutablePointer where Pointee == HandleList {
    static func make(_ node: DRMNode, memory: UnsafeMutablePointer<Memory>) throws(Status) -> Self {
        guard let list = memory.allocateApart(of: HandleList.self) else { throw Status.noMemory }
        list.initialize(to: HandleList(node))
        return list
    }

    /// No buffer is left.
    func free(memory: UnsafeMutablePointer<Memory>) {
        invariant(pointee.first == nil, "a backend was freed before its buffers were")
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    func add(_ entry: HandleEntryPointer) {
        pointee.lock.acquire()
        link(entry)
        pointee.lock.release()
    }

    /// True if that was the last user: the handle is closed, and the entry nobody's.
    func drop(_ entry: HandleEntryPointer) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        entry.pointee.users = entry.pointee.users - 1
        if entry.pointee.users > 0 { return false }
        let (next, previous) = (entry.pointee.next, entry.pointee.previous)
        next?.pointee.previous = previous
        if let previous { previous.pointee.next = next } else { pointee.first = next }
        pointee.node.closeBuffer(entry.pointee.handle)
        return true
    }

    /// More than one buffer of the library's is this one.
    func isShared(_ entry: HandleEntryPointer) -> Bool {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        return entry.pointee.users > 1
    }

    /// The buffer that a dma-buf stands for: one that is known, with one more user, or what `make` makes of its new
    /// handle.
    func add(
        dmaBuf descriptor: Int32, make: (_ handle: UInt32) throws(Status) -> HandleEntryPointer
    ) throws(Status) -> HandleEntryPointer {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        let handle = try pointee.node.importBuffer(descriptor)
        var next = pointee.first
        while let entry = next, entry.pointee.handle != handle { next = entry.pointee.next }
        if let known = next {
            known.pointee.users = known.pointee.users + 1
            return known
        }
        do throws(Status) {
            let entry = try make(handle)
            link(entry)
            return entry
        } catch {
            pointee.node.closeBuffer(handle)
            throw error
        }
    }

    private func link(_ entry: HandleEntryPointer) {
        entry.pointee.previous = nil
        entry.pointee.next = pointee.first
        pointee.first?.pointee.previous = entry
        pointee.first = entry
    }
}
