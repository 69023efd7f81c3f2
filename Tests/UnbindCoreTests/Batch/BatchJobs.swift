// What the GPU does meanwhile: jobs of loads and stores through the mappings, on one queue.
//
// Word 0 of every page of memory says whose page it is and is only loaded; word 1 is stored to. A job whose pages are
// settled, and which no batch takes away from it, must find them all. Of the others each load finds what the page was or
// will be, and each store reaches no other memory: the model keeps the values that each word may have.

import CUnbind
import Glibc

/// Memory that can be mapped: a buffer, or the caller's own.
final class BatchMemory {
    let index: Int
    /// Nil: the caller's memory.
    let handle: OpaquePointer?
    let id: UInt64
    let pages: Int
    let unit: Int
    private let own: UnsafeMutableRawPointer?
    /// What word 1 of each page may be.
    var values: [[UInt64]]

    init(index: Int, handle: OpaquePointer?, memory: UnsafeMutableRawPointer?, pages: Int, unit: Int) {
        self.index = index
        self.handle = handle
        self.pages = pages
        self.unit = unit
        own = memory
        id = unbind_bo_id(handle)
        values = Array(repeating: [0], count: pages)
        for page in 0..<pages { word(page, 0).pointee = tag(page) }
    }

    /// A buffer's moves with it.
    var cpu: UnsafeMutableRawPointer { own ?? unbind_bo_cpu_pointer(handle)! }
    func word(_ page: Int, _ word: Int) -> UnsafeMutablePointer<UInt64> {
        (cpu + page * unit + word * 8).assumingMemoryBound(to: UInt64.self)
    }
    func tag(_ page: Int) -> UInt64 { UInt64(index + 1) << 32 | UInt64(page) }

    /// With nothing running.
    func check() throws {
        for page in 0..<pages {
            try require(word(page, 0).pointee == tag(page), "memory \(index), page \(page): its tag was overwritten")
            let value = word(page, 1).pointee
            try require(
                values[page].contains(value),
                "memory \(index), page \(page): \(value) was stored there, expected one of \(values[page])")
            values[page] = [value]
        }
    }
}

/// A job of loads and stores.
final class BatchJob {
    struct Access {
        let page: Int
        let isStore: Bool
        /// Stored, or loaded into `results`.
        let stamp: UInt64
        /// What it may find there.
        var possible: [BatchPage]
    }

    let fence: OpaquePointer
    let gate: BatchGate?
    var accesses: [Access]
    let results: UnsafeMutablePointer<UInt64>
    /// Nothing may go wrong; nil: it must fault.
    var mustSucceed: Bool?
    var isDone = false

    init(
        fence: OpaquePointer, gate: BatchGate?, accesses: [Access], results: UnsafeMutablePointer<UInt64>,
        mustSucceed: Bool?
    ) {
        self.fence = fence
        self.gate = gate
        self.accesses = accesses
        self.results = results
        self.mustSucceed = mustSucceed
    }

    deinit { results.deallocate() }

    static let unread = UInt64.max

    /// A batch that is not ordered after the job changes a page.
    func pageChanges(_ page: Int, to content: BatchPage) {
        for index in accesses.indices where accesses[index].page == page {
            accesses[index].possible.append(content)
            if mustSucceed == true { mustSucceed = false }
        }
    }

    /// Its fence has signalled.
    func finish(_ memories: [BatchMemory]) throws {
        isDone = true
        var error: Int32 = 0
        try require(unbind_fence_get_error(fence, &error) == 0, "a job that is done has no error to ask for")
        try require(error == 0 || error == -EFAULT, "a job ended with \(error)")
        if let mustSucceed {
            try require(!mustSucceed || error == 0, "a job faulted whose pages all stay: \(describe())")
        } else {
            try require(error == -EFAULT, "a job did not fault: \(describe())")
        }
        for (index, access) in accesses.enumerated() {
            if access.isStore {
                noteStore(access, ended: error == 0, memories)
            } else {
                try checkLoad(access, results[index], ended: error == 0, memories)
            }
        }
        unbind_fence_unref(fence)
    }

    private func checkLoad(_ access: Access, _ value: UInt64, ended: Bool, _ memories: [BatchMemory]) throws {
        if value == BatchJob.unread {
            try require(!ended, "a job ended well without the load at page \(access.page)")
            return
        }
        let isKnown = access.possible.contains { content in
            switch content.kind {
            case .null: value == 0
            case .memory: value == memories[Int(content.memory)].tag(Int(content.page))
            case .nothing, .vma: false
            }
        }
        try require(
            isKnown, "page \(access.page) was loaded as \(String(value, radix: 16)), possible \(access.possible)")
    }

    private func noteStore(_ access: Access, ended: Bool, _ memories: [BatchMemory]) {
        let targets = access.possible.filter { $0.isWritable || $0.kind == .null }
        let isCertain = ended && targets.count == 1 && targets[0].kind == .memory
        for content in targets where content.kind == .memory {
            let memory = memories[Int(content.memory)]
            if isCertain {
                memory.values[Int(content.page)] = [access.stamp]
            } else {
                memory.values[Int(content.page)].append(access.stamp)
            }
        }
    }

    private func describe() -> String {
        accesses.map { "\($0.isStore ? "store" : "load") page \($0.page) of \($0.possible)" }.joined(separator: "; ")
    }
}
