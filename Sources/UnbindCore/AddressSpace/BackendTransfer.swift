// BackendTransfer: what a suspend or resume takes out of a backend's page tables, or brings back: a list of the
// bindings concerned, in order of addresses, and how far it has come.
//
// Made by the call, which waits; filled and worked off by the BackendSpace's work. Its memory is taken before the work
// sees it, because unbinds wait for that work: if there turn out to be more bindings than it has room for, nothing is
// done and the call comes back with more. If the call cannot wait to the end, the work frees it.

import Synchronization

typealias BackendTransferPointer = UnsafeMutablePointer<BackendTransfer>

struct BackendTransfer: ~Copyable {
    enum Kind { case suspend, resume }

    struct Entry {
        /// With a reference, and one to its pages, which a split of its mapping would let go.
        let resource: ResourcePointer
        let mapping: MappingFlags
        fileprivate(set) var next: EntryPointer?
    }

    typealias EntryPointer = UnsafeMutablePointer<Entry>

    /// A piece of a binding; no entry: behind the last.
    struct Place {
        var entry: EntryPointer?
        var piece = 0
    }

    let kind: Kind
    let memory: UnsafeMutablePointer<Memory>
    fileprivate let entries: EntryPointer
    let capacity: Int
    fileprivate(set) var count = 0
    /// More than the capacity: so many would be needed.
    var needed = 0
    fileprivate var first: EntryPointer?

    /// What is done, and of the present call, where that ends.
    var place = Place()
    var end = Place()
    /// Set while what had come back is taken out again: no further than here.
    var limit: Place?
    var status: Int32 = 0
    /// The call has left. Under the lock of the BackendSpace, as is the setting of `word`.
    var isAbandoned = false
    /// Not 0: it has ended.
    let word = Atomic<UInt32>(0)

    static var wordOffset: Int { MemoryLayout<BackendTransfer>.size - MemoryLayout<UInt32>.size }

    init(kind: Kind, entries: EntryPointer, capacity: Int, memory: UnsafeMutablePointer<Memory>) {
        self.kind = kind
        self.entries = entries
        self.capacity = capacity
        self.memory = memory
    }
}

extension BackendTransfer.Entry: AddressOrdered {
    static func address(of element: BackendTransfer.EntryPointer) -> UInt64 { element.pointee.resource.pointee.start }
    static func next(of element: BackendTransfer.EntryPointer) -> BackendTransfer.EntryPointer? {
        element.pointee.next
    }
    static func setNext(of element: BackendTransfer.EntryPointer, to next: BackendTransfer.EntryPointer?) {
        element.pointee.next = next
    }
}

extension UnsafeMutablePointer where Pointee == BackendTransfer {
    static func make(
        _ kind: BackendTransfer.Kind, capacity: Int, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> BackendTransferPointer {
        guard let transfer = memory.allocateApart(of: BackendTransfer.self) else { throw Status.noMemory }
        guard let entries = memory.allocateArray(of: BackendTransfer.Entry.self, count: capacity) else {
            memory.deallocateApart(transfer)
            throw Status.noMemory
        }
        transfer.initialize(
            to: BackendTransfer(kind: kind, entries: entries, capacity: capacity, memory: memory))
        return transfer
    }

    func free() {
        let memory = pointee.memory
        memory.deallocateArray(pointee.entries, count: pointee.capacity)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    /// - Locking: the VM's, under which the binding was found.
    func add(_ resource: ResourcePointer, _ mapping: MappingFlags) {
        resource.fence.retain()
        resource.pointee.pages.retain()
        (pointee.entries + pointee.count).initialize(
            to: BackendTransfer.Entry(resource: resource, mapping: mapping, next: pointee.first))
        pointee.first = pointee.entries + pointee.count
        pointee.count = pointee.count &+ 1
    }

    /// All are there.
    func sort() {
        pointee.first = AddressOrder.sorted(pointee.first)
        pointee.place = BackendTransfer.Place(entry: pointee.first)
    }

    /// From now on what has been done so far is undone.
    func turnBack() {
        pointee.limit = pointee.place
        pointee.place = BackendTransfer.Place(entry: pointee.first)
    }

    /// Fills the batch from the place on, and says where it ends.
    func gather(into batch: RangeBatchPointer) {
        batch.removeAll()
        let isUnmap = pointee.kind == .suspend || pointee.limit != nil
        var place = pointee.place
        while let entry = place.entry {
            let resource = entry.pointee.resource
            let pages = resource.pointee.pages
            let isLast = pointee.limit != nil && pointee.limit!.entry == entry
            let count = isLast ? pointee.limit!.piece : pages.pieceCount
            while place.piece < count {
                let binding = resource.pointee.binding.piece(place.piece, of: pages)
                let hasRoom = batch.add(
                    isUnmap ? .unmap(binding) : .map(binding, of: pages.backendBuffer, entry.pointee.mapping))
                if !hasRoom {
                    pointee.end = place
                    return
                }
                place.piece += 1
            }
            place = BackendTransfer.Place(entry: isLast ? nil : entry.pointee.next)
        }
        pointee.end = place
    }

    /// Lets go of the bindings.
    /// - Locking: nothing may be held.
    func dropEntries() {
        for index in 0..<pointee.count {
            let resource = pointee.entries[index].resource
            resource.pointee.pages.drop()
            resource.fence.drop()
        }
        pointee.count = 0
    }
}
