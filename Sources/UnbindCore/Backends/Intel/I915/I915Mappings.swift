// I915Mappings: what is bound in one address space, so that every execution can list what it touches, and an unbind
// knows what still has to be waited for. Whole buffers, by address; they do not overlap.
//
// - Locking: `lock` of its space; held for a few instructions, and over a walk of what a batch touches.

import CLibDRM

typealias I915MappingPointer = UnsafeMutablePointer<I915Mapping>

struct I915Mapping {
    /// First: a pointer to it is one to the mapping.
    var links = TreeLinks()
    let start: UInt64
    let size: UInt64
    let handle: UInt32
    /// EXEC_OBJECT_CAPTURE or 0.
    let flags: UInt64
    /// The next of those that are being made.
    let chain: I915MappingPointer?
    /// Batches under way that list it.
    var users = 0
    /// It is being unbound: no batch lists it any more.
    var isLeaving = false
    /// The batch that lists it already, and where.
    var listedBy: UInt64 = 0
    var listIndex = 0

    var end: UInt64 { start &+ size }

    /// How a batch lists it.
    var entry: unbind_drm_i915_gem_exec_object2 {
        I915Context.entry(handle, at: start, flags: flags)
    }
}

enum I915MappingOrder: TreeRule {
    static func precedes(_ node: TreeLinksPointer, _ other: TreeLinksPointer) -> Bool {
        I915MappingPointer(having: node).pointee.start < I915MappingPointer(having: other).pointee.start
    }

    static func refresh(_ node: TreeLinksPointer) -> Bool { false }
}

extension UnsafeMutablePointer where Pointee == I915Mapping {
    init(having links: TreeLinksPointer) {
        self = UnsafeMutableRawPointer(links).assumingMemoryBound(to: I915Mapping.self)
    }

    var links: TreeLinksPointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: TreeLinks.self) }

    /// The next one by address.
    var next: I915MappingPointer? { links.neighbor(.right).map { I915MappingPointer(having: $0) } }
}

typealias I915Mappings = AugmentedTree<I915MappingOrder>

extension AugmentedTree where Rule == I915MappingOrder {
    /// The first one that ends behind the address.
    func first(endingAfter address: UInt64) -> I915MappingPointer? {
        var found: I915MappingPointer?
        var place = root
        while let node = place {
            let mapping = I915MappingPointer(having: node)
            if mapping.pointee.end > address {
                found = mapping
                place = node.child(.left)
            } else {
                place = node.child(.right)
            }
        }
        return found
    }
}
