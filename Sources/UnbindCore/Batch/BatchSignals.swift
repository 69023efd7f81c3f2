// BatchSignals: what is to signal when a batch is done: fences of the caller's, and points of timelines.
//
// Points are added as the last thing that can fail, all of them or none, so that there is never one to take back. A
// fence of the caller's is signalled in turn (Relay), as if it were made of the batch's.

private typealias FenceSignalPointer = UnsafeMutablePointer<FenceSignal>

/// A fence of the caller's that signals with another.
struct FenceSignal {
    /// First: a pointer to it is a pointer to the FenceSignal.
    var callback: FenceCallback
    /// At `relayOffset`.
    var relay = RelayItem()
    /// A reference, as to the device.
    let target: FencePointer
    var error: Int32 = 0

    static var relayOffset: Int {
        roundUp(MemoryLayout<FenceCallback>.size, to: MemoryLayout<RelayItem>.alignment)
    }
}

struct BatchSignals {
    private struct Entry {
        /// With a point of a timeline, or else
        var link = TimelinePointLink()
        /// this. `link` is first: a pointer to the entry is one to the link.
        var signal: FenceSignalPointer?
    }

    private let list: UnsafeMutablePointer<BatchSignal>?
    private let count: Int
    private var entries: UnsafeMutablePointer<Entry>?
    /// Those with points, in the order of their timelines.
    private var points: TimelinePointLinkPointer?
    private var memory: UnsafeMutablePointer<Memory>?

    init(_ list: UnsafeMutablePointer<BatchSignal>?, count: Int) {
        self.list = list
        self.count = count
    }

    /// Takes what they need.
    /// - Failure: invalid if a fence has signalled; noMemory.
    mutating func prepare(device: DevicePointer, out: FencePointer) throws(Status) {
        if count == 0 { return }
        let memory = device.pointee.memory
        guard let entries = memory.allocateArray(of: Entry.self, count: count) else { throw Status.noMemory }
        entries.initialize(repeating: Entry(), count: count)
        self.entries = entries
        self.memory = memory
        for index in 0..<count {
            if let timeline = list![index].timeline {
                entries[index].link.point = try TimelinePointPointer.make(
                    on: timeline, seqno: list![index].point, awaiting: out)
                continue
            }
            let target = list![index].fence!
            if target.isSignalled { throw Status.invalid }
            guard let signal = memory.allocateApart(of: FenceSignal.self) else { throw Status.noMemory }
            target.retain()
            device.retain()
            signal.initialize(
                to: FenceSignal(
                    callback: FenceCallback(function: signalTarget, context: UnsafeMutableRawPointer(signal)),
                    target: target))
            entries[index].signal = signal
        }
        orderPoints()
    }

    /// Of one timeline they stay in the order of the list.
    private mutating func orderPoints() {
        guard let entries else { return }
        var first: TimelinePointLinkPointer?
        var index = count
        while index > 0 {
            index -= 1
            if entries[index].link.point == nil { continue }
            entries[index].link.next = first
            first = UnsafeMutableRawPointer(entries + index).assumingMemoryBound(to: TimelinePointLink.self)
        }
        points = AddressOrder.sorted(first)
    }

    /// Adds the points, all of them or none.
    /// - Failure: invalid if one does not grow; noMemory.
    func add() throws(Status) {
        if let points { try TimelinePointer.push(points) }
    }

    /// Hangs all of it on the batch's fence, which has not signalled.
    mutating func start(on fence: FencePointer) {
        for index in 0..<count {
            let entry = entries![index]
            if let point = entry.link.point {
                Relay.open { point.start(on: fence) }
            } else if let signal = entry.signal {
                let isAdded = fence.add(UnsafeMutableRawPointer(signal).assumingMemoryBound(to: FenceCallback.self))
                invariant(isAdded, "a batch was done before it was said what it signals")
            }
        }
        free()
    }

    /// The points have not been added.
    /// - Locking: nothing may be held.
    mutating func undo() {
        guard let entries else { return }
        for index in 0..<count {
            entries[index].link.point?.discard()
            if let signal = entries[index].signal { signal.free() }
        }
        free()
    }

    private mutating func free() {
        guard let entries else { return }
        memory!.deallocateArray(entries, count: count)
        self.entries = nil
    }
}

extension UnsafeMutablePointer where Pointee == FenceSignal {
    fileprivate func free() {
        let target = pointee.target
        let device = target.device
        device.pointee.memory.deallocateApart(self)
        target.drop()
        device.drop()
    }
}

private func signalTarget(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let signal = callback.assumingMemoryBound(to: FenceSignal.self)
    signal.pointee.error = fence.assumingMemoryBound(to: Fence.self).error
    let relay = memberPointer(of: signal, at: FenceSignal.relayOffset, as: RelayItem.self)
    Relay.hand(relay, context: UnsafeMutableRawPointer(signal)) { context in
        let signal = context.assumingMemoryBound(to: FenceSignal.self)
        let target = signal.pointee.target
        target.signalInTurn(error: signal.pointee.error, at: target.device.now)
        signal.free()
    }
}
