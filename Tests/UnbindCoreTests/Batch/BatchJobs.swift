// What the GPU does meanwhile: jobs of loads and stores through the mappings, on one queue.
//
// Word 0 of every page of memory says whose page it is and is only loaded; word 1 is stored to. A job whose pages are
// settled, and which no batch takes away from it, must find them all. Of the others each load finds what the page was
// or will be, and each store reaches no other memory: the model keeps the values that each word may have.

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
    /// What word 1 of each page is, unless a store to it is under way.
    private let values: UnsafeMutablePointer<UInt64>
    /// What it may be then, by page: empty where it is certain.
    private var possible: [[UInt64]]
    /// The pages that are not certain.
    private var uncertain: [Int] = []
    /// What page-table entries have of its first byte.
    private(set) var place = BatchPlace()

    init(index: Int, handle: OpaquePointer?, memory: UnsafeMutableRawPointer?, pages: Int, unit: Int) {
        self.index = index
        self.handle = handle
        self.pages = pages
        self.unit = unit
        own = memory
        id = unbind_bo_id(handle)
        values = .allocate(capacity: pages)
        values.initialize(repeating: 0, count: pages)
        possible = Array(repeating: [], count: pages)
        let memory = cpu
        for page in 0..<pages { word(memory, page, 0).pointee = tag(page) }
        look()
    }

    deinit { values.deallocate() }

    /// Where it is now: a buffer that nothing maps may have moved.
    func look() { place = own.map { BatchPlace(of: $0) } ?? BatchPlace(ofBuffer: handle!) }

    /// A buffer's moves with it.
    var cpu: UnsafeMutableRawPointer { own ?? unbind_bo_cpu_pointer(handle)! }
    private func word(_ memory: UnsafeMutableRawPointer, _ page: Int, _ word: Int) -> UnsafeMutablePointer<UInt64> {
        (memory + page * unit + word * 8).assumingMemoryBound(to: UInt64.self)
    }
    func tag(_ page: Int) -> UInt64 { UInt64(index + 1) << 32 | UInt64(page) }

    /// With nothing running.
    func check() throws {
        let memory = cpu
        for page in uncertain where !possible[page].isEmpty {
            let value = word(memory, page, 1).pointee
            try require(
                possible[page].contains(value),
                "memory \(index), page \(page): \(value) was stored there, expected one of \(possible[page])")
            setValue(page, value)
        }
        uncertain.removeAll(keepingCapacity: true)
        for page in 0..<pages {
            let words = word(memory, page, 0)
            try require(words[0] == tag(page), "memory \(index), page \(page): its tag was overwritten")
            try require(
                words[1] == values[page],
                "memory \(index), page \(page): \(words[1]) was stored there, expected \(values[page])")
        }
    }

    /// Word 1 of the page is that.
    func setValue(_ page: Int, _ value: UInt64) {
        values[page] = value
        possible[page].removeAll(keepingCapacity: true)
    }

    /// Word 1 of the page may have become that.
    func addValue(_ page: Int, _ value: UInt64) {
        if possible[page].isEmpty {
            possible[page].append(values[page])
            uncertain.append(page)
        }
        possible[page].append(value)
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

    /// A batch that is not ordered after the job makes of the pages what is in the model's scratch.
    func pagesChange(_ model: BatchModel) {
        for index in accesses.indices {
            let content = model.scratch[accesses[index].page]
            if content == model.last[accesses[index].page] { continue }
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
            case .memory: value == memories[content.memory].tag(content.page)
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
            if isCertain {
                memories[content.memory].setValue(content.page, access.stamp)
            } else {
                memories[content.memory].addValue(content.page, access.stamp)
            }
        }
    }

    private func describe() -> String {
        accesses.map { "\($0.isStore ? "store" : "load") page \($0.page) of \($0.possible)" }.joined(separator: "; ")
    }
}
