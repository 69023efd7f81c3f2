// XeBackend: an Intel GPU that the kernel driver xe drives, behind the functions of <unbind/backend.h>.
//
// xe binds and unbinds by itself, in the background and in the order of its bind queues; each batch of ranges is one
// VM_BIND, with a point of a timeline as its out-fence, which the SyncobjWaiter waits for. So no call here waits for
// the GPU. What a batch of ranges depends on is over before the library hands it over, or is left to the kernel with it
// (XeSpace+Lanes, XeQueue+Jobs). The kernel invalidates the TLB as a part of each unbind.
//
// Life: make, then the calls of the vtable, then free once every space, buffer and queue is gone.
//
// Address spaces are all of one kind: ordinary ones, or long-running ones, in which jobs may take for ever. In those
// nothing has an out-fence but user fences, words in memory, for each of which a thread waits (UserFenceWaiter). The
// kernel is left to wait for nothing but fences from elsewhere, and one bind queue is enough. Fault mode is only told.
//
// What is unmapped are ranges, but for a queue's own buffer and for what a move has mapped in a space of its own: all
// of an object is meant there (UNMAP_ALL). A batch's UNMAP_ALL must not take what VMAs and binds under way have of it.

import CLibDRM
import CSystem

struct XeOptions: BitwiseCopyable {
    /// Access to what is not mapped reads zero and writes nothing, instead of ending the queue.
    var usesScratch = false
    /// Of the address spaces of programs.
    var isLongRunning = false
}

struct XeBackend: ~Copyable {
    let memory: UnsafeMutablePointer<Memory>
    let waiter: UnsafeMutablePointer<SyncobjWaiter>
    let configuration: XeConfiguration
    let options: XeOptions
    let gpu: IntelGPU
    let supportsLongRunning: Bool
    let supportsFaultMode: Bool
    let handles: UnsafeMutablePointer<HandleList>
    /// Made for the first copy; of whoever begins one.
    var copier: BufferCopierPointer?

    var node: DRMNode { gpu.node }

    // The top of every address space is the library's own, for the batches of its queues.

    /// Bytes that a queue has there.
    static var queueSlotBytes: UInt64 { 2 << 20 }
    static var queueSlots: UInt64 { 512 }

    /// What programs may use. Addresses of more than 48 bits are not used, nor the upper half of these then, whose form
    /// in commands is another one on such GPUs.
    var addressLimit: UInt64 {
        (1 &<< UInt64(configuration.vaBits > 48 ? 47 : configuration.vaBits)) &- Self.queueSlotBytes &* Self.queueSlots
    }
}

typealias XeBackendPointer = UnsafeMutablePointer<XeBackend>

extension UnsafeMutablePointer where Pointee == XeBackend {
    /// Takes the GPU's node, also when it fails.
    /// - Failure: unsupported: a kernel without timelines; noMemory; again: no thread; what the driver said.
    static func make(
        _ gpu: IntelGPU, options: XeOptions, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> XeBackendPointer {
        do throws(Status) {
            let configuration = try XeConfiguration(gpu, memory: memory)
            let longRunning = UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE
            let supportsLongRunning = try makesSpace(gpu.node, flags: longRunning)
            let supportsFaultMode = try makesSpace(
                gpu.node, flags: longRunning | UNBIND_DRM_XE_VM_CREATE_FLAG_FAULT_MODE)
            guard let backend = memory.allocateApart(of: XeBackend.self) else { throw Status.noMemory }
            do throws(Status) {
                let handles = try UnsafeMutablePointer<HandleList>.make(gpu.node, memory: memory)
                do throws(Status) {
                    let waiter = try UnsafeMutablePointer<SyncobjWaiter>.make(node: gpu.node, memory: memory)
                    backend.initialize(
                        to: XeBackend(
                            memory: memory, waiter: waiter, configuration: configuration, options: options, gpu: gpu,
                            supportsLongRunning: supportsLongRunning, supportsFaultMode: supportsFaultMode,
                            handles: handles))
                } catch {
                    handles.free(memory: memory)
                    throw error
                }
            } catch {
                memory.deallocateApart(backend)
                throw error
            }
            return backend
        } catch {
            gpu.node.close()
            throw error
        }
    }

    func free() {
        let (node, memory) = (pointee.node, pointee.memory)
        pointee.copier?.free(memory: memory)
        pointee.waiter.stop()
        pointee.handles.free(memory: memory)
        deinitialize(count: 1)
        memory.deallocateApart(self)
        node.close()
    }

    /// Whether the kernel makes an address space of that kind, by making one.
    private static func makesSpace(_ node: DRMNode, flags: UInt32) throws(Status) -> Bool {
        do throws(Status) {
            destroyXeSpace(try makeXeSpace(node, flags: flags), node)
            return true
        } catch {
            if error == .invalid || error == .unsupported { return false }
            throw error
        }
    }
}

/// A new address space of the kernel's: its id.
func makeXeSpace(_ node: DRMNode, flags: UInt32) throws(Status) -> UInt32 {
    var create = unbind_drm_xe_vm_create()
    create.flags = flags
    try node.call(UNBIND_DRM_IOCTL_XE_VM_CREATE, &create)
    // Some incomplete drivers take every request for a success.
    guard create.vm_id != 0 else { throw Status(raw: -EIO) }
    return create.vm_id
}

func destroyXeSpace(_ id: UInt32, _ node: DRMNode) {
    var destroy = unbind_drm_xe_vm_destroy()
    destroy.vm_id = id
    node.end(UNBIND_DRM_IOCTL_XE_VM_DESTROY, &destroy)
}
