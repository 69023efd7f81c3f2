// FenceHome: what all fences of one sort have in common, so that each needs only a pointer to it.
//
// A device has one for each sort (FenceSort), and each address space one for its unbinds, by which they find it.

struct FenceHome {
    typealias Release = @convention(c) (_ fence: UnsafeMutableRawPointer) -> Void

    /// The device, for the clock, the executor and the check that a handle belongs to it.
    let owner: UnsafeMutableRawPointer
    /// Frees the object that begins with the fence.
    let release: Release
    /// What object that is, for those who look inside.
    let kind: Fence.Kind
    /// Made by unbind_fence_create: only the caller signals it, and only the caller may.
    let isSignalledByCaller: Bool
    /// One piece of work of the library's signals it, once, and only those who have a reference can reach it. Such a
    /// fence needs fewer atomic operations than one that two may signal at a time, or that lists find.
    let isOwnWork: Bool
    /// It is an OrderedFence.
    let isOrdered: Bool
    /// Where in the object its KernelPoint is; 0: it has none.
    let kernelPointOffset: Int

    init(
        owner: UnsafeMutableRawPointer, kind: Fence.Kind = .plain, isSignalledByCaller: Bool = false,
        isOwnWork: Bool = false, isOrdered: Bool = false, kernelPointOffset: Int = 0, release: @escaping Release
    ) {
        self.owner = owner
        self.release = release
        self.kind = kind
        self.isSignalledByCaller = isSignalledByCaller
        self.isOwnWork = isOwnWork
        self.isOrdered = isOrdered
        self.kernelPointOffset = kernelPointOffset
    }
}

typealias FenceHomePointer = UnsafeMutablePointer<FenceHome>
