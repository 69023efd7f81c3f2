// The runs of a batch: neighbouring mappings that go together (MappingRun).

import Synchronization

extension BatchAttempt {
    // MARK: Under the VM's lock

    /// Decides how each run goes, and takes what that needs.
    /// - Failure: noMemory.
    mutating func reserveRuns() throws(Status) {
        let isAtOnce = start == nil && device.pointee.gpu.invalidationCost == 0
        var index = 0
        // More come behind, when one falls apart.
        while index < plan.runs.count {
            try reserve(plan.runs.elements + index, isAtOnce: isAtOnce)
            index += 1
        }
    }

    private mutating func reserve(_ run: UnsafeMutablePointer<MappingRun>, isAtOnce: Bool) throws(Status) {
        let mappings = plan.going.elements + run.pointee.first
        let isIdle = vm.isStillIdle(run.pointee, mappings)
        if isIdle, isAtOnce { return }
        if !isIdle, run.pointee.count > 1 { return try dissolve(run) }
        if isIdle, run.pointee.count > 1 {
            run.pointee.manner = .asOne
            run.pointee.resource = try vm.makeResource(for: run.pointee, mappings)
        } else {
            run.pointee.manner = .alone
            let resource = mappings[0].pointee.resource.unsafelyUnwrapped
            resource.fence.retain()
            run.pointee.resource = resource
        }
        try addStartEdge(to: &run.pointee.edges)
    }

    /// Each of its mappings is a run of its own, behind the others.
    private mutating func dissolve(_ run: UnsafeMutablePointer<MappingRun>) throws(Status) {
        let old = run.pointee
        run.pointee.count = 0
        for index in old.first..<(old.first + old.count) {
            let node = plan.going.elements[index].node
            try plan.runs.append(
                MappingRun(
                    first: index, count: 1, start: node.pointee.start, end: node.pointee.end, bo: old.bo,
                    isReadOnly: old.isReadOnly))
        }
    }

    mutating func commit(_ run: UnsafeMutablePointer<MappingRun>, _ cleared: inout ClearedRange) {
        if run.pointee.count == 0 { return }
        let mappings = plan.going.elements + run.pointee.first
        if run.pointee.manner == .atOnce {
            let stats = vm.pointee.stats
            stats.pointee.unbindsImmediate &+= 1
            stats.pointee.completedAtOnce &+= 1
            run.pointee.entries = vm.clearEntries(of: run.pointee, mappings)
            cleared.add(start: run.pointee.start, end: run.pointee.end)
            return vm.detach(run.pointee, mappings, kept: 0)
        }
        let edges = run.pointee.edges
        run.pointee.edges = nil
        let resource = run.pointee.resource.unsafelyUnwrapped
        if run.pointee.manner == .alone {
            prepend(edges, to: &mappings[0].pointee.users)
            run.pointee.schedule = mappings[0].scheduleUnbind(of: resource, leavesInvalidation: true)
        } else {
            let (vm, old) = (vm, run.pointee)
            run.pointee.schedule = resource.schedule(
                awaiting: edges, range: old.start...(old.end &- 1), leavesInvalidation: true
            ) { vm.detach(old, mappings, kept: 1) }
        }
        cleared.add(resource, run.pointee.schedule)
        awaitIfPending(resource, run.pointee.schedule)
    }

    // MARK: Without locks

    func finish(_ run: UnsafeMutablePointer<MappingRun>) {
        if run.pointee.count == 0 { return }
        let mappings = plan.going.elements + run.pointee.first
        let bo = run.pointee.bo
        if let resource = run.pointee.resource {
            let spare = run.pointee.count - 1
            if spare > 0 { mappings[0].releaseSlot(spare) }
            _ = mappings[0].finishUnbind(of: resource, run.pointee.schedule)
            // The VMA's.
            if run.pointee.manner == .alone { resource.fence.drop() }
            resource.fence.drop()
        } else {
            mappings[0].releaseSlot(run.pointee.count)
            device.pointee.executor.charge(device.pointee.gpu.cost(ofEntries: run.pointee.entries))
            vm.pointee.history.record(
                .unbindCompleted, start: run.pointee.start, size: run.pointee.end &- run.pointee.start,
                boID: bo.pointee.id, time: device.now)
        }
        bo.drop(mappings, count: run.pointee.count)
    }

    /// Its mappings are what they were; the batch has no references to them.
    func undo(_ run: UnsafeMutablePointer<MappingRun>) {
        device.free(all: &run.pointee.edges)
        guard let resource = run.pointee.resource else { return }
        if run.pointee.manner == .alone { resource.fence.drop() } else { resource.discard() }
    }
}
