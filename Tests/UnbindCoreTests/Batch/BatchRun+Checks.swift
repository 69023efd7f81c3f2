// The comparison with the model, after every batch.

import CUnbind
import Glibc

extension BatchRun {
    /// Notes what has ended.
    func collect() throws {
        while let job = jobs.first, unbind_fence_is_signaled(job.fence) == 1 {
            try job.finish(memories)
            jobs.removeFirst()
        }
        for record in records where !record.isDone && unbind_fence_is_signaled(record.fence) == 1 {
            try require(record.mayHaveBegun, "batch \(record.number) is done before what it waits for")
            record.isDone = true
        }
        var hasChanged = false
        for record in records where record.isDone {
            var error: Int32 = 1
            _ = unbind_fence_get_error(record.fence, &error)
            try require(error == 0, "batch \(record.number) ended with \(error)")
            if let signals = record.signals {
                // Points are reached in the order of their numbers.
                let isInTurn =
                    !signals.isPoint
                    || !records.contains { $0.number < record.number && !$0.isDone && $0.signals?.isPoint == true }
                try require(
                    !isInTurn || unbind_fence_is_signaled(signals.handle) == 1, "batch \(record.number) did not signal")
                unbind_fence_unref(signals.handle)
                record.signals = nil
            }
            hasChanged = true
            (record.predecessor, record.waits, record.jobs) = (nil, [], [])
            unbind_fence_unref(record.fence)
        }
        for record in records where !record.isDone {
            if let signals = record.signals {
                try require(unbind_fence_is_signaled(signals.handle) == 0, "batch \(record.number) signalled early")
            }
        }
        if !hasChanged { return }
        model.trim()
        records.removeAll(where: \.isDone)
    }

    func check() throws {
        try collect()
        coverage.comparisons += 1
        try checkEntries()
        // In a large space less often.
        if pageCount <= 64 || coverage.comparisons % 4 == 0 { try checkPages() }
        try checkMappings()
        if coverage.comparisons % 64 == 0 { tables.checkInvariants() }
    }

    /// With nothing left to run: whatever is not done has a reason.
    func checkReasons() throws {
        for (index, record) in records.enumerated() {
            let isBlocked =
                !record.mayHaveBegun
                || records[..<index].contains { policy != UNBIND_POLICY_RANGES || $0.overlaps(record) }
            try require(isBlocked, "batch \(record.number) is not done, though nothing is in its way")
        }
        if let job = jobs.first {
            try require(job.gate?.isSignaled == false, "a job is not done, though nothing is in its way")
        }
    }

    // MARK: Page tables

    /// What the GPU meets at every page: the place in memory, whether it may write.
    private func checkEntries() throws {
        for index in 0..<pageCount {
            let entry = tables.entry(at: UInt64(index * unit))
            let isRight =
                model.isSettled(index)
                ? matches(entry, at: index, model.last[index])
                : model.isAllowed(index) { matches(entry, at: index, $0) }
            try require(isRight, "page \(index) leads to \(entry), not \(model.describe(index))")
        }
    }

    private func matches(_ entry: BatchEntry, at index: Int, _ content: BatchPage) -> Bool {
        var place: BatchPlace
        switch content.kind {
        case .nothing: return !entry.isThere
        case .null: return entry.isNull
        case .vma:
            place = vmaPlace
            place.address += UInt64((index - vma!.start) * unit)
        case .memory:
            place = memories[content.memory].place
            place.address += UInt64(content.page * unit)
        }
        let isWritable = content.kind == .vma || content.isWritable
        return entry.isThere && !entry.isNull && entry.isWritable == isWritable && entry.place == place
    }

    // MARK: Pages

    /// What the library says of the page tables: the sizes of pages, and whose they are.
    private func checkPages() throws {
        var page = makeHeaderStruct(unbind_page())
        var next = 0
        // Nothing is mapped beyond the end.
        let limit = coverage.comparisons % 16 == 0 ? 1 << 36 : pageCount
        while next < limit, unbind_vm_find_page(space, UInt64(next * unit), &page) == 0 {
            coverage.pages += 1
            try require(
                page.address % page.size == 0 && pageSizes & page.size != 0,
                "a page of \(page.size) at \(page.address)")
            let start = Int(page.address) / unit
            let end = start + Int(page.size) / unit
            try require(start >= next && end <= pageCount, "a page at \(start), beyond the end or twice")
            for index in next..<start { try checkHole(index) }
            for index in start..<end { try check(page, at: index) }
            next = end
        }
        for index in next..<pageCount { try checkHole(index) }
    }

    private func checkHole(_ index: Int) throws {
        let isAllowed =
            model.isSettled(index) ? !model.last[index].isThere : model.isAllowed(index) { !$0.isThere }
        try require(isAllowed, "page \(index) is missing: \(model.describe(index))")
    }

    private func check(_ page: unbind_page, at index: Int) throws {
        if model.isSettled(index) {
            let last = model.last[index]
            // What is left of a mapping that was split before it was bound is bound a moment after it.
            let isUnnamed =
                !isSettled && page.bo_id == 0 && last.isMemory
                && page.flags & ~UNBIND_PAGE_LOCAL == (last.isWritable ? UNBIND_PAGE_WRITABLE : 0)
            try require(
                isUnnamed || matches(page, at: index, last),
                "page \(index) shows \(page), not \(model.describe(index))")
            return
        }
        let isAllowed = model.isAllowed(index) { content in
            if page.bo_id != 0 || content.kind != .memory { return matches(page, at: index, content) }
            // An entry that waits to be cleared or changed does not name its buffer.
            let isWritable = page.flags & UNBIND_PAGE_WRITABLE != 0
            return page.flags & UNBIND_PAGE_NULL == 0 && isWritable == content.isWritable
        }
        try require(isAllowed, "page \(index) shows \(page), which is none of \(model.describe(index))")
    }

    private func matches(_ page: unbind_page, at index: Int, _ content: BatchPage) -> Bool {
        let isNull = page.flags & UNBIND_PAGE_NULL != 0
        switch content.kind {
        case .nothing: return false
        case .null: return isNull && page.bo_id == 0
        case .vma: return !isNull && page.bo_id != 0 && page.flags & UNBIND_PAGE_WRITABLE != 0
        case .memory:
            let memory = memories[content.memory]
            if isNull || (page.flags & UNBIND_PAGE_WRITABLE != 0) != content.isWritable { return false }
            if memory.handle == nil { return page.bo_id != 0 && !memories.contains { $0.id == page.bo_id } }
            let offset = page.bo_offset + UInt64(index * unit) - page.address
            let isLocal = page.flags & UNBIND_PAGE_LOCAL != 0
            return page.bo_id == memory.id && offset == UInt64(content.page * unit)
                && isLocal == (regions[memory.index] == UNBIND_REGION_LOCAL)
        }
    }

    // MARK: Mappings

    /// Neighbours that belong together are one mapping, or several that were made one after the other.
    private func checkMappings() throws {
        let stats = batchStats()
        var runs: UInt64 = 0
        var pages: UInt64 = 0
        var before = BatchPage.nothing
        for index in 0..<pageCount {
            let content = model.last[index]
            if content.isMemory || content.kind == .null {
                pages += 1
                if content != before.next { runs += 1 }
            }
            before = content
        }
        try require(
            stats.mappings >= runs && stats.mappings <= pages,
            "\(stats.mappings) mappings of \(pages) pages in \(runs) runs")
    }
}
