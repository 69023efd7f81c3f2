// The reference model of batches: an address space as an array of pages.
//
// As naive as possible: an operation is carried out page by page. For pages whose end state is still to come the model
// keeps what they were and will be, in order; what the page tables may show is decided from that alone. Nothing
// here calls the library.

import CUnbind
import Glibc

/// What one page of the address space shows.
struct BatchPage: Equatable {
    enum Kind: UInt8 { case nothing, null, memory, vma }

    var kind = Kind.nothing
    /// UNBIND_OP_READ_ONLY, UNBIND_OP_CAPTURE.
    var flags: UInt32 = 0
    var cacheLevel: UInt32 = 0
    /// Index of the memory behind it, and the page in it.
    var memory: Int32 = -1
    var page: Int32 = 0
    /// Caller's memory: each operation that maps it makes something of its own.
    var instance: Int32 = 0

    static let nothing = BatchPage()
    var isWritable: Bool { kind == .memory && flags & UNBIND_OP_READ_ONLY == 0 }
    var isThere: Bool { kind != .nothing }
}

/// One operation, in pages.
struct BatchOperation {
    var kind = UNBIND_OP_SYNC_ONLY
    var start = 0
    var count = 0
    var flags: UInt32 = 0
    var cacheLevel: UInt32 = 0
    /// MAP, MAP_USER: the memory and its first page. UNMAP_ALL, PREFETCH: the buffer.
    var memory = 0
    var page = 0
    var instance = 0
    var region: UInt32 = 0
    /// Something is wrong with it, and this is what the library must say.
    var flaw: BatchFlaw?

    var range: Range<Int> { start..<start + count }
    var isMap: Bool { kind == UNBIND_OP_MAP || kind == UNBIND_OP_MAP_NULL || kind == UNBIND_OP_MAP_USER }
}

/// What may be wrong with an operation, whatever is mapped.
enum BatchFlaw: CaseIterable {
    case unalignedAddress, unalignedSize, noSize, beyondTheEnd, wraps, beyondTheBuffer, unknownFlag, unknownKind, foreign

    var status: Int32 { self == .beyondTheEnd ? -ENODEV : -EINVAL }
}

/// A list of operations that was accepted: what the model knows of its end.
final class BatchRecord {
    let number: Int
    var fence: OpaquePointer?
    /// Of the caller's: none of it may be seen before they have signalled.
    var waits: [BatchGate] = []
    /// DEFER_TO_IDLE, or in the wait list: the jobs before it.
    var jobs: [BatchJob] = []
    /// The one before it on its queue.
    var predecessor: BatchRecord?
    /// Of its operations, for what it may rightly wait for.
    var ranges: [Range<Int>] = []
    var pages: [Int] = []
    /// A caller's fence that it signals.
    var signals: BatchGate?
    var isDone = false

    init(number: Int) { self.number = number }

    /// Whether any of it may be seen by now.
    var mayHaveBegun: Bool {
        isDone
            || (waits.allSatisfy(\.isSignaled) && jobs.allSatisfy(\.isDone) && (predecessor?.isDone ?? true))
    }

    func overlaps(_ other: BatchRecord) -> Bool {
        ranges.contains { range in other.ranges.contains { range.overlaps($0) } }
    }
}

/// A fence of the caller's own.
final class BatchGate {
    let handle: OpaquePointer
    var isSignaled = false
    init(_ handle: OpaquePointer) { self.handle = handle }
}

/// A page's present, and what batches that are under way will make of it.
struct BatchPageHistory {
    /// In order; the last is what a lookup finds, the first what the GPU has seen at least.
    private(set) var contents: [BatchPage] = [.nothing]
    /// contents[i + 1] is made by records[i].
    private(set) var records: [BatchRecord] = []

    var last: BatchPage { contents[contents.count - 1] }
    var isSettled: Bool { records.isEmpty }

    mutating func settle(_ content: BatchPage) {
        contents = [content]
        records = []
    }

    mutating func append(_ content: BatchPage, by record: BatchRecord) {
        contents.append(content)
        records.append(record)
    }

    /// Forgets what was before the last change that is over.
    mutating func trim() {
        guard let index = records.lastIndex(where: \.isDone) else { return }
        contents.removeFirst(index + 1)
        records.removeFirst(index + 1)
    }

    /// What the page tables may show now; `nothing` between two contents.
    func allowed() -> [BatchPage] {
        var result = [contents[0]]
        for (index, record) in records.enumerated() {
            if !record.mayHaveBegun { break }
            if contents[index].isThere && contents[index + 1].isThere { result.append(.nothing) }
            result.append(contents[index + 1])
        }
        return result
    }
}

/// The pages of one address space.
struct BatchModel {
    var pages: [BatchPageHistory]

    init(count: Int) { pages = Array(repeating: BatchPageHistory(), count: count) }

    var isSettled: Bool { pages.allSatisfy(\.isSettled) }
    var contents: [BatchPage] { pages.map(\.last) }

    /// The statuses that a list may be refused with: empty if it must succeed. `regions`: where each memory is.
    func problems(of operations: [BatchOperation], regions: [UInt32?]) -> Set<Int32> {
        var result: Set<Int32> = []
        // What else is found depends on whether the library has gone on.
        for goesOn in [false, true] {
            var scratch = contents
            for operation in operations {
                let problems = BatchModel.problems(of: operation, scratch, before: self, regions)
                result.formUnion(problems)
                if problems.isEmpty || (goesOn && operation.flaw == nil) { BatchModel.carryOut(operation, &scratch) }
            }
        }
        return result
    }

    /// What is mapped after a list that succeeded.
    func result(of operations: some Sequence<BatchOperation>) -> [BatchPage] {
        var scratch = contents
        for operation in operations { BatchModel.carryOut(operation, &scratch) }
        return scratch
    }

    private static func problems(
        of operation: BatchOperation, _ scratch: [BatchPage], before: BatchModel, _ regions: [UInt32?]
    ) -> [Int32] {
        if let flaw = operation.flaw { return [flaw.status] }
        switch operation.kind {
        case UNBIND_OP_PREFETCH:
            if regions[operation.memory] == operation.region { return [] }
            let isMapped = before.pages.contains { $0.last.memory == operation.memory && $0.last.kind == .memory }
            return isMapped ? [-EBUSY] : []
        case UNBIND_OP_UNMAP_ALL, UNBIND_OP_SYNC_ONLY: return []
        default: break
        }
        // A VMA in the way of what may not replace anything has two reasons to be refused.
        let isInTheWay = scratch[operation.range].contains(where: \.isThere)
        let isVMA = scratch[operation.range].contains { $0.kind == .vma }
        return (operation.flags & UNBIND_OP_NO_REPLACE != 0 && isInTheWay ? [-EEXIST] : []) + (isVMA ? [-EBUSY] : [])
    }

    private static func carryOut(_ operation: BatchOperation, _ pages: inout [BatchPage]) {
        switch operation.kind {
        case UNBIND_OP_UNMAP_ALL:
            for index in pages.indices where pages[index].kind == .memory && pages[index].memory == operation.memory {
                pages[index] = .nothing
            }
        case UNBIND_OP_SYNC_ONLY, UNBIND_OP_PREFETCH: break
        default:
            for index in 0..<operation.count {
                pages[operation.start + index] = content(of: operation, at: index)
            }
        }
    }

    private static func content(of operation: BatchOperation, at index: Int) -> BatchPage {
        var page = BatchPage()
        if operation.kind == UNBIND_OP_MAP_NULL {
            page.kind = .null
        } else if operation.isMap {
            page.kind = .memory
            page.flags = operation.flags & ~UNBIND_OP_NO_REPLACE
            page.cacheLevel = operation.cacheLevel
            page.memory = Int32(operation.memory)
            page.page = Int32(operation.page + index)
            page.instance = Int32(operation.instance)
        }
        return page
    }

    /// Takes the new contents over. Pages that are as they were are not touched by the batch.
    mutating func take(_ new: [BatchPage], by record: BatchRecord) {
        for index in pages.indices where pages[index].last != new[index] {
            pages[index].append(new[index], by: record)
            record.pages.append(index)
        }
    }

    mutating func trim(_ record: BatchRecord) {
        for index in record.pages { pages[index].trim() }
    }
}
