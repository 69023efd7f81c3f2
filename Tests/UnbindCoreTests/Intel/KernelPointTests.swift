import Testing

@testable import UnbindCore

@Suite struct KernelPointTests {
    @Test("a fence's kernel point lies where its home says")
    func layout() {
        let work = UnsafeMutablePointer<BindWork>.allocate(capacity: 1)
        defer { work.deallocate() }
        withUnsafePointer(to: work.pointee.kernelPoint) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(work) + BindWork.kernelPointOffset)
        }
        let job = UnsafeMutablePointer<Job>.allocate(capacity: 1)
        defer { job.deallocate() }
        withUnsafePointer(to: job.pointee.kernelPoint) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(job) + Job.kernelPointOffset)
        }
        let imported = UnsafeMutablePointer<ImportedFence>.allocate(capacity: 1)
        defer { imported.deallocate() }
        withUnsafePointer(to: imported.pointee.kernelPoint) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(imported) + ImportedFence.kernelPointOffset)
        }
    }
}
