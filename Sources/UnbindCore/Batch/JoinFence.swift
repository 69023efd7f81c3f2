// JoinFence: a fence for the end of several things, whose fences come into being one by one while it is put together.
//
// A batch has two: one for all it waits for, which its unbinds and binds await, and the one that it hands out. Unlike
// an array of fences (FenceArray) it is made, and the edges to what it awaits are taken, before anything is changed;
// hanging it up cannot fail. What the awaited fences carry is nothing to it, if it is made so.
//
// Life: whoever made it has one reference; from `begin` until it has signalled it has one of its own, and counts as
// work of the device.

import Synchronization

typealias JoinFencePointer = UnsafeMutablePointer<JoinFence>

struct JoinFence: ~Copyable {
    /// First: a pointer to it is a pointer to the JoinFence.
    fileprivate let fence: Fence
    /// At `relayOffset`.
    var relay = RelayItem()
    fileprivate let gate = SoftwareFence()
    fileprivate let ignoresErrors: Bool

    static var relayOffset: Int { roundUp(MemoryLayout<Fence>.size, to: MemoryLayout<RelayItem>.alignment) }
}

extension UnsafeMutablePointer where Pointee == JoinFence {
    /// - Failure: noMemory.
    static func make(device: DevicePointer, ignoresErrors: Bool) throws(Status) -> JoinFencePointer {
        guard let memory = device.cache(.join).take() else { throw Status.noMemory }
        let join = memory.bindMemory(to: JoinFence.self, capacity: 1)
        join.initialize(to: JoinFence(fence: Fence(home: device.fenceHome(.join)), ignoresErrors: ignoresErrors))
        device.retain()
        return join
    }

    var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    private var relay: RelayItemPointer { memberPointer(of: self, at: JoinFence.relayOffset, as: RelayItem.self) }

    /// From now on it is going to signal.
    func begin() {
        fence.retain()
        fence.device.workBegan()
    }

    /// Hangs it on a fence, with an edge that was taken for it. Any lock below that of a fence may be held.
    func await(_ edge: AwaitPointer) {
        pointee.gate.await()
        if edge.arm(for: UnsafeMutableRawPointer(self)) { return }
        let isOpen = complete(edge.pointee.fence)
        invariant(!isOpen, "a join of fences was complete before all of them were known")
        fence.device.free(edge)
    }

    /// All is awaited.
    /// - Locking: nothing may be held: it may signal here.
    func commit() {
        if pointee.gate.commit() { Relay.open { self.signal() } }
    }

    private func complete(_ member: FencePointer) -> Bool {
        pointee.gate.complete(error: pointee.ignoresErrors ? 0 : member.error)
    }

    fileprivate func completed(_ edge: AwaitPointer, by member: FencePointer) {
        let device = fence.device
        let isOpen = complete(member)
        RaceWindow.memberIsCounted.pass(device)
        // Unless this was the last that it waited for, another thread may have ended and freed it by now.
        device.free(edge, on: member)
        guard isOpen else { return }
        Relay.hand(relay, context: UnsafeMutableRawPointer(self)) { join in
            join.assumingMemoryBound(to: JoinFence.self).signal()
        }
    }

    private func signal() {
        let device = fence.device
        fence.signalInTurn(error: pointee.gate.error, at: device.now)
        fence.drop()
        device.workEnded()
    }
}

/// Something that a join awaits has signalled.
func joinAwaitFired(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let edge = callback.assumingMemoryBound(to: Await.self)
    let join = edge.pointee.waiter.assumingMemoryBound(to: JoinFence.self)
    join.completed(edge, by: fence.assumingMemoryBound(to: Fence.self))
}

func releaseJoinFence(_ memory: UnsafeMutableRawPointer) {
    let join = memory.assumingMemoryBound(to: JoinFence.self)
    let device = join.fence.device
    join.deinitialize(count: 1)
    device.cache(.join).give(memory)
    device.drop()
}
