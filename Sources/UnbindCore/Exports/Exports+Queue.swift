// Exports of <unbind/queue.h>.

import CUnbind

@implementation @_cdecl("unbind_queue_create")
public func unbind_queue_create(
    _ vmHandle: OpaquePointer!, _ flags: UInt32, _ outQueue: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let vm: VMPointer = try object(vmHandle)
        let out = try required(outQueue)
        guard flags <= UNBIND_QUEUE_VIDEO_ENHANCE else { throw Status.invalid }
        out.pointee = OpaquePointer(try QueuePointer.make(vm: vm, flags: flags))
    }
}

@implementation @_cdecl("unbind_queue_ref")
public func unbind_queue_ref(_ handle: OpaquePointer!) -> OpaquePointer! {
    guard let queue: QueuePointer = try? object(handle) else { return nil }
    queue.pointee.count.retainHandle()
    return handle
}

@implementation @_cdecl("unbind_queue_unref")
public func unbind_queue_unref(_ handle: OpaquePointer!) {
    guard let queue: QueuePointer = try? object(handle) else { return }
    queue.dropHandle()
}

@implementation @_cdecl("unbind_queue_id")
public func unbind_queue_id(_ handle: OpaquePointer!) -> UInt64 {
    guard let queue: QueuePointer = try? object(handle) else { return 0 }
    return queue.pointee.id
}

@implementation @_cdecl("unbind_queue_submit")
public func unbind_queue_submit(
    _ handle: OpaquePointer!, _ submitPointer: UnsafePointer<unbind_submit>!,
    _ outFence: UnsafeMutablePointer<OpaquePointer?>!
) -> Int32 {
    cStatus { () throws(Status) in
        let queue: QueuePointer = try object(handle)
        guard let submitPointer else { throw Status.invalid }
        let submit = try read(submitPointer, zero: unbind_submit())
        try checkCounts(submit)
        if queue.pointee.vm.isClosed { throw Status.closed }
        let memory = queue.pointee.vm.pointee.device.pointee.memory
        let count = Int(submit.vma_count)
        guard let uses = memory.allocateArray(of: VMAUse.self, count: count) else { throw Status.noMemory }
        defer { memory.deallocateArray(uses, count: count) }
        for index in 0..<count { (uses + index).initialize(to: try checkedUse(submit.vmas[index])) }

        let job = try queue.makeJob(commandCount: Int(submit.command_count))
        do throws(Status) {
            let device = queue.pointee.vm.pointee.device
            var callsBatch = false
            for index in 0..<Int(submit.command_count) {
                let command = try checkedCommand(submit.commands[index], device: device)
                if command.kind == .batch { callsBatch = true }
                try job.add(command)
            }
            if callsBatch { try queue.prepareUses(of: job, count: count) }
            for index in 0..<Int(submit.wait_fence_count) {
                let fence: FencePointer = try object(submit.wait_fences[index])
                guard fence.device == device else { throw Status.invalid }
                try job.await(fence)
            }
            handOut(try queue.submit(job, uses: UnsafeMutableBufferPointer(start: uses, count: count)), to: outFence)
        } catch {
            job.discard()
            throw error
        }
    }
}

private func checkCounts(_ submit: unbind_submit) throws(Status) {
    guard submit.flags == 0, submit.reserved == 0,
        submit.command_count <= listLimit, submit.vma_count <= listLimit, submit.wait_fence_count <= listLimit,
        submit.commands != nil || submit.command_count == 0,
        submit.vmas != nil || submit.vma_count == 0,
        submit.wait_fences != nil || submit.wait_fence_count == 0
    else { throw Status.invalid }
}

private func checkedUse(_ use: unbind_submit_vma) throws(Status) -> VMAUse {
    let vma: VMAPointer = try object(use.vma)
    let known = UNBIND_USE_READ | UNBIND_USE_WRITE
    guard use.reserved == 0, use.use & known != 0, use.use & ~known == 0 else { throw Status.invalid }
    return VMAUse(vma: vma, usage: use.use & UNBIND_USE_WRITE != 0 ? .write : .read)
}

/// Members that the command does not use must be 0, so that a mistake is found here and not in the bytes.
private func checkedCommand(_ command: unbind_command, device: DevicePointer) throws(Status) -> Command {
    guard command.reserved == 0, let kind = CommandKind(rawValue: command.op) else { throw Status.invalid }
    guard command.result == nil || kind == .load, command.fence == nil || kind == .wait,
        command.source == 0 || kind == .copy, command.size == 0 || kind == .fill || kind == .copy,
        command.address == 0 || (kind != .delay && kind != .wait),
        command.value == 0 || kind == .fill || kind == .store || kind == .delay
    else { throw Status.invalid }
    var checked = Command(kind: kind)
    checked.address = command.address
    checked.source = command.source
    checked.size = command.size
    checked.value = command.value
    checked.result = command.result
    let (end, overflow) = command.address.addingReportingOverflow(command.size)
    if overflow { throw Status.invalid }
    switch kind {
    case .fill:
        guard command.size != 0, isAligned(command.address | command.size, to: 4), command.value <= UInt32.max else {
            throw Status.invalid
        }
    case .copy:
        let (sourceEnd, sourceOverflow) = command.source.addingReportingOverflow(command.size)
        guard command.size != 0, !sourceOverflow else { throw Status.invalid }
        if command.address < sourceEnd && command.source < end { throw Status.invalid }
    case .store:
        guard isAligned(command.address, to: 8) else { throw Status.invalid }
    case .load:
        guard isAligned(command.address, to: 8), command.result != nil else { throw Status.invalid }
    case .batch:
        guard isAligned(command.address, to: 8) else { throw Status.invalid }
        if device.capabilities & Capability.batchBuffers == 0 { throw Status.unsupported }
    case .delay: break
    case .move: throw Status.invalid
    case .wait:
        let fence: FencePointer = try object(command.fence)
        guard fence.device == device else { throw Status.invalid }
        checked.fence = fence
    }
    return checked
}
