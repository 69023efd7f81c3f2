// The reference model of batches: an address space as an array of pages.
//
// As naive as possible: an operation is carried out page by page. For pages whose end state is still to come the model
// keeps what they were and will be, in order; what the page tables may show is decided from that alone. Nothing
// here calls the library. The arrays are made once: many millions of batches are compared.

import CUnbind
import Glibc

/// What one page of the address space shows, in one word.
struct BatchPage: Equatable, CustomStringConvertible {
    enum Kind: UInt64 { case nothing, null, memory, vma }

    // From bit 0: kind (2), flags (2), cache level (2), memory (4), page (20), instance (34).
    private var bits: UInt64

    private init(bits: UInt64) { self.bits = bits }
    init(_ kind: Kind) { bits = kind.rawValue }

    /// Index of the memory behind it, and the page in it. `instance`: of the caller's memory, each operation that maps
    /// it makes something of its own.
    init(memory: Int, page: Int, flags: UInt32, cacheLevel: UInt32, instance: Int) {
        bits =
            Kind.memory.rawValue | UInt64(flags) << 2 | UInt64(cacheLevel) << 4 | UInt64(memory) << 6
            | UInt64(page) << 10 | UInt64(instance) << 30
    }

    static var nothing: BatchPage { BatchPage(bits: 0) }

    var kind: Kind { Kind(rawValue: bits & 3)! }
    /// UNBIND_OP_READ_ONLY, UNBIND_OP_CAPTURE.
    var flags: UInt32 { UInt32(bits >> 2 & 3) }
    var memory: Int { Int(bits >> 6 & 15) }
    var page: Int { Int(bits >> 10 & 0xf_ffff) }
    var isThere: Bool { bits & 3 != Kind.nothing.rawValue }
    var isMemory: Bool { bits & 3 == Kind.memory.rawValue }
    var isWritable: Bool { isMemory && flags & UNBIND_OP_READ_ONLY == 0 }

    /// Of the same mapping, the page behind.
    var next: BatchPage { isMemory ? BatchPage(bits: bits + 1 << 10) : self }
    func advanced(by count: Int) -> BatchPage { isMemory ? BatchPage(bits: bits + UInt64(count) << 10) : self }

    var description: String {
        isMemory
            ? "memory \(memory) page \(page) flags \(flags) cache \(bits >> 4 & 3) instance \(bits >> 30)" : "\(kind)"
    }
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

    static let kinds = Int(UNBIND_OP_SYNC_ONLY) + 1

    var end: Int { start + count }
    var isMap: Bool { kind == UNBIND_OP_MAP || kind == UNBIND_OP_MAP_NULL || kind == UNBIND_OP_MAP_USER }

    /// What its first page shows afterwards.
    var content: BatchPage {
        if kind == UNBIND_OP_UNMAP { return .nothing }
        if kind == UNBIND_OP_MAP_NULL { return BatchPage(.null) }
        return BatchPage(
            memory: memory, page: page, flags: flags & ~UNBIND_OP_NO_REPLACE, cacheLevel: cacheLevel,
            instance: instance)
    }
}

/// What may be wrong with an operation, whatever is mapped.
enum BatchFlaw: CaseIterable {
    case unalignedAddress, unalignedSize, noSize, beyondTheEnd, wraps, beyondTheBuffer
    case unknownFlag, unknownKind, foreign

    var problem: BatchProblems { self == .beyondTheEnd ? .beyondTheEnd : .invalid }
}

/// The statuses that a list may be refused with.
struct BatchProblems: OptionSet, CustomStringConvertible {
    var rawValue: UInt8
    static let invalid = BatchProblems(rawValue: 1)
    static let beyondTheEnd = BatchProblems(rawValue: 2)
    static let busy = BatchProblems(rawValue: 4)
    static let exists = BatchProblems(rawValue: 8)
    static let tooLarge = BatchProblems(rawValue: 16)

    private static let statuses = [-EINVAL, -ENODEV, -EBUSY, -EEXIST, -ENOBUFS]

    func allow(_ status: Int32) -> Bool {
        for (bit, known) in Self.statuses.enumerated() where known == status { return rawValue & 1 << bit != 0 }
        return false
    }

    var description: String { "\(Self.statuses.filter(allow))" }
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
    /// A caller's fence, or a point of a timeline, that it signals.
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

/// A fence of the caller's own, or a point of a timeline that a batch signals.
final class BatchGate {
    let handle: OpaquePointer
    let isPoint: Bool
    var isSignaled = false

    init(_ handle: OpaquePointer, isPoint: Bool = false) {
        self.handle = handle
        self.isPoint = isPoint
    }
}

/// The pages of one address space.
final class BatchModel {
    /// What a batch that is under way will make of a page.
    private struct Change {
        var content: BatchPage
        var record: BatchRecord?
        var next: Int32
    }

    let count: Int
    /// What a lookup finds.
    let last: UnsafeMutablePointer<BatchPage>
    /// What the GPU has seen at least. Differs from `last` only while something is under way.
    private let oldest: UnsafeMutablePointer<BatchPage>
    private let firstChange: UnsafeMutablePointer<Int32>
    private let lastChange: UnsafeMutablePointer<Int32>
    private var changes: [Change] = []
    private var freeChange: Int32 = -1
    /// What a list makes of `last`, as far as it has been carried out.
    let scratch: UnsafeMutablePointer<BatchPage>

    init(count: Int) {
        self.count = count
        func pages() -> UnsafeMutablePointer<BatchPage> {
            let pages = UnsafeMutablePointer<BatchPage>.allocate(capacity: count)
            pages.initialize(repeating: .nothing, count: count)
            return pages
        }
        func links() -> UnsafeMutablePointer<Int32> {
            let links = UnsafeMutablePointer<Int32>.allocate(capacity: count)
            links.initialize(repeating: -1, count: count)
            return links
        }
        (last, oldest, scratch, firstChange, lastChange) = (pages(), pages(), pages(), links(), links())
    }

    deinit {
        for pages in [last, oldest, scratch] { pages.deallocate() }
        for links in [firstChange, lastChange] { links.deallocate() }
    }

    // MARK: What pages show

    func isSettled(_ index: Int) -> Bool { firstChange[index] < 0 }

    func settle(_ index: Int, _ content: BatchPage) {
        precondition(isSettled(index))
        last[index] = content
        oldest[index] = content
    }

    /// Whether something that matches is among what the page tables may show now; `nothing` is between two contents.
    func isAllowed(_ index: Int, _ matches: (BatchPage) -> Bool) -> Bool {
        var before = oldest[index]
        if matches(before) { return true }
        var next = firstChange[index]
        while next >= 0 {
            let change = changes[Int(next)]
            if !change.record!.mayHaveBegun { return false }
            if before.isThere && change.content.isThere && matches(.nothing) { return true }
            if matches(change.content) { return true }
            before = change.content
            next = change.next
        }
        return false
    }

    /// In order; the last is what a lookup finds.
    func contents(_ index: Int) -> [BatchPage] {
        var result = [oldest[index]]
        var next = firstChange[index]
        while next >= 0 {
            result.append(changes[Int(next)].content)
            next = changes[Int(next)].next
        }
        return result
    }

    func describe(_ index: Int) -> String {
        var records: [String] = []
        var next = firstChange[index]
        while next >= 0 {
            let record = changes[Int(next)].record!
            records.append("\(record.number)\(record.mayHaveBegun ? "" : " (waits)")")
            next = changes[Int(next)].next
        }
        return "\(contents(index)) by \(records)"
    }

    // MARK: What becomes of them

    /// Takes over what is in `scratch`. Pages that are as they were are not touched by the batch.
    func take(by record: BatchRecord) {
        for index in 0..<count where last[index] != scratch[index] {
            var new = freeChange
            let change = Change(content: scratch[index], record: record, next: -1)
            if new >= 0 {
                freeChange = changes[Int(new)].next
                changes[Int(new)] = change
            } else {
                new = Int32(changes.count)
                changes.append(change)
            }
            if firstChange[index] < 0 { firstChange[index] = new } else { changes[Int(lastChange[index])].next = new }
            lastChange[index] = new
            last[index] = scratch[index]
        }
    }

    /// Forgets what was before the last change that is over.
    func trim() {
        for index in 0..<count where firstChange[index] >= 0 { trim(index) }
    }

    private func trim(_ index: Int) {
        var done: Int32 = -1
        var next = firstChange[index]
        while next >= 0 {
            if changes[Int(next)].record!.isDone { done = next }
            next = changes[Int(next)].next
        }
        if done < 0 { return }
        oldest[index] = changes[Int(done)].content
        next = firstChange[index]
        firstChange[index] = changes[Int(done)].next
        changes[Int(done)].next = -1
        while next >= 0 {
            let after = changes[Int(next)].next
            changes[Int(next)].record = nil
            changes[Int(next)].next = freeChange
            freeChange = next
            next = after
        }
    }

    // MARK: Lists

    /// The statuses that a list may be refused with: empty if it must succeed, and what is mapped afterwards is in
    /// `scratch`. `regions`: where each memory is.
    func problems(of operations: some Collection<BatchOperation>, regions: [UInt32?]) -> BatchProblems {
        var result = begin(operations, regions, goesOn: false)
        // What else is found depends on whether the library has gone on.
        if !result.isEmpty { result.formUnion(begin(operations, regions, goesOn: true)) }
        return result
    }

    private func begin(
        _ operations: some Collection<BatchOperation>, _ regions: [UInt32?], goesOn: Bool
    ) -> BatchProblems {
        scratch.update(from: last, count: count)
        var result: BatchProblems = []
        for operation in operations {
            let problems = problems(of: operation, regions)
            result.formUnion(problems)
            if problems.isEmpty || (goesOn && operation.flaw == nil) { carryOut(operation) }
        }
        return result
    }

    /// Into `scratch`, what is mapped after a list that succeeded.
    func carryOut(_ operations: some Collection<BatchOperation>) {
        scratch.update(from: last, count: count)
        for operation in operations { carryOut(operation) }
    }

    private func problems(of operation: BatchOperation, _ regions: [UInt32?]) -> BatchProblems {
        if let flaw = operation.flaw { return flaw.problem }
        switch operation.kind {
        case UNBIND_OP_PREFETCH:
            if regions[operation.memory] == operation.region { return [] }
            for index in 0..<count where last[index].isMemory && last[index].memory == operation.memory {
                return .busy
            }
            return []
        case UNBIND_OP_UNMAP_ALL, UNBIND_OP_SYNC_ONLY: return []
        default: break
        }
        // A VMA in the way of what may not replace anything has two reasons to be refused.
        var result: BatchProblems = []
        for index in operation.start..<operation.end where scratch[index].isThere {
            if operation.flags & UNBIND_OP_NO_REPLACE != 0 { result.insert(.exists) }
            if scratch[index].kind == .vma { result.insert(.busy) }
        }
        return result
    }

    private func carryOut(_ operation: BatchOperation) {
        switch operation.kind {
        case UNBIND_OP_UNMAP_ALL:
            for index in 0..<count where scratch[index].isMemory && scratch[index].memory == operation.memory {
                scratch[index] = .nothing
            }
        case UNBIND_OP_SYNC_ONLY, UNBIND_OP_PREFETCH: break
        default:
            var content = operation.content
            for index in operation.start..<operation.end {
                scratch[index] = content
                content = content.next
            }
        }
    }
}
