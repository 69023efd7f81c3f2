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
        for record in records where record.isDone {
            var error: Int32 = 1
            _ = unbind_fence_get_error(record.fence, &error)
            try require(error == 0, "batch \(record.number) ended with \(error)")
            if let signals = record.signals {
                try require(unbind_fence_is_signaled(signals.handle) == 1, "batch \(record.number) did not signal")
                unbind_fence_unref(signals.handle)
                record.signals = nil
            }
            model.trim(record)
            (record.predecessor, record.waits, record.jobs) = (nil, [], [])
            unbind_fence_unref(record.fence)
        }
        for record in records where !record.isDone {
            if let signals = record.signals {
                try require(unbind_fence_is_signaled(signals.handle) == 0, "batch \(record.number) signalled early")
            }
        }
        records.removeAll(where: \.isDone)
    }

    func check() throws {
        try collect()
        try checkPages()
        try checkMappings()
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

    // MARK: Pages

    private func checkPages() throws {
        guard let pages = walkPages(space) else { throw SimulationFailure("find_page went backwards") }
        coverage.pages += pages.count
        var next = 0
        for page in pages {
            try require(
                page.address % page.size == 0 && pageSizes & page.size != 0,
                "a page of \(page.size) at \(page.address)")
            let start = Int(page.address) / unit
            for index in next..<max(next, start) { try checkHole(index) }
            next = start + Int(page.size) / unit
            try require(start >= 0 && next <= pageCount, "a page beyond the end")
            for index in start..<next { try check(page, at: index) }
        }
        for index in next..<pageCount { try checkHole(index) }
    }

    private func checkHole(_ index: Int) throws {
        let history = model.pages[index]
        let isAllowed =
            history.isSettled ? !history.last.isThere : history.allowed().contains { !$0.isThere }
        try require(isAllowed, "page \(index) is missing: \(describe(history))")
    }

    private func check(_ page: SimulationPage, at index: Int) throws {
        let history = model.pages[index]
        if history.isSettled {
            // What is left of a mapping that was split before it was bound is bound a moment after it.
            let isUnnamed =
                !isSettled && page.buffer == 0 && history.last.kind == .memory
                && page.flags & ~UNBIND_PAGE_LOCAL == (history.last.isWritable ? UNBIND_PAGE_WRITABLE : 0)
            try require(
                isUnnamed || matches(page, at: index, history.last),
                "page \(index) shows \(page), not \(describe(history))")
            return
        }
        let isAllowed = history.allowed().contains { content in
            if page.buffer != 0 || content.kind != .memory { return matches(page, at: index, content) }
            // An entry that waits to be cleared or changed does not name its buffer.
            let isWritable = page.flags & UNBIND_PAGE_WRITABLE != 0
            return page.flags & UNBIND_PAGE_NULL == 0 && isWritable == content.isWritable
        }
        try require(isAllowed, "page \(index) shows \(page), which is none of \(describe(history))")
    }

    private func matches(_ page: SimulationPage, at index: Int, _ content: BatchPage) -> Bool {
        let isNull = page.flags & UNBIND_PAGE_NULL != 0
        switch content.kind {
        case .nothing: return false
        case .null: return isNull && page.buffer == 0
        case .vma: return !isNull && page.buffer != 0 && page.flags & UNBIND_PAGE_WRITABLE != 0
        case .memory:
            let memory = memories[Int(content.memory)]
            if isNull || (page.flags & UNBIND_PAGE_WRITABLE != 0) != content.isWritable { return false }
            if memory.handle == nil { return page.buffer != 0 && !memories.contains { $0.id == page.buffer } }
            let offset = page.offset + UInt64(index * unit) - page.address
            let isLocal = page.flags & UNBIND_PAGE_LOCAL != 0
            return page.buffer == memory.id && offset == UInt64(Int(content.page) * unit)
                && isLocal == (regions[memory.index] == UNBIND_REGION_LOCAL)
        }
    }

    private func describe(_ history: BatchPageHistory) -> String {
        "\(history.contents) by \(history.records.map { "\($0.number)\($0.mayHaveBegun ? "" : " (waits)")" })"
    }

    // MARK: Mappings

    /// Neighbours that belong together are one mapping, or several that were made one after the other.
    private func checkMappings() throws {
        let stats = batchStats()
        var runs: UInt64 = 0
        var pages: UInt64 = 0
        var before = BatchPage.nothing
        for content in model.pages.lazy.map(\.last) {
            if content.kind == .memory || content.kind == .null {
                pages += 1
                var expected = before
                if before.kind == .memory { expected.page += 1 }
                if content != expected { runs += 1 }
            }
            before = content
        }
        try require(
            stats.mappings >= runs && stats.mappings <= pages,
            "\(stats.mappings) mappings of \(pages) pages in \(runs) runs")
    }
}
