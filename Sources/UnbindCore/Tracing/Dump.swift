// Dumps: the state of a device or an address space as text for a human.
//
// The writer's function is the caller's and may not be called with a lock held: what a lock guards is copied out first.

import Synchronization

/// One bound VMA or pending unbind.
private struct DumpedRange {
    enum State { case bound, binding, waiting, unbinding, held }

    let state: State
    let start: UInt64
    let size: UInt64
    let boID: UInt64
    var isReadOnly = false
    var view = ViewKind.normal
    var pins: UInt32 = 0
    var holds: UInt32 = 0
    /// What a pending unbind waits for.
    var awaited: UInt32 = 0
}

/// The caller's function, and the device that calls it back. On the stack; a TextWriter writes into it.
private struct DumpSink {
    let device: DevicePointer
    let write: WriteFunction
    let userData: UnsafeMutableRawPointer?
}

private func writeToSink(_ context: UnsafeMutableRawPointer?, _ text: UnsafePointer<CChar>?, _ length: Int) {
    let sink = context!.assumingMemoryBound(to: DumpSink.self).pointee
    sink.device.callingBack { sink.write(sink.userData, text, length) }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// - Failure: noMemory.
    func dump(to write: @escaping WriteFunction, userData: UnsafeMutableRawPointer?) throws(Status) {
        try writeText(to: write, userData: userData) { writer throws(Status) in try dump(to: &writer) }
    }

    /// `body` writes for the caller's function.
    fileprivate func writeText(
        to write: @escaping WriteFunction, userData: UnsafeMutableRawPointer?,
        _ body: (inout TextWriter) throws(Status) -> Void
    ) throws(Status) {
        var sink = DumpSink(device: self, write: write, userData: userData)
        try withUnsafeMutablePointer(to: &sink) { sink throws(Status) in
            var writer = TextWriter(write: writeToSink, userData: UnsafeMutableRawPointer(sink))
            try body(&writer)
            writer.flush()
        }
    }

    /// The device, a line for each address space, then each of those in full.
    func dump(to writer: inout TextWriter) throws(Status) {
        writeState(to: &writer)
        var cursor: UInt64 = 0
        while let vm = vm(withIDAbove: cursor) {
            cursor = vm.pointee.id
            defer { vm.drop() }
            try vm.dump(to: &writer)
        }
    }

    /// The device and a line for each address space.
    private func writeState(to writer: inout TextWriter) {
        writer.text("device: executor ")
        switch pointee.executor.kind {
        case .pool: writer.text("pool")
        case .manual: writer.text("manual")
        case .simulated: writer.text("simulated")
        }
        writer.text(", time ")
        writer.time(nanoseconds: now)
        writer.text(", system memory ")
        writer.decimal(pointee.systemBytes.load(ordering: .relaxed))
        writer.text(" of ")
        writer.decimal(pointee.systemMemoryLimit)
        writer.text(" bytes, local memory ")
        writer.decimal(localBytesInUse)
        writer.text(" of ")
        writer.decimal(pointee.backend?.pointee.localLimit ?? pointee.localMemory.pointee.size)
        writer.text(" bytes\n")
        var cursor: UInt64 = 0
        while let vm = vm(withIDAbove: cursor) {
            cursor = vm.pointee.id
            vm.writeSummary(to: &writer)
            vm.drop()
        }
    }

    /// The VM with the lowest id above this one, with a reference.
    private func vm(withIDAbove id: UInt64) -> VMPointer? {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var id = id
        while true {
            var found: VMPointer?
            var next = pointee.firstVM
            while let vm = next {
                next = vm.pointee.nextInDevice
                if vm.pointee.id > id, found == nil || vm.pointee.id < found!.pointee.id { found = vm }
            }
            guard let vm = found else { return nil }
            if vm.tryRetain() { return vm }
            // It is on its way out.
            id = vm.pointee.id
        }
    }
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// - Failure: noMemory.
    func dump(to write: @escaping WriteFunction, userData: UnsafeMutableRawPointer?) throws(Status) {
        try pointee.device.writeText(to: write, userData: userData) { writer throws(Status) in
            try dump(to: &writer)
        }
    }

    fileprivate func dump(to writer: inout TextWriter) throws(Status) {
        writeSummary(to: &writer)
        try writeRanges(to: &writer)
        if !pointee.history.pointee.remembers { return writer.text("  no history is kept\n") }
        writer.text("  last operations, newest first:\n")
        // The body may not hold the writer exclusively and be called back at once: records come one by one.
        withUnsafeMutablePointer(to: &writer) { writer in
            pointee.history.forEachRecent(limit: 32) { record in
                writer.pointee.text("    ")
                writer.pointee.time(nanoseconds: record.time)
                writer.pointee.text(" ")
                writer.pointee.text(record.operation.name)
                writer.pointee.writeRange(start: record.start, size: record.size, boID: record.boID)
                writer.pointee.newline()
            }
        }
    }

    fileprivate func writeSummary(to writer: inout TextWriter) {
        pointee.lock.acquire()
        let bound = pointee.ranges.count
        pointee.lock.release()
        writer.text("address space ")
        writer.decimal(pointee.id)
        if isClosed { writer.text(" (closed)") }
        if isSuspended { writer.text(" (suspended)") }
        writer.text(": ")
        writer.decimal(UInt64(bound))
        writer.text(" bound, ")
        writer.decimal(UInt64(max(0, pointee.pendingCount.load(ordering: .relaxed))))
        writer.text(" unbinds pending, ")
        writer.decimal(UInt64(max(0, pointee.jobsInFlight.load(ordering: .relaxed))))
        writer.text(" jobs under way\n")
    }

    private func writeRanges(to writer: inout TextWriter) throws(Status) {
        let memory = pointee.device.pointee.memory
        pointee.lock.acquire()
        let capacity = pointee.ranges.count + pointee.pending.publishedCount
        pointee.lock.release()
        guard let ranges = memory.allocateArray(of: DumpedRange.self, count: capacity) else { throw Status.noMemory }
        defer { memory.deallocateArray(ranges, count: capacity) }
        for index in 0..<copyRanges(to: ranges, capacity: capacity) {
            let range = ranges[index]
            switch range.state {
            case .bound: writer.text("  bound")
            case .binding: writer.text("  bind under way")
            case .waiting: writer.text("  unbind waiting for GPU work")
            case .unbinding: writer.text("  unbind under way")
            case .held: writer.text("  unbind waiting for holds")
            }
            writer.writeRange(start: range.start, size: range.size, boID: range.boID)
            writer.writeDetails(of: range)
        }
    }

    private func copyRanges(to ranges: UnsafeMutablePointer<DumpedRange>, capacity: Int) -> Int {
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        var count = 0
        var next = pointee.ranges.firstNode(endingAfter: 0)
        while let node = next, count < capacity {
            next = pointee.ranges.next(after: node)
            let vma = VMAPointer(containing: node)
            guard let resource = vma.pointee.resource else { continue }
            (ranges + count).initialize(
                to: DumpedRange(
                    state: vma.lockedState == .bound ? .bound : .binding, start: resource.pointee.start,
                    size: resource.pointee.size, boID: vma.pointee.bo.pointee.id, isReadOnly: resource.pointee.isReadOnly,
                    view: vma.pointee.view?.pointee.kind ?? .normal, pins: vma.pointee.pinCount,
                    holds: resource.installedHolds))
            count += 1
        }
        pointee.pending.forEachUnfinished(overlapping: 0...UInt64.max) { resource, _ in
            if count == capacity { return false }
            let unbind = resource.asPendingUnbind
            let state: DumpedRange.State =
                switch unbind.obstacle {
                case .work: .waiting
                case .clearing: .unbinding
                case .holds: .held
                }
            (ranges + count).initialize(
                to: DumpedRange(
                    state: state, start: unbind.start, size: unbind.size, boID: unbind.boID, awaited: unbind.count))
            count += 1
            return true
        }
        return count
    }
}

extension TextWriter {
    fileprivate mutating func writeRange(start: UInt64, size: UInt64, boID: UInt64) {
        text(" ")
        hex(start)
        text("..")
        hex(start &+ size)
        text(" buffer ")
        decimal(boID)
    }

    fileprivate mutating func writeDetails(of range: DumpedRange) {
        switch range.view {
        case .normal: break
        case .partial: text(", view of a part")
        case .rotated: text(", rotated view")
        case .remapped: text(", remapped view")
        }
        if range.isReadOnly { text(", read-only") }
        if range.pins > 0 { number(range.pins, of: "pins") }
        if range.holds > 0 { number(range.holds, of: "holds") }
        if range.awaited > 0 { number(range.awaited, of: range.state == .held ? "holds" : "fences") }
        newline()
    }

    private mutating func number(_ number: UInt32, of what: StaticString) {
        text(", ")
        text(what)
        text(" ")
        decimal(UInt64(number))
    }
}
