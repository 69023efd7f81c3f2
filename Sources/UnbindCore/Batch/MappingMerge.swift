// MappingMerge: a new mapping and the neighbours that it continues become one.
//
// Comes after the batch that made it, within the same call, and may do nothing: only what is bound, idle and not held
// is merged, and what there is no memory for stays as it is. What is merged is one mapping to whoever looks, to the
// unbinds and splits that come later, and to the page tables, which get their large pages back.

import Synchronization

struct MappingMerge: ~Copyable {
    /// With references.
    private struct Part {
        let vma: VMAPointer
        let resource: ResourcePointer
    }

    private let vm: VMPointer
    private let device: DevicePointer
    /// Those that are merged, from the lowest address on.
    private var parts: GrowingArray<Part>
    private var vma: VMAPointer?
    private var resource: ResourcePointer?
    private var hasIndexSlot = false
    private var hasTables = false
    private(set) var isDone = false

    init(_ vm: VMPointer) {
        let device = vm.pointee.device
        parts = GrowingArray(memory: device.pointee.memory)
        self.vm = vm
        self.device = device
    }

    /// Tries it for what is mapped at an address.
    /// - Locking: the batches' lock is held.
    mutating func run(at address: UInt64) {
        // A backend merges by itself what it likes.
        if vm.pointee.backendSpace != nil { return }
        do throws(Status) {
            try collect(around: address)
            if parts.count < 2 { return }
            try prepare()
            try merge()
        } catch {}
    }

    // MARK: Looking

    private mutating func collect(around address: UInt64) throws(Status) {
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        if vm.isClosed { return }
        guard let node = vm.pointee.ranges.node(containing: address) else { return }
        var first = VMAPointer(containing: node)
        if !first.isIdleMapping { return }
        while let previous = vm.mapping(continuedBy: first) { first = previous }
        if vm.mapping(continuing: first) == nil { return }
        var next: VMAPointer? = first
        while let vma = next {
            try parts.append(Part(vma: vma, resource: vma.pointee.resource!))
            vma.retain()
            vma.pointee.resource!.fence.retain()
            next = vm.mapping(continuing: vma)
        }
    }

    private var range: (start: UInt64, end: UInt64) {
        (parts.elements[0].vma.node.pointee.start, parts.elements[parts.count - 1].vma.node.pointee.end)
    }

    private var content: MappingContent { parts.elements[0].vma.mapping! }

    private mutating func prepare() throws(Status) {
        let (start, end) = range
        let content = content
        let vma = try VMAPointer.makeMapping(vm: vm, content: content, start: start, size: end &- start)
        let reservation = content.bo.pointee.reservation
        do throws(Status) {
            reservation.pointee.lock.acquire()
            defer { reservation.pointee.lock.release() }
            try reservation.reserve(1)
        } catch {
            vma.drop()
            throw error
        }
        content.bo.mappingBegins()
        self.vma = vma
    }

    // MARK: Merging

    private mutating func merge() throws(Status) {
        vm.pointee.lock.acquire()
        defer { vm.pointee.lock.release() }
        for index in 0..<parts.count where !parts.elements[index].vma.isIdleMapping { throw Status.busy }
        let (start, end) = range
        let content = content
        let resource = try vm.makeMappingResource(content, content.bo.pages, start: start, end: end)
        self.resource = resource
        try vm.reserveRoom(of: resource, &hasTables, &hasIndexSlot)
        try vm.pointee.ranges.reserveInsertion()
        if !joinEntries(resource) { throw Status.busy }
        isDone = true
        for index in 0..<parts.count { vm.detach(parts.elements[index].vma) }
        if let stream = vm.pointee.stream { stream.recordBind(resource, isPending: false, isInternal: true) }
        vm.install(vma!, resource, isBound: true)
    }

    private func joinEntries(_ resource: ResourcePointer) -> Bool {
        let space = vm.pointee.space
        space.pointee.lock.acquire()
        defer { space.pointee.lock.release() }
        let generation = space.pointee.generation
        if space.pointee.isSuspended || space.pointee.isAbandoned { return false }
        for index in 0..<parts.count where parts.elements[index].resource.pointee.writtenIn != generation {
            return false
        }
        let isJoined = space.joinLocked(resource.pointee.binding, from: parts.count) {
            parts.elements[$0].resource.pointee.binding
        }
        if isJoined { resource.pointee.writtenIn = generation }
        return isJoined
    }

    // MARK: The end

    /// - Locking: nothing may be held.
    mutating func end() {
        if isDone {
            vm.pointee.batches.pointee.merges.add(UInt64(parts.count - 1))
            resource!.fence.drop()
        } else {
            undo()
        }
        for index in 0..<parts.count {
            let part = parts.elements[index]
            if isDone {
                part.resource.endUnscheduled()
                part.vma.releaseSlot()
                // What the VMA had, and what goes with the range.
                part.resource.fence.drop()
                part.vma.drop()
            }
            part.resource.fence.drop()
            part.vma.drop()
        }
    }

    private mutating func undo() {
        if let resource {
            vm.pointee.lock.acquire()
            vm.unreserveRoom(of: resource, hasTables: hasTables, hasIndexSlot: hasIndexSlot)
            vm.pointee.lock.release()
            resource.discard()
        }
        guard let vma else { return }
        vma.releaseSlot()
        vma.pointee.bo.mappingEnds()
        vma.drop()
    }
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// - Locking: nothing may be held.
    func mergeNeighbours(of address: UInt64) {
        var merge = MappingMerge(self)
        pointee.batches.pointee.lock.acquire()
        merge.run(at: address)
        pointee.batches.pointee.lock.release()
        merge.end()
    }

    /// Whether a bound mapping has a neighbour to merge with.
    /// - Locking: the VM's lock is held.
    func hasNeighbour(toMergeWith vma: VMAPointer) -> Bool {
        if pointee.backendSpace != nil { return false }
        return mapping(continuing: vma) != nil || mapping(continuedBy: vma) != nil
    }

    /// An idle mapping that goes on where this one ends.
    fileprivate func mapping(continuing vma: VMAPointer) -> VMAPointer? {
        guard let node = pointee.ranges.next(after: vma.node) else { return nil }
        let other = VMAPointer(containing: node)
        return vma.isContinued(by: other) && other.isIdleMapping ? other : nil
    }

    /// An idle mapping that this one continues.
    fileprivate func mapping(continuedBy vma: VMAPointer) -> VMAPointer? {
        let node = pointee.ranges.previous(before: vma.node)
        if node == pointee.ranges.head { return nil }
        let other = VMAPointer(containing: node)
        return other.isContinued(by: vma) && other.isIdleMapping ? other : nil
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// A mapping that is bound, and nothing is under way with.
    /// - Locking: the VM's lock is held.
    var isIdleMapping: Bool {
        guard isMapping, let resource = pointee.resource, !resource.isHeld, lockedState == .bound else { return false }
        var next = pointee.users
        while let user = next {
            if !user.pointee.fence.isSignalled { return false }
            next = user.pointee.next
        }
        return true
    }

    /// - Locking: the VM's lock is held.
    fileprivate func isContinued(by other: VMAPointer) -> Bool {
        let (node, next) = (node.pointee, other.node.pointee)
        guard node.end == next.start, let content = mapping, let following = other.mapping else { return false }
        return following.equals(content.advanced(by: node.size))
    }
}
