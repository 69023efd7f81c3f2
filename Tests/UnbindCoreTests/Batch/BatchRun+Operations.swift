// Random operations: near each other and near what is mapped, so that they split, keep, replace and merge.

import CUnbind
import Glibc

extension BatchRun {
    func makeOperations() -> [BatchOperation] {
        let count = random.chance(5) ? 8 + random.below(40) : 1 + random.below(6)
        var operations: [BatchOperation] = []
        while operations.count < count {
            if random.chance(10), let last = operations.last, last.isMap {
                operations.append(neighbour(of: last))
            } else {
                operations.append(makeOperation())
            }
        }
        // At most one is wrong by itself; others may be by what is mapped.
        if random.chance(6) {
            let index = random.below(operations.count)
            operations[index] = makeFlawed(operations[index])
        }
        return operations
    }

    private func makeOperation() -> BatchOperation {
        var operation = BatchOperation()
        let kind = random.below(100)
        switch kind {
        case 0..<50: makeMap(&operation)
        case 50..<58:
            operation.kind = UNBIND_OP_MAP_NULL
            makeRange(&operation, limit: pageCount)
        case 58..<65: makeUserMap(&operation)
        case 65..<88:
            operation.kind = UNBIND_OP_UNMAP
            makeRange(&operation, limit: pageCount)
        case 88..<92:
            operation.kind = UNBIND_OP_UNMAP_ALL
            operation.memory = random.below(memories.count - 1)
        case 92..<97 where isSettled:
            operation.kind = UNBIND_OP_PREFETCH
            operation.memory = random.below(memories.count - 1)
            operation.region = UInt32(random.below(2))
        default: break
        }
        if operation.isMap, random.chance(4) { operation.flags |= UNBIND_OP_NO_REPLACE }
        return operation
    }

    private func makeMap(_ operation: inout BatchOperation) {
        operation.kind = UNBIND_OP_MAP
        operation.memory = random.below(memories.count - 1)
        let pages = memories[operation.memory].pages
        makeRange(&operation, limit: pages)
        // Mostly each buffer has one place, so that what is mapped there is often mapped there already.
        let shift = random.chance(70) ? operation.memory : random.below(pages)
        operation.page = (operation.start + shift) % pages
        if pageSizes == 0x21_1000, shift == operation.memory { operation.page = operation.start % pages }
        operation.count = min(operation.count, pages - operation.page)
        if random.chance(15) { operation.flags = random.pick([UNBIND_OP_READ_ONLY, UNBIND_OP_CAPTURE, 3]) }
        if random.chance(5) { operation.cacheLevel = UInt32(random.below(4)) }
    }

    private func makeUserMap(_ operation: inout BatchOperation) {
        operation.kind = UNBIND_OP_MAP_USER
        operation.memory = memories.count - 1
        let pages = memories[operation.memory].pages
        makeRange(&operation, limit: pages)
        operation.page = random.below(pages - operation.count + 1)
        instances += 1
        operation.instance = instances
        if random.chance(15) { operation.flags = UNBIND_OP_READ_ONLY }
    }

    private func makeRange(_ operation: inout BatchOperation, limit: Int) {
        let most = min(limit, pageCount)
        operation.count = min(most, random.chance(70) ? 1 + random.below(8) : 1 + random.below(most))
        operation.start = random.below(pageCount - operation.count + 1)
        guard pageSizes == 0x21_1000, random.chance(60) else { return }
        // Whole large pages, or their neighbourhood.
        let large = random.pick([16, 512])
        operation.start = operation.start / large * large
        if random.chance(50) { operation.count = min(most, (operation.count + large - 1) / large * large) }
        if random.chance(30), operation.start > 0 { operation.start -= 1 }
        operation.count = min(operation.count, pageCount - operation.start)
    }

    /// The continuation of a mapping, or one over its end.
    private func neighbour(of last: BatchOperation) -> BatchOperation {
        var operation = last
        if operation.kind == UNBIND_OP_MAP_USER { return makeOperation() }
        let step = random.chance(80) ? last.count : max(1, last.count / 2)
        operation.start += step
        operation.page += step
        let limit = last.kind == UNBIND_OP_MAP ? memories[last.memory].pages - operation.page : pageCount
        operation.count = min(last.count, limit, pageCount - operation.start)
        operation.flags &= ~UNBIND_OP_NO_REPLACE
        return operation.count > 0 ? operation : last
    }

    func makeFlawed(_ operation: BatchOperation) -> BatchOperation {
        var operation = operation.isMap && operation.kind == UNBIND_OP_MAP ? operation : BatchOperation()
        if operation.kind != UNBIND_OP_MAP { makeMap(&operation) }
        operation.flaw = random.pick(BatchFlaw.allCases)
        return operation
    }

    func native(_ operation: BatchOperation) -> unbind_op {
        var native = unbind_op()
        native.op = operation.kind
        native.flags = operation.flags
        native.cache_level = operation.cacheLevel
        switch operation.kind {
        case UNBIND_OP_SYNC_ONLY: return native
        case UNBIND_OP_UNMAP_ALL, UNBIND_OP_PREFETCH:
            native.bo = memories[operation.memory].handle
            native.region = operation.region
            return native
        default: break
        }
        native.address = UInt64(operation.start * unit)
        native.size = UInt64(operation.count * unit)
        if operation.kind == UNBIND_OP_MAP {
            native.bo = memories[operation.memory].handle
            native.offset = UInt64(operation.page * unit)
        } else if operation.kind == UNBIND_OP_MAP_USER {
            native.memory = memories[operation.memory].cpu + operation.page * unit
        }
        guard let flaw = operation.flaw else { return native }
        switch flaw {
        case .unalignedAddress: native.address += UInt64(unit / 2)
        case .unalignedSize: native.size += 8
        case .noSize: native.size = 0
        case .beyondTheEnd:
            native.address = UInt64((pageCount - operation.count + 1) * unit)
        case .wraps: native.address = UInt64.max - UInt64(unit) + 1
        case .beyondTheBuffer: native.offset = UInt64((memories[operation.memory].pages - operation.count + 1) * unit)
        case .unknownFlag: native.flags |= 1 << 30
        case .unknownKind: native.op = 77
        case .foreign: native.bo = foreignBuffer
        }
        return native
    }
}
