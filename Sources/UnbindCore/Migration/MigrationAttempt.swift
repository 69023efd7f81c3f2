// MigrationAttempt: one try at moving a buffer to another memory region (i915_gem_object_migrate, i915_ttm_move).
//
// Under the buffer's reservation, so that nothing is bound meanwhile, and nothing unbound but by an eviction, which the
// commit finds out under the VM's lock: everything that can fail comes first, as always. Then every VMA is unbound
// asynchronously, the buffer gets its new pages, and the copy is submitted. The copy awaits the GPU work that uses the
// buffer, and not the unbinds: they only take entries away, and the old pages stay until they have (the kernel's copy
// waits for both, one after the other). One fence, on a timeline of the buffer's own, stands for the copy and all the
// unbinds; a later move's stands for the earlier ones, too.

import CSystem
import Synchronization

struct MigrationOptions {
    var mayCopyByCPU = true
    /// The kernel's order, to compare with.
    var copiesAfterUnbinds = false
    var interruptible = false
}

/// A bound VMA, with references.
private struct BoundVMA {
    let vma: VMAPointer
    let resource: ResourcePointer
    var schedule = UnbindSchedule.deferred
    /// An eviction was faster: its unbind, which is in the whole all the same, is the evictor's.
    var isEvicted = false
}

struct MigrationAttempt {
    private let bo: BufferObjectPointer
    private let device: DevicePointer
    private let options: MigrationOptions
    private let target: PageListPointer

    // Taken and not yet used; what is left at the end goes back.
    private var bound: UnsafeMutablePointer<BoundVMA>?
    private var boundCount = 0
    private var boundCapacity = 0
    private var migration: MigrationPointer?
    private var job: JobPointer?
    /// For the edge from the copy to the migration: made last, as admission gives the job's fence its place.
    private var edgeMemory: UnsafeMutableRawPointer?
    private var whole: FencePointer?
    private var reserved = 0
    private var oldPages: PageListPointer?
    /// References that keep the device awake, one for each binding in a global address space; taken before the lock.
    private var powerReferences = 0

    init(of bo: BufferObjectPointer, to target: PageListPointer, _ options: MigrationOptions) {
        self.bo = bo
        device = bo.pointee.device
        self.target = target
        self.options = options
    }

    /// The fence for the whole, with a reference: the buffer has its new pages. Nil if it was in their region already.
    ///
    /// - Locking: nothing may be held.
    /// - Failure: noMemory, again (pinned), busy (mapped by batches), unsupported (shared meanwhile).
    mutating func run() throws(Status) -> FencePointer? {
        let queue = try device.copyQueue()
        let reservation = bo.pointee.reservation
        defer { freeUnused() }
        acquireReservation()
        if bo.pages.pointee.isLocal == target.pointee.isLocal {
            reservation.pointee.lock.release()
            return nil
        }
        do throws(Status) {
            if bo.pointee.mappingCount.load(ordering: .relaxed) != 0 { throw Status.busy }
            if bo.pages.isShared { throw Status.unsupported }
            try prepare(queue)
        } catch {
            if reserved > 0 { reservation.unreserve(reserved) }
            reservation.pointee.lock.release()
            throw error
        }
        let fence = commit(queue)
        reservation.pointee.lock.release()
        finishUnbinds()
        return fence
    }

    /// Takes the reservation's lock, with a power reference for every unbind that needs one.
    private mutating func acquireReservation() {
        while true {
            bo.pointee.reservation.pointee.lock.acquire()
            guard let power = device.pointee.power else { return }
            var missing = -powerReferences
            bo.forEachBinding { vma, _ in
                if vma.pointee.vm.power != nil { missing += 1 }
                return true
            }
            if missing <= 0 { return }
            bo.pointee.reservation.pointee.lock.release()
            for _ in 0..<missing { power.get() }
            powerReferences += missing
        }
    }

    // MARK: What can fail

    private mutating func prepare(_ queue: CopyQueuePointer) throws(Status) {
        let reservation = bo.pointee.reservation
        // The copy, and the whole.
        try reservation.reserve(2)
        reserved = 2
        try collectBoundVMAs()
        let migration = try MigrationPointer.make(of: bo, to: target, mayCopyByCPU: options.mayCopyByCPU)
        self.migration = migration
        let job = try queue.makeJob(moving: bo.pages, to: target)
        self.job = job
        // What became of the work that used the buffer is nothing to the copy.
        var status: Status?
        reservation.forEachUnsignalled(usage: .read) { fence in
            if status != nil { return }
            do throws(Status) { try job.awaitEnd(of: fence) } catch { status = error }
        }
        if let status { throw status }
        if options.copiesAfterUnbinds {
            for index in 0..<boundCount { try job.awaitEnd(of: bound![index].resource.fence) }
        }
        edgeMemory = device.cache(.await).take()
        if edgeMemory == nil { throw Status.noMemory }
        whole = try makeWhole(migration.fence)
    }

    private mutating func collectBoundVMAs() throws(Status) {
        var expected = 0
        bo.forEachBinding { _, _ in
            expected += 1
            return true
        }
        if expected == 0 { return }
        guard let memory = device.pointee.memory.allocateArray(of: BoundVMA.self, count: expected) else {
            throw Status.noMemory
        }
        bound = memory
        boundCapacity = expected
        var failure: Status?
        // References are dropped when the lock has been: the last one frees.
        bo.forEachBinding { vma, resource in
            if vma.pointee.pinCount != 0 {
                failure = .again
                return false
            }
            invariant(boundCount < expected, "a buffer was bound under the lock of its reservation")
            vma.retain()
            resource.fence.retain()
            (memory + boundCount).initialize(to: BoundVMA(vma: vma, resource: resource))
            boundCount += 1
            return true
        }
        if let failure { throw failure }
    }

    private func makeWhole(_ copy: FencePointer) throws(Status) -> FencePointer {
        var list = try FenceList(memory: device.pointee.memory, capacity: boundCount + 2)
        list.append(retaining: copy)
        if let last = bo.pointee.lastMove, !last.isSignalled { list.append(retaining: last) }
        for index in 0..<boundCount { list.append(retaining: bound![index].resource.fence) }
        return try device.makeFenceArray(
            of: list.fences, count: list.count, signalsOnAny: false, context: bo.pointee.moves,
            seqno: bo.pointee.moveCount + 1)
    }

    // MARK: What cannot

    private mutating func commit(_ queue: CopyQueuePointer) -> FencePointer {
        let reservation = bo.pointee.reservation
        var scheduledCount = 0
        for index in 0..<boundCount {
            let entry = bound! + index
            let vm = entry.pointee.vma.pointee.vm
            vm.pointee.lock.acquire()
            vm.pointee.pending.reap()
            if entry.pointee.resource.pointee.isScheduled {
                entry.pointee.isEvicted = true
                vm.pointee.lock.release()
                continue
            }
            scheduledCount += 1
            if vm.power != nil {
                entry.pointee.resource.set(.holdsPower)
                powerReferences -= 1
            }
            entry.pointee.resource.set(.makesWay)
            entry.pointee.schedule = entry.pointee.vma.scheduleUnbind(of: entry.pointee.resource)
            vm.pointee.lock.release()
        }
        let (migration, job, memory, whole) = (migration!, job!, edgeMemory!, whole!)
        (self.migration, self.job, edgeMemory) = (nil, nil, nil)
        migration.begin()
        reservation.add(migration.fence, usage: .kernel)
        reservation.add(whole, usage: .bookkeep)
        // The slots of the unbinds: the whole stands for them.
        if scheduledCount > 0 { reservation.unreserve(scheduledCount) }
        bo.pointee.lastMove?.drop()
        whole.retain()
        bo.pointee.lastMove = whole
        bo.pointee.moveCount = bo.pointee.moveCount &+ 1
        oldPages = bo.exchangePages(target)
        queue.append(job) { fence in
            fence.retain()
            let edge = memory.bindMemory(to: Await.self, capacity: 1)
            edge.initialize(to: Await(fence: fence, function: migrationCopyEnded))
            let isArmed = edge.arm(for: UnsafeMutableRawPointer(migration))
            invariant(isArmed, "a copy had ended before it was submitted")
        }
        // The work and the reservation have theirs.
        migration.fence.drop()
        return whole
    }

    private mutating func finishUnbinds() {
        for index in 0..<boundCount where !bound![index].isEvicted {
            let resource = bound![index].resource
            if resource.follow(bound![index].schedule) { powerReferences += 1 }
            // The VMA's.
            resource.fence.drop()
        }
    }

    private mutating func freeUnused() {
        oldPages?.drop()
        for _ in 0..<powerReferences { device.pointee.power?.put() }
        if let edgeMemory { device.cache(.await).give(edgeMemory) }
        job?.discard()
        migration?.fence.drop()
        for index in 0..<boundCount {
            bound![index].resource.fence.drop()
            bound![index].vma.drop()
        }
        if let bound { device.pointee.memory.deallocateArray(bound, count: boundCapacity) }
    }
}
