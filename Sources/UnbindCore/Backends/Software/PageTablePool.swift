// PageTablePool: page tables for all spaces of one software GPU.
//
// An entry names the table below it by the address bits 51:12, so tables lie on 4 KiB pages; these are cut from slabs
// of 128 KiB (the first page of each is its header), the bookkeeping nodes from a SlabCache. What is given back is
// kept for the next table until the pool goes. `uncached` makes every page and node an allocation of its own.
//
// - Locking: takes its own lock, the innermost of all.
// - Signalling: give() may be called in a signalling section, take() may not.

import CSystem
import Synchronization

struct PageTablePool: ~Copyable {
    fileprivate struct Page { var next: UnsafeMutablePointer<Page>? }

    fileprivate let memory: UnsafeMutablePointer<Memory>
    fileprivate let uncached: Bool
    fileprivate let nodes: UnsafeMutablePointer<SlabCache>
    fileprivate let lock = FutexLock(.slab)
    fileprivate var slabs: UnsafeMutablePointer<Page>?
    fileprivate var free: UnsafeMutablePointer<Page>?
    /// Of the newest slab: pages never given out.
    fileprivate var unused: UnsafeMutableRawPointer?
    fileprivate var unusedCount = 0
    fileprivate var live = 0

    fileprivate static var pageBytes: Int { 4096 }
    fileprivate static var slabPages: Int { 32 }

    fileprivate init(memory: UnsafeMutablePointer<Memory>, uncached: Bool, nodes: UnsafeMutablePointer<SlabCache>) {
        self.memory = memory
        self.uncached = uncached
        self.nodes = nodes
    }

    static func make(memory: UnsafeMutablePointer<Memory>, uncached: Bool) -> UnsafeMutablePointer<PageTablePool>? {
        guard let pool = memory.allocateApart(of: PageTablePool.self) else { return nil }
        guard let nodes = memory.allocateApart(of: SlabCache.self) else {
            memory.deallocateApart(pool)
            return nil
        }
        nodes.initialize(to: SlabCache(for: PageTable.self, memory: memory, uncached: uncached))
        pool.initialize(to: PageTablePool(memory: memory, uncached: uncached, nodes: nodes))
        return pool
    }
}

extension UnsafeMutablePointer where Pointee == PageTablePool {
    /// All tables must have been given back.
    func dispose() {
        invariant(pointee.live == 0, "a software GPU was freed with page tables in use")
        let memory = pointee.memory
        let nodes = pointee.nodes
        while let slab = pointee.slabs {
            pointee.slabs = slab.pointee.next
            memory.deallocate(UnsafeMutableRawPointer(slab), bytes: slabBytes)
        }
        nodes.dispose()
        nodes.deinitialize(count: 1)
        memory.deallocateApart(nodes)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    /// An empty table, not in any tree; nil if there is no memory.
    func take(level: UInt64) -> PageTablePointer? {
        guard let node = pointee.nodes.take() else { return nil }
        guard let entries = takePage() else {
            pointee.nodes.give(node)
            return nil
        }
        var children: UnsafeMutablePointer<PageTablePointer?>?
        if level > 0 {
            guard let page = takePage() else {
                givePage(entries, isZero: true)
                pointee.nodes.give(node)
                return nil
            }
            children = page.bindMemory(to: PageTablePointer?.self, capacity: PageTableLevel.entryCount)
        }
        let table = node.bindMemory(to: PageTable.self, capacity: 1)
        table.initialize(
            to: PageTable(
                level: level,
                entries: entries.bindMemory(to: Atomic<UInt64>.self, capacity: PageTableLevel.entryCount),
                children: children))
        return table
    }

    /// Takes a table back that no engine can read any more. An empty one, with no entry and no child, is given out
    /// again as it is: zeroing its pages would cost more than all else about a small binding.
    func give(_ table: PageTablePointer, isEmpty: Bool) {
        givePage(UnsafeMutableRawPointer(table.pointee.entries), isZero: isEmpty)
        if let children = table.pointee.children { givePage(UnsafeMutableRawPointer(children), isZero: isEmpty) }
        table.deinitialize(count: 1)
        pointee.nodes.give(UnsafeMutableRawPointer(table))
    }

    /// Tables taken and not given back.
    var liveCount: Int { pointee.nodes.liveCount }

    private var slabBytes: Int { PageTablePool.slabPages * PageTablePool.pageBytes }

    /// A page of zeros: of empty entries, or of children that are nil.
    private func takePage() -> UnsafeMutableRawPointer? {
        pointee.lock.acquire()
        if !pointee.uncached, let page = pointee.free {
            pointee.free = page.pointee.next
            pointee.live &+= 1
            pointee.lock.release()
            // The rest of it is zero: see givePage.
            page.pointee.next = nil
            return UnsafeMutableRawPointer(page)
        }
        let page = takeNewPage()
        pointee.lock.release()
        guard let page else { return nil }
        memset(page, 0, PageTablePool.pageBytes)
        return page
    }

    /// - Locking: held.
    private func takeNewPage() -> UnsafeMutableRawPointer? {
        if pointee.uncached {
            let bytes = PageTablePool.pageBytes
            guard let page = pointee.memory.allocate(bytes: bytes, alignment: bytes) else { return nil }
            pointee.live &+= 1
            return page
        }
        if pointee.unusedCount == 0 {
            let alignment = PageTablePool.pageBytes
            guard let slab = pointee.memory.allocate(bytes: slabBytes, alignment: alignment) else { return nil }
            let header = slab.bindMemory(to: PageTablePool.Page.self, capacity: 1)
            header.initialize(to: PageTablePool.Page(next: pointee.slabs))
            pointee.slabs = header
            pointee.unused = slab + PageTablePool.pageBytes
            pointee.unusedCount = PageTablePool.slabPages - 1
        }
        let page = pointee.unused.unsafelyUnwrapped
        pointee.unused = page + PageTablePool.pageBytes
        pointee.unusedCount &-= 1
        pointee.live &+= 1
        return page
    }

    /// Pages on the free list are zero but for their link.
    private func givePage(_ memory: UnsafeMutableRawPointer, isZero: Bool) {
        if !isZero && !pointee.uncached { memset(memory, 0, PageTablePool.pageBytes) }
        if expensiveChecks, isZero {
            let words = memory.assumingMemoryBound(to: UInt64.self)
            for index in 0..<PageTableLevel.entryCount {
                invariant(words[index] == 0, "a page table was given back as empty that was not")
            }
        }
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        pointee.live &-= 1
        if pointee.uncached {
            pointee.memory.deallocate(memory, bytes: PageTablePool.pageBytes)
            return
        }
        let page = memory.bindMemory(to: PageTablePool.Page.self, capacity: 1)
        page.initialize(to: PageTablePool.Page(next: pointee.free))
        pointee.free = page
    }
}
