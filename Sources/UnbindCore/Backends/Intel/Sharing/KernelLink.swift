// KernelLink: what the device knows of the kernel behind its backend, for whatever crosses the border of the process:
// fences as sync objects and sync_files, buffers as dma-bufs. Devices without one have none of it.

import CUnbind

struct KernelLink: BitwiseCopyable {
    /// A buffer of the backend's as a dma-buf: a descriptor, or a negative errno.
    typealias ExportBuffer =
        @convention(c) (_ backend: UnsafeMutableRawPointer?, _ buffer: UnsafeMutableRawPointer?) -> Int32
    /// A dma-buf as a buffer of the backend's, which is destroyed like those that it makes. 0 or a negative errno.
    typealias ImportBuffer =
        @convention(c) (
            _ backend: UnsafeMutableRawPointer?, _ descriptor: Int32,
            _ outBuffer: UnsafeMutablePointer<UnsafeMutableRawPointer?>?,
            _ outCPU: UnsafeMutablePointer<UnsafeMutableRawPointer?>?, _ outSize: UnsafeMutablePointer<UInt64>?
        ) -> Int32

    /// As `submit` of the backend's functions, after the kernel has seen `waits` (KernelWait) signal. Publishes the
    /// kernel's point for the end of the commands at `place` (KernelPoint), which stays until they have ended.
    typealias Submit =
        @convention(c) (
            _ backend: UnsafeMutableRawPointer?, _ queue: UnsafeMutableRawPointer?,
            _ commands: UnsafePointer<unbind_command>?, _ count: UInt32, _ waits: UnsafeRawPointer?,
            _ waitCount: UInt32, _ place: UnsafeMutableRawPointer?, _ token: OpaquePointer?
        ) -> Int32

    /// What the batches of the caller's that the next `submit` has may use (JobUse), in an array that stays until that
    /// is complete.
    typealias Declare =
        @convention(c) (
            _ backend: UnsafeMutableRawPointer?, _ queue: UnsafeMutableRawPointer?, _ uses: UnsafeRawPointer?,
            _ count: UInt32
        ) -> Void

    /// The kernel has taken something that ends with a point of a KernelTimeline.
    typealias Taken =
        @convention(c) (
            _ context: UnsafeMutableRawPointer?, _ timeline: UnsafeMutableRawPointer?, _ point: UInt64
        ) -> Void
    /// As `update` of the backend's functions; tells before it can be complete.
    typealias Update =
        @convention(c) (
            _ backend: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
            _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ taken: Taken?,
            _ takenContext: UnsafeMutableRawPointer?, _ token: OpaquePointer?
        ) -> Int32

    /// Unmaps after `waits` (KernelWait): 0, and where to wait for that, or a negative errno. Not while another update
    /// of the space is under way.
    typealias Unmap =
        @convention(c) (
            _ backend: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
            _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ waits: UnsafeRawPointer?,
            _ waitCount: UInt32, _ outPlace: UnsafeMutablePointer<UInt64>?
        ) -> Int32
    /// Completes when what was left to the kernel up to that place has been unmapped. Counts as an update.
    typealias AwaitUnmap =
        @convention(c) (
            _ backend: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?, _ place: UInt64,
            _ token: OpaquePointer?
        ) -> Int32

    /// Has the kernel bring what is mapped in these ranges (their addresses and sizes count) to a region
    /// (UNBIND_REGION_*), where the library knows it to be. 0 or a negative errno. Any thread.
    typealias Fetch =
        @convention(c) (
            _ backend: UnsafeMutableRawPointer?, _ space: UnsafeMutableRawPointer?,
            _ ranges: UnsafePointer<unbind_backend_range>?, _ count: UInt32, _ region: UInt32
        ) -> Int32

    let gpu: IntelGPU
    let waiter: UnsafeMutablePointer<SyncobjWaiter>
    /// UNBIND_INTEL_INFO_*.
    let flags: UInt32
    let exportBuffer: ExportBuffer
    let importBuffer: ImportBuffer
    // Nil: the library awaits what it would leave to the kernel, or what the kernel would be told to wait for.

    var submit: Submit?
    var update: Update?
    var unmap: Unmap?
    var awaitUnmap: AwaitUnmap?
    /// Nil: what is mapped can be used.
    var declare: Declare?

    /// Nil: memory stays where it is.
    var fetch: Fetch?
    /// What is mapped of local memory begins and ends at multiples of it, in both.
    var localPageSize = pageSize

    var node: DRMNode { gpu.node }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// - Failure: closed; unsupported: there is no kernel behind the device.
    func kernelLink() throws(Status) -> KernelLink {
        try checkOpen()
        guard let link = pointee.backend?.pointee.link else { throw Status.unsupported }
        return link
    }
}
