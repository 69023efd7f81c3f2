// GrowingArray: a list whose length is not known beforehand, from the memory seam. It ends with the function that
// owns it.

struct GrowingArray<Element: BitwiseCopyable>: ~Copyable {
    private let memory: UnsafeMutablePointer<Memory>
    private(set) var elements: UnsafeMutablePointer<Element>
    private(set) var count = 0
    private var capacity = 8

    init(memory: UnsafeMutablePointer<Memory>) throws(Status) {
        guard let elements = memory.allocateArray(of: Element.self, count: capacity) else { throw .noMemory }
        self.memory = memory
        self.elements = elements
    }

    deinit { memory.deallocateArray(elements, count: capacity) }

    mutating func append(_ element: Element) throws(Status) {
        if count == capacity {
            guard let larger = memory.allocateArray(of: Element.self, count: capacity * 2) else { throw .noMemory }
            larger.update(from: elements, count: count)
            memory.deallocateArray(elements, count: capacity)
            elements = larger
            capacity *= 2
        }
        elements[count] = element
        count &+= 1
    }
}
