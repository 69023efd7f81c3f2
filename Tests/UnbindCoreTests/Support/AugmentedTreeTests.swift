import Testing

@testable import UnbindCore

/// A node that knows how many there are in its subtree.
private struct CountedNode {
    var links = TreeLinks()
    var key = 0
    var nodesBelow = 0
}

private enum CountRule: TreeRule {
    static func node(of links: TreeLinksPointer) -> UnsafeMutablePointer<CountedNode> {
        UnsafeMutableRawPointer(links).assumingMemoryBound(to: CountedNode.self)
    }

    static func precedes(_ links: TreeLinksPointer, _ other: TreeLinksPointer) -> Bool {
        node(of: links).pointee.key < node(of: other).pointee.key
    }

    static func refresh(_ links: TreeLinksPointer) -> Bool {
        var count = 1
        if let left = links.pointee.left { count += node(of: left).pointee.nodesBelow }
        if let right = links.pointee.right { count += node(of: right).pointee.nodesBelow }
        defer { node(of: links).pointee.nodesBelow = count }
        return node(of: links).pointee.nodesBelow != count
    }
}

private final class CountedTree {
    let tree = UnsafeMutablePointer<AugmentedTree<CountRule>>.allocate(capacity: 1)
    let nodes: UnsafeMutablePointer<CountedNode>
    let capacity: Int

    init(keys: [Int]) {
        tree.initialize(to: AugmentedTree())
        capacity = keys.count
        nodes = .allocate(capacity: keys.count)
        for (index, key) in keys.enumerated() { (nodes + index).initialize(to: CountedNode(key: key)) }
    }

    deinit {
        tree.deallocate()
        nodes.deallocate()
    }

    func links(_ index: Int) -> TreeLinksPointer {
        UnsafeMutableRawPointer(nodes + index).assumingMemoryBound(to: TreeLinks.self)
    }

    var keys: [Int] {
        var keys: [Int] = []
        var place = tree.leftmostNode()
        while let node = place {
            keys.append(CountRule.node(of: node).pointee.key)
            place = node.neighbor(.right)
        }
        return keys
    }

    var height: Int {
        func height(_ node: TreeLinksPointer?) -> Int {
            guard let node else { return 0 }
            return 1 + max(height(node.pointee.left), height(node.pointee.right))
        }
        return height(tree.pointee.root)
    }
}

@Suite struct AugmentedTreeTests {
    @Test("every order of inserting and of removing up to six nodes leaves a sound tree")
    func everySmallShape() {
        for count in 1...6 {
            let orders = permutations(of: count)
            for order in orders {
                let tree = CountedTree(keys: Array(0..<count))
                for removal in count < 6 ? orders : [order, order.reversed()] {
                    for index in order {
                        tree.tree.insert(tree.links(index))
                        _ = tree.tree.checkInvariants()
                    }
                    var left = Set(0..<count)
                    for index in removal {
                        tree.tree.remove(tree.links(index))
                        left.remove(index)
                        precondition(tree.tree.checkInvariants() == left.count)
                        precondition(tree.keys == left.sorted())
                    }
                    precondition(tree.tree.pointee.root == nil)
                }
            }
        }
    }

    @Test("a sorted sequence gives a tree no higher than an AVL tree")
    func sortedInsertions() {
        let count = 4096
        for ascending in [true, false] {
            let tree = CountedTree(keys: Array(0..<count))
            for index in 0..<count { tree.tree.insert(tree.links(ascending ? index : count - 1 - index)) }
            #expect(tree.tree.checkInvariants() == count)
            #expect(tree.height <= 17)
            for index in 0..<(count - 64) { tree.tree.remove(tree.links(ascending ? index : count - 1 - index)) }
            #expect(tree.tree.checkInvariants() == 64)
            #expect(tree.height <= 13)
        }
    }

    @Test("of equal nodes the one inserted later comes later")
    func equalNodes() {
        let tree = CountedTree(keys: Array(repeating: 7, count: 100))
        for index in 0..<100 { tree.tree.insert(tree.links(index)) }
        var place = tree.tree.leftmostNode()
        for index in 0..<100 {
            #expect(place == tree.links(index))
            place = place?.neighbor(.right)
        }
        #expect(place == nil)
    }

    @Test("random insertions and removals agree with a sorted array", arguments: 0..<20)
    func randomSteps(seed: Int) {
        var random = RandomSource(seed: UInt64(seed))
        let count = 1 + random.next(below: 200)
        let tree = CountedTree(keys: (0..<count).map { _ in random.next(below: 50) })
        var inside = Set<Int>()
        for step in 0..<1000 {
            let index = random.next(below: count)
            if inside.remove(index) != nil {
                tree.tree.remove(tree.links(index))
                precondition(!tree.links(index).isLinked)
            } else {
                tree.tree.insert(tree.links(index))
                inside.insert(index)
            }
            if step % 50 == 0 {
                precondition(tree.tree.checkInvariants() == inside.count)
                precondition(tree.keys == inside.map { tree.nodes[$0].key }.sorted())
            }
        }
    }

    private func permutations(of count: Int) -> [[Int]] {
        if count == 0 { return [[]] }
        return permutations(of: count - 1).flatMap { shorter in
            (0..<count).map { position in
                var order = shorter
                order.insert(count - 1, at: position)
                return order
            }
        }
    }
}
