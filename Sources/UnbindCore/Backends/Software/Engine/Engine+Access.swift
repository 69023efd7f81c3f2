// How a command reaches memory: through the TLB, or else the page tables, page by page, a chunk at a time.
//
// A hit in the TLB is compared with the page tables before it is used. Hardware would use it; here the difference is
// the error the whole library exists to prevent, so it is reported and nothing is touched. Between that comparison
// and the end of the access the lock is held, so the memory behind the page cannot be taken away by anyone who
// invalidates first.

import CSystem
import Synchronization

extension Engine {
    struct Fault {
        var kind: FaultKind
        var access: FaultAccess
        var address: UInt64
    }

    /// What came of one chunk. Bytes before a fault are done.
    struct Chunk {
        var bytes: UInt64 = 0
        var fault: Fault?
    }

    /// Where a page's bytes are, from the translated address to the end of the page; nil for a null page.
    fileprivate struct HostRange {
        var memory: UnsafeMutableRawPointer?
        var bytes: UInt64
    }

    /// What is copied or filled in one go: pages that follow each other on the host, too. One call for 64 KiB takes
    /// two thirds of the time of sixteen for 4 KiB.
    fileprivate struct Run {
        /// Where there is no source.
        let pattern: UInt32
        private var target: UnsafeMutableRawPointer?
        private var source: UnsafeMutableRawPointer?
        private var bytes = 0

        init(pattern: UInt32) { self.pattern = pattern }

        /// Without a target: what is written vanishes.
        mutating func add(_ target: UnsafeMutableRawPointer?, _ source: UnsafeMutableRawPointer?, _ bytes: Int) {
            if let last = self.target, last + self.bytes == target, self.source.map({ $0 + self.bytes }) == source {
                self.bytes += bytes
                return
            }
            end()
            self.target = target
            self.source = source
            self.bytes = bytes
        }

        func end() {
            guard let target else { return }
            if let source {
                memmove(target, source, bytes)
            } else if pattern == (pattern & 0xFF) &* 0x0101_0101 {
                memset(target, Int32(truncatingIfNeeded: pattern & 0xFF), bytes)
            } else {
                target.assumingMemoryBound(to: UInt32.self).update(repeating: pattern, count: bytes / 4)
            }
        }
    }

    fileprivate struct TLBCounts {
        var hits: UInt64 = 0
        var misses: UInt64 = 0
    }
}

extension UnsafeMutablePointer where Pointee == Engine {
    /// Does the next chunk of a command that accesses memory: from `offset` on, at most 64 KiB.
    func access(_ command: Command, from offset: UInt64) -> Engine.Chunk {
        var counts = Engine.TLBCounts()
        pointee.lock.acquire()
        let chunk: Engine.Chunk
        switch command.kind {
        case .fill, .copy: chunk = transfer(command, from: offset, &counts)
        case .store, .load: chunk = accessWord(command, &counts)
        case .move: chunk = move(command, from: offset)
        case .delay, .wait, .batch: chunk = Engine.Chunk()
        }
        pointee.lock.release()
        let counters = pointee.gpu
        _ = counters.pointee.counters.tlbHits.wrappingAdd(counts.hits, ordering: .relaxed)
        _ = counters.pointee.counters.tlbMisses.wrappingAdd(counts.misses, ordering: .relaxed)
        return chunk
    }

    private func transfer(_ command: Command, from offset: UInt64, _ counts: inout Engine.TLBCounts) -> Engine.Chunk {
        var chunk = Engine.Chunk()
        var run = Engine.Run(pattern: command.kind == .copy ? 0 : UInt32(truncatingIfNeeded: command.value))
        let limit = Swift.min(command.size &- offset, Engine.chunkBytes)
        while chunk.bytes < limit {
            let position = offset &+ chunk.bytes
            var bytes = limit &- chunk.bytes
            var source: UnsafeMutableRawPointer?
            if command.kind == .copy {
                let address = command.source &+ position
                guard let range = translate(address, .read, &chunk, &counts) else { break }
                bytes = Swift.min(bytes, range.bytes)
                source = range.memory
            }
            guard let target = translate(command.address &+ position, .write, &chunk, &counts) else { break }
            bytes = Swift.min(bytes, target.bytes)
            run.add(target.memory, source, Int(truncatingIfNeeded: bytes))
            chunk.bytes &+= bytes
        }
        run.end()
        return chunk
    }

    private func move(_ command: Command, from offset: UInt64) -> Engine.Chunk {
        let bytes = Swift.min(command.size &- offset, Engine.chunkBytes)
        // SAFETY: whoever submitted the move keeps both pieces of memory until its fence has signalled.
        let target = UnsafeMutableRawPointer(bitPattern: UInt(truncatingIfNeeded: command.address &+ offset))
        let source = UnsafeRawPointer(bitPattern: UInt(truncatingIfNeeded: command.source &+ offset))
        memmove(target.unsafelyUnwrapped, source.unsafelyUnwrapped, Int(truncatingIfNeeded: bytes))
        return Engine.Chunk(bytes: bytes)
    }

    /// One access, so that a CPU or another engine that polls the word sees it whole.
    private func accessWord(_ command: Command, _ counts: inout Engine.TLBCounts) -> Engine.Chunk {
        var chunk = Engine.Chunk()
        let access: FaultAccess = command.kind == .store ? .write : .read
        guard let range = translate(command.address, access, &chunk, &counts) else { return chunk }
        guard let memory = range.memory else {
            if command.kind == .load { command.result?.pointee = 0 }
            chunk.bytes = 8
            return chunk
        }
        let word = memory.assumingMemoryBound(to: Atomic<UInt64>.self)
        if command.kind == .store {
            word.pointee.store(command.value, ordering: .releasing)
        } else {
            command.result?.pointee = word.pointee.load(ordering: .acquiring)
        }
        chunk.bytes = 8
        return chunk
    }

    /// The host memory at an address; nil after noting a fault.
    @inline(__always)
    private func translate(
        _ address: UInt64, _ access: FaultAccess, _ chunk: inout Engine.Chunk, _ counts: inout Engine.TLBCounts
    ) -> Engine.HostRange? {
        let space = pointee.space
        let mapped = space.walk(address)
        let leaf: PageLeaf
        let isWritable: Bool
        if let hit = pointee.tlb.lookUp(address, space: space.pointee.id) {
            counts.hits &+= 1
            guard let mapped, hit.agrees(with: mapped, at: address) else {
                chunk.fault = Engine.Fault(kind: .stale, access: access, address: address)
                return nil
            }
            leaf = mapped
            isWritable = hit.entry.isWritable
        } else {
            counts.misses &+= 1
            guard let mapped else {
                chunk.fault = Engine.Fault(kind: .unmapped, access: access, address: address)
                return nil
            }
            pointee.tlb.insert(mapped, at: address, space: space.pointee.id)
            leaf = mapped
            isWritable = mapped.entry.isWritable
        }
        if access == .write && !isWritable {
            chunk.fault = Engine.Fault(kind: .readOnly, access: access, address: address)
            return nil
        }
        let offset = address & (leaf.size &- 1)
        if leaf.entry.isNull { return Engine.HostRange(memory: nil, bytes: leaf.size &- offset) }
        let base = leaf.entry.address &+ (leaf.entry.isLocal ? pointee.gpu.pointee.localBase : 0)
        // SAFETY: the page tables hold the page, and whoever takes its memory away waits for the lock held here.
        let memory = UnsafeMutableRawPointer(bitPattern: UInt(truncatingIfNeeded: base &+ offset))
        return Engine.HostRange(memory: memory.unsafelyUnwrapped, bytes: leaf.size &- offset)
    }
}
