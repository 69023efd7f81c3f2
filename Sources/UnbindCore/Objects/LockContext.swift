// LockContext: who locks buffers, and how old that is (ww_acquire_ctx, include/linux/ww_mutex.h).
//
// Lives in storage of the caller's (struct unbind_lock_context), so that locking allocates nothing. Its stamp decides
// who gives way when two contexts want each other's locks: the younger. A context that gave way keeps its stamp, so
// that it grows older until nobody is older, and then it gets all it wants.
//
// One thread at a time uses a context. Others reach it only through a lock that it has or waits for, under the short
// lock of that buffer's reservation, and touch nothing but its word.

import Synchronization

typealias LockContextPointer = UnsafeMutablePointer<LockContext>

struct LockContext: ~Copyable {
    /// `magic` while initialised: what a pointer of the caller's is checked against.
    var magic: UInt32
    /// At `wordOffset`: what others tell it, bits of `wounded` and `granted`; what it sleeps on while it waits.
    let word = Atomic<UInt32>(0)
    /// Not a counted reference: only its locks keep the device.
    let device: DevicePointer
    /// Smaller: older.
    let stamp: UInt64
    /// Locks that it has, and the first of them, the latest.
    fileprivate(set) var acquired = 0
    fileprivate(set) var firstLocked: BufferObjectPointer?
    /// What it did not get when it was told to give way; a counted reference.
    fileprivate(set) var contended: BufferObjectPointer?
    /// What `retry` has locked in advance, until that is asked for.
    var prelocked: BufferObjectPointer?

    static var magic: UInt32 { 0x756c_6b63 }
    static var wordOffset: Int { 4 }
    /// An older context waits for one of its locks.
    static var wounded: UInt32 { 1 }
    /// The lock it waits for is its own now.
    static var granted: UInt32 { 2 }

    /// A context that ends with the call in which it begins is not `named`: nobody can ask it to give way.
    init(device: DevicePointer, isNamed: Bool = true) {
        magic = isNamed ? LockContext.magic : 0
        self.device = device
        stamp = device.pointee.lastLockStamp.wrappingAdd(1, ordering: .relaxed).newValue
    }
}

extension UnsafeMutablePointer where Pointee == LockContext {
    var isNamed: Bool { pointee.magic == LockContext.magic }

    var word: UnsafeMutablePointer<Atomic<UInt32>> {
        memberPointer(of: self, at: LockContext.wordOffset, as: Atomic<UInt32>.self)
    }

    /// An older context waits for one of its locks: it gets no further ones before it has given up all.
    var isWounded: Bool {
        pointee.acquired > 0 && word.pointee.load(ordering: .acquiring) & LockContext.wounded != 0
    }

    // MARK: Its locks

    /// The buffer's lock is its own since just now; takes over a reference to the buffer.
    func didAcquire(_ bo: BufferObjectPointer) {
        let next = pointee.firstLocked
        bo.pointee.outerLock.next = next
        bo.pointee.outerLock.previous = nil
        next?.pointee.outerLock.previous = bo
        pointee.firstLocked = bo
        pointee.acquired = pointee.acquired &+ 1
        pointee.device.handleCreated(.lock)
    }

    /// Before the lock is given up; the reference is the caller's.
    func willRelease(_ bo: BufferObjectPointer) {
        let (next, previous) = (bo.pointee.outerLock.next, bo.pointee.outerLock.previous)
        next?.pointee.outerLock.previous = previous
        if let previous { previous.pointee.outerLock.next = next } else { pointee.firstLocked = next }
        bo.pointee.outerLock.next = nil
        bo.pointee.outerLock.previous = nil
        if pointee.prelocked == bo { pointee.prelocked = nil }
        pointee.acquired = pointee.acquired &- 1
        pointee.device.handleDropped(.lock)
    }

    /// After a lock was given up. With the last one whoever made it give way has what it wanted.
    func didRelease() {
        if pointee.acquired == 0 { word.pointee.store(0, ordering: .relaxed) }
    }

    /// Gives up every lock that it got after `mark`, the latest first; nil: every one.
    func unlock(after mark: BufferObjectPointer? = nil) {
        while let bo = pointee.firstLocked, bo != mark {
            let wasLocked = bo.unlock(by: self)
            invariant(wasLocked, "a lock context lists a buffer that it has not locked")
        }
    }

    // MARK: Giving way

    /// It was told to give way when it asked for this buffer.
    func setContended(_ bo: BufferObjectPointer?) {
        bo?.retain()
        clearContended()
        pointee.contended = bo
    }

    func clearContended() {
        let old = pointee.contended
        pointee.contended = nil
        old?.drop()
    }

    /// Gives up every lock and waits for the one that it did not get. False if there is none.
    /// - Failure: as lock; nothing is locked then, and the next call waits for the same one.
    func retry(interruptible: Bool) throws(Status) -> Bool {
        guard let bo = pointee.contended else { return false }
        unlock()
        try bo.lock(by: self, interruptible: interruptible)
        pointee.prelocked = bo
        clearContended()
        return true
    }

    /// Gives up everything; the storage is the caller's again.
    func end() {
        unlock()
        clearContended()
        pointee.magic = 0
        deinitialize(count: 1)
    }
}
