// Backend: what stands behind a device that is not the software GPU: the C functions of <unbind/backend.h>.
//
// One for each device, freed with it. The functions are called with no lock held and outside of signalling sections;
// what keeps two of them from meeting is the caller's affair: the BackendSpace of a VM, the Engine of a queue.
//
// A device is lost once, for all its VMs and queues, and stays so.

import CSystem
import CUnbind
import Synchronization

typealias BackendPointer = UnsafeMutablePointer<Backend>

/// What a device is opened with.
struct BackendDescription {
    var ops: unbind_backend_ops
    var context: UnsafeMutableRawPointer?
    /// Nil if no kernel is behind it.
    var link: KernelLink?

    var pageSizes: UInt64 { ops.page_sizes }
}

struct Backend: ~Copyable {
    let ops: unbind_backend_ops
    let context: UnsafeMutableRawPointer?
    /// Nil if no kernel is behind it.
    let link: KernelLink?
    /// Not counted: the device frees it.
    let device: DevicePointer
    let localLimit: UInt64
    fileprivate let localBytes = Atomic<UInt64>(0)
    fileprivate let lostFlag = Atomic<Bool>(false)

    /// Buffers can be moved.
    var canCopy: Bool { ops.copy != nil }

    fileprivate init(_ description: BackendDescription, localLimit: UInt64, device: DevicePointer) {
        ops = description.ops
        context = description.context
        link = description.link
        self.localLimit = localLimit
        self.device = device
    }
}

/// What can be asked of a backend.
enum Capability {
    static var explicitUnbind: UInt64 { 1 << 0 }
    static var partialUnbind: UInt64 { 1 << 1 }
    static var aliasing: UInt64 { 1 << 2 }
    static var nullMappings: UInt64 { 1 << 3 }
    static var readOnly: UInt64 { 1 << 4 }
    static var userMemory: UInt64 { 1 << 5 }
    static var localMemory: UInt64 { 1 << 6 }
    static var faultReports: UInt64 { 1 << 7 }
    static var suspend: UInt64 { 1 << 8 }
    static var migration: UInt64 { 1 << 9 }
    static var asyncUpdates: UInt64 { 1 << 10 }
    static var sharedFences: UInt64 { 1 << 11 }
    static var batchBuffers: UInt64 { 1 << 12 }

    /// The software GPU's.
    static var software: UInt64 {
        explicitUnbind | partialUnbind | aliasing | nullMappings | readOnly | userMemory | localMemory | faultReports
            | suspend | migration
    }
}

extension UnsafeMutablePointer where Pointee == Backend {
    /// - Failure: noMemory.
    static func make(
        _ description: BackendDescription, localLimit: UInt64, device: DevicePointer,
        memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> BackendPointer {
        guard let backend = memory.allocateApart(of: Backend.self) else { throw Status.noMemory }
        backend.initialize(to: Backend(description, localLimit: localLimit, device: device))
        return backend
    }

    /// The device has gone.
    func destroy(memory: UnsafeMutablePointer<Memory>) {
        if let destroy = pointee.ops.destroy { destroy(pointee.context) }
        free(memory: memory)
    }

    /// Of a device that was never opened.
    func free(memory: UnsafeMutablePointer<Memory>) {
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    func has(_ capability: UInt64) -> Bool { pointee.ops.capabilities & capability != 0 }

    // MARK: Loss

    var isLost: Bool { pointee.lostFlag.load(ordering: .acquiring) }

    func checkNotLost() throws(Status) {
        if isLost { throw Status.lost }
    }

    /// `status`: what the backend said. Told to the log once.
    /// - Locking: nothing may be held.
    func lose(_ status: Int32) {
        if pointee.lostFlag.exchange(true, ordering: .acquiringAndReleasing) { return }
        pointee.device.log(.error) { writer in
            writer.text("the device is lost: its backend could not unmap a range, error ")
            writer.decimal(UInt64(status.magnitude))
        }
    }

    // MARK: Local memory

    var localBytes: UInt64 { pointee.localBytes.load(ordering: .relaxed) }

    /// False, and nothing changes, if the limit would be passed.
    func chargeLocalMemory(_ bytes: UInt64) -> Bool {
        var used = pointee.localBytes.load(ordering: .relaxed)
        while true {
            let (sum, overflow) = used.addingReportingOverflow(bytes)
            if overflow || sum > pointee.localLimit { return false }
            let result = pointee.localBytes.weakCompareExchange(expected: used, desired: sum, ordering: .relaxed)
            if result.exchanged { return true }
            used = result.original
        }
    }

    func unchargeLocalMemory(_ bytes: UInt64) {
        _ = pointee.localBytes.wrappingSubtract(bytes, ordering: .relaxed)
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// Capability bits.
    var capabilities: UInt64 {
        guard let backend = pointee.backend else { return Capability.software }
        var capabilities = backend.pointee.ops.capabilities
        if backend.pointee.link != nil { capabilities |= Capability.sharedFences }
        if backend.has(Capability.explicitUnbind) { capabilities |= Capability.suspend }
        if backend.pointee.canCopy, backend.has(Capability.localMemory) {
            capabilities |= Capability.migration
        }
        return capabilities
    }

    /// The largest size of an address space.
    var addressLimit: UInt64 {
        let largest: UInt64 = 1 << 48
        guard let limit = pointee.backend?.pointee.ops.address_limit, limit != 0 else { return largest }
        return min(roundDown(limit, to: pageSize), largest)
    }

    var localBytesInUse: UInt64 { pointee.backend?.localBytes ?? pointee.localMemory.bytesInUse }
}
