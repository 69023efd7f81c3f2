// AddressOrder: sorting what is linked in a list by address, in place and without memory or recursion.
//
// Merges runs of 1, 2, 4... elements, so that a million of them take twenty passes; a list that is in order already
// takes one.

/// What can be in such a list.
protocol AddressOrdered: ~Copyable {
    static func address(of element: UnsafeMutablePointer<Self>) -> UInt64
    static func next(of element: UnsafeMutablePointer<Self>) -> UnsafeMutablePointer<Self>?
    static func setNext(of element: UnsafeMutablePointer<Self>, to next: UnsafeMutablePointer<Self>?)
}

enum AddressOrder {
    /// The same elements, in order of their addresses. Equal ones stay in the order in which they are.
    static func sorted<Element: AddressOrdered & ~Copyable>(
        _ first: UnsafeMutablePointer<Element>?
    ) -> UnsafeMutablePointer<Element>? {
        var list = first
        var length = 1
        while !isSorted(list) {
            list = mergingRuns(of: length, in: list)
            length *= 2
        }
        return list
    }

    private static func isSorted<Element: AddressOrdered & ~Copyable>(
        _ first: UnsafeMutablePointer<Element>?
    ) -> Bool {
        guard var element = first else { return true }
        while let next = Element.next(of: element) {
            if Element.address(of: next) < Element.address(of: element) { return false }
            element = next
        }
        return true
    }

    /// One pass: each two neighbouring runs of so many elements become one.
    private static func mergingRuns<Element: AddressOrdered & ~Copyable>(
        of length: Int, in first: UnsafeMutablePointer<Element>?
    ) -> UnsafeMutablePointer<Element>? {
        var merged: UnsafeMutablePointer<Element>?
        var last: UnsafeMutablePointer<Element>?
        var rest = first
        while rest != nil {
            var left = rest
            var (leftCount, right) = (0, rest)
            while leftCount < length, let element = right {
                right = Element.next(of: element)
                leftCount += 1
            }
            var rightCount = length
            while leftCount > 0 || (rightCount > 0 && right != nil) {
                let takesLeft: Bool
                if leftCount == 0 {
                    takesLeft = false
                } else if rightCount > 0, let right {
                    takesLeft = Element.address(of: left!) <= Element.address(of: right)
                } else {
                    takesLeft = true
                }
                let taken = takesLeft ? left! : right!
                if takesLeft {
                    left = Element.next(of: taken)
                    leftCount -= 1
                } else {
                    right = Element.next(of: taken)
                    rightCount -= 1
                }
                if let last { Element.setNext(of: last, to: taken) } else { merged = taken }
                last = taken
            }
            rest = right
        }
        if let last { Element.setNext(of: last, to: nil) }
        return merged
    }
}
