// IntelGPU: one GPU opened for work: its node, what the probe says of it, and which backend drives it.
//
// The GPU is found by a selection string, as the probe finds it, or is the one that a descriptor of the program's
// belongs to. The render node is opened, which needs no master and lacks nothing that is used here.

import CLibDRM
import CSystem

struct IntelGPU: BitwiseCopyable {
    let node: DRMNode
    /// Filled by its driver's answers: queryStatus is 0.
    let gpu: GPU

    /// - Parameter file: the program's own node, which stays open; -1: the selected GPU's is opened.
    /// - Failure: noDevice, if there is none such or the descriptor is none of an Intel GPU; what opening the node
    ///   said (EACCES); what its driver said.
    static func open(
        _ selector: DeviceSelector, file: Int32, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) -> IntelGPU {
        let list = try GPUList.read(memory: memory)
        if file >= 0 {
            let number = clibdrm_node_number(file)
            guard number != 0, let gpu = list.first(withNode: number) else { throw Status.noDevice }
            return try IntelGPU(DRMNode(file: file, isOwned: false), gpu, memory: memory)
        }
        let gpu = try list.find(selector, asks: true)
        let node = try DRMNode.open(gpu.pointee.renderNode)
        do throws(Status) {
            return try IntelGPU(node, gpu, memory: memory)
        } catch {
            node.close()
            throw error
        }
    }

    private init(
        _ node: DRMNode, _ gpu: UnsafeMutablePointer<GPU>, memory: UnsafeMutablePointer<Memory>
    ) throws(Status) {
        gpu.ask(node.file, memory: memory)
        _ = try DRMNode.checked(gpu.pointee.queryStatus)
        self.node = node
        self.gpu = gpu.pointee
    }
}
