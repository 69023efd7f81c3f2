// I915Backend: an Intel GPU that the kernel driver i915 drives, behind the functions of <unbind/backend.h>.
//
// i915 has no call to bind. An object is bound by the execution of a batch that lists it with an address, stays bound
// while nobody needs its place and memory is not short, and is bound again by the next execution that lists it. So:
//
//   bind      an empty batch that lists the object PINNED; done when the batch has ended
//   unbind    an empty batch that lists a dummy object PINNED over the range. The kernel unbinds, within the call, all
//             that overlaps it, which nothing uses any more by then. Or nothing at all (unbindsLazily): the object
//             stays reachable until its place is wanted or its handle is closed and the GPU is idle
//   submit    lists what its commands touch (I915Mappings)
//
// An access to what is not bound hits a scratch page: no fault, no error. An object has one place in an address space
// and is bound as a whole, for reading and writing.
//
// Life: make, then the calls of the vtable, then free once every space, buffer and queue is gone.

import CLibDRM
import CSystem

struct I915Options: BitwiseCopyable {
    /// Unbinding leaves the entries to the kernel.
    let unbindsLazily: Bool
    let log: HostLog
}

struct I915Backend: ~Copyable {
    let gpu: IntelGPU
    let memory: UnsafeMutablePointer<Memory>
    let waiter: UnsafeMutablePointer<SyncobjWaiter>
    let configuration: I915Configuration
    let options: I915Options
    let handles: UnsafeMutablePointer<HandleList>
    /// An object with an empty batch.
    let emptyBatch: I915BufferPointer
    /// Handles of small objects that are put in the way of what is to be unbound; each can be in one place of every
    /// space. Not made if nothing is unbound so.
    let dummies: UnsafeMutablePointer<UInt32>
    /// Made for the first copy; of whoever begins one.
    var copier: BufferCopierPointer?

    var node: DRMNode { gpu.node }

    /// The most ranges of an update: a dummy for each.
    static var dummyCount: Int { 32 }

    // The top of every address space is the library's own: the empty batch, and the buffers of its queues.

    static var slotBytes: UInt64 { 2 << 20 }
    static var slots: UInt64 { 512 }

    /// What programs may use.
    var addressLimit: UInt64 { (1 &<< UInt64(configuration.vaBits)) &- Self.slotBytes &* Self.slots }
}

typealias I915BackendPointer = UnsafeMutablePointer<I915Backend>

extension UnsafeMutablePointer where Pointee == I915Backend {
    /// Takes the GPU's node, also when it fails.
    /// - Failure: unsupported: a GPU or kernel without address spaces or timelines, which the log tells; noMemory;
    ///   again: no thread; what the driver said.
    static func make(
        _ gpu: IntelGPU, options: I915Options, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> I915BackendPointer {
        do throws(Status) {
            let configuration = try I915Configuration(gpu, memory: memory, log: options.log)
            let waiter = try UnsafeMutablePointer<SyncobjWaiter>.make(node: gpu.node, memory: memory)
            do throws(Status) {
                return try make(gpu, configuration, options, waiter)
            } catch {
                waiter.stop()
                throw error
            }
        } catch {
            gpu.node.close()
            throw error
        }
    }

    private static func make(
        _ gpu: IntelGPU, _ configuration: I915Configuration, _ options: I915Options,
        _ waiter: UnsafeMutablePointer<SyncobjWaiter>
    ) throws(Status) -> I915BackendPointer {
        let memory = waiter.pointee.memory
        guard let backend = memory.allocateApart(of: I915Backend.self) else { throw Status.noMemory }
        guard let dummies = memory.allocateArray(of: UInt32.self, count: I915Backend.dummyCount) else {
            memory.deallocateApart(backend)
            throw Status.noMemory
        }
        let handles: UnsafeMutablePointer<HandleList>
        do throws(Status) {
            handles = try .make(gpu.node, memory: memory)
        } catch {
            memory.deallocateArray(dummies, count: I915Backend.dummyCount)
            memory.deallocateApart(backend)
            throw error
        }
        dummies.initialize(repeating: 0, count: I915Backend.dummyCount)
        let maker = I915BufferMaker(handles: handles, memory: memory, configuration: configuration, log: options.log)
        do throws(Status) {
            let batch = try maker.make(size: pageSize, isLocal: false)
            var writer = BatchWriter(batch.pointee.cpu.assumingMemoryBound(to: UInt32.self), capacity: 2)
            writer.end()
            backend.initialize(
                to: I915Backend(
                    gpu: gpu, memory: memory, waiter: waiter, configuration: configuration, options: options,
                    handles: handles, emptyBatch: batch, dummies: dummies))
        } catch {
            handles.free(memory: memory)
            memory.deallocateArray(dummies, count: I915Backend.dummyCount)
            memory.deallocateApart(backend)
            throw error
        }
        do throws(Status) {
            for index in 0..<(options.unbindsLazily ? 0 : I915Backend.dummyCount) {
                dummies[index] = try maker.makeObject(size: pageSize)
            }
        } catch {
            backend.dispose()
            throw error
        }
        return backend
    }

    func free() {
        let node = pointee.node
        pointee.copier?.free(memory: pointee.memory)
        pointee.waiter.stop()
        dispose()
        node.close()
    }

    private func dispose() {
        let (node, memory, handles, dummies) = (pointee.node, pointee.memory, pointee.handles, pointee.dummies)
        for index in 0..<I915Backend.dummyCount where dummies[index] != 0 { node.closeBuffer(dummies[index]) }
        buffers.destroy(pointee.emptyBatch)
        handles.free(memory: memory)
        deinitialize(count: 1)
        memory.deallocateArray(dummies, count: I915Backend.dummyCount)
        memory.deallocateApart(self)
    }

    var buffers: I915BufferMaker {
        I915BufferMaker(
            handles: pointee.handles, memory: pointee.memory, configuration: pointee.configuration,
            log: pointee.options.log)
    }
}
