// GrowingArray: a list whose length is not known beforehand, from the memory seam. It ends with the function that
// owns it, and takes no memory before it has an element.

struct GrowingArray<Element: BitwiseCopyable>: ~Copyable {
    private let memory: UnsafeMutablePointer<Memory>
    private var first: UnsafeMutablePointer<Element>?
    private(set) var count = 0
    private var capacity = 0

    init(memory: UnsafeMutablePointer<Memory>) { self.memory = memory }

    deinit {
        if let first { memory.deallocateArray(first, count: capacity) }
    }

    /// Of an empty list there are none.
    @inline(__always)
    var elements: UnsafeMutablePointer<Element> { first.unsafelyUnwrapped }

    /// - Failure: noMemory; nothing has changed then.
    @inline(__always)
    mutating func append(_ element: Element) throws(Status) {
        if count == capacity { try grow() }
        first.unsafelyUnwrapped[count] = element
        count &+= 1
    }

    @inline(never)
    private mutating func grow() throws(Status) {
        let larger = capacity == 0 ? 8 : capacity * 2
        guard let elements = memory.allocateArray(of: Element.self, count: larger) else { throw .noMemory }
        if let first {
            elements.update(from: first, count: count)
            memory.deallocateArray(first, count: capacity)
        }
        first = elements
        capacity = larger
    }
}
