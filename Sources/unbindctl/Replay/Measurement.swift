// What one run under one policy gave.

import Unbind

/// Figures of a run; all times in nanoseconds, of virtual time or of a device's clock.
struct Measurement {
    let policy: AddressSpace.Policy
    /// Time inside each bind or unbind call, in ascending order.
    var blocked: [UInt64] = []
    var binds = 0
    var unbinds = 0
    var bindsWaited: UInt64 = 0
    var bindWait: UInt64 = 0
    var awaited: UInt64 = 0
    var awaitedNotOverlapping: UInt64 = 0
    /// The most unbinds pending at any time, of the address space that had most.
    var peakPending: UInt64 = 0
    var jobs: UInt64 = 0
    /// When all work had ended, from the first event.
    var end: UInt64 = 0
    /// What became of batches.
    var batches = Batches()

    // In virtual time alone.
    var scheduleDigest: UInt64 = 0
    /// The page tables at the end of the trace, when all work had ended.
    var pageRuns: [PageRun] = []
    /// Nil in virtual time.
    var onDevice: OnDevice?

    var operations: Int { blocked.count }
    var blockedTotal: UInt64 { blocked.reduce(0, +) }
    var blockedMaximum: UInt64 { blocked.last ?? 0 }
    /// Calls that took longer than a time.
    func calls(longerThan limit: UInt64) -> Int {
        blocked.count - (blocked.firstIndex { $0 > limit } ?? blocked.count)
    }

    /// The smallest value that at least so many of a thousand calls do not exceed.
    func blocked(perMille: Int) -> UInt64 {
        guard !blocked.isEmpty else { return 0 }
        let rank = (blocked.count * perMille + 999) / 1000
        return blocked[max(rank, 1) - 1]
    }

    struct Batches {
        var operations: UInt64 = 0
        var splits: UInt64 = 0, merges: UInt64 = 0, kept: UInt64 = 0
        var entriesWritten: UInt64 = 0, entriesCleared: UInt64 = 0, invalidations: UInt64 = 0
    }

    /// What only a device has, and only a look at it tells.
    struct OnDevice {
        /// Groups in which ready unbinds went to the driver, calls that changed page tables, and ranges in them.
        var unbindGroups: UInt64 = 0, updates: UInt64 = 0, updatedRanges: UInt64 = 0
        /// What the capture leaves, all of it found as it should be.
        var mappingsLeft = 0, bytesLeft: UInt64 = 0
        /// By the GPU, each of them right.
        var wordsRead = 0

        mutating func add(_ statistics: AddressSpace.Statistics) {
            unbindGroups += statistics.unbindBatches
            updates += statistics.backendCalls
            updatedRanges += statistics.backendRanges
        }
    }

    mutating func add(_ statistics: AddressSpace.BatchStatistics) {
        batches.operations += statistics.operations
        batches.splits += statistics.splits
        batches.merges += statistics.merges
        batches.kept += statistics.kept
        batches.entriesWritten += statistics.entriesWritten
        batches.entriesCleared += statistics.entriesCleared
        batches.invalidations += statistics.invalidations
    }

    mutating func add(_ statistics: AddressSpace.Statistics) {
        bindsWaited += statistics.bindsWaited
        bindWait += statistics.bindWaitNanoseconds
        awaited += statistics.awaited
        awaitedNotOverlapping += statistics.awaitedNotOverlapping
        peakPending = max(peakPending, statistics.pendingPeak)
    }
}

/// Neighbouring pages of one buffer, whatever their sizes.
struct PageRun: Equatable {
    let space: Int
    let address: UInt64
    var size: UInt64
    let isWritable, isLocal: Bool
    let bufferID, bufferOffset: UInt64

    /// Goes through the page tables of an address space.
    static func all(of addressSpace: AddressSpace, number: Int) throws(UnbindError) -> [PageRun] {
        var runs: [PageRun] = []
        var address: UInt64 = 0
        while let page = try addressSpace.page(at: address) {
            let next = PageRun(
                space: number, address: page.address, size: page.size, isWritable: page.isWritable,
                isLocal: page.isLocal, bufferID: page.bufferID, bufferOffset: page.bufferOffset)
            if let last = runs.last, last.isContinued(by: next) {
                runs[runs.count - 1].size += page.size
            } else {
                runs.append(next)
            }
            address = page.address + page.size
        }
        return runs
    }

    private func isContinued(by next: PageRun) -> Bool {
        address + size == next.address && isWritable == next.isWritable && isLocal == next.isLocal
            && bufferID == next.bufferID && bufferOffset + size == next.bufferOffset
    }
}
