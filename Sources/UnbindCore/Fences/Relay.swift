// Relay: what a signal sets off in fences that are made of fences, one after the other instead of one inside the other.
//
// An array of arrays of arrays, or a timeline whose points await points of another, may be a hundred thousand deep. So
// a callback that finds its fence complete does not signal it: it hands that over to the relay of its thread, which
// runs when the callbacks of the signal under way have run, and before that signal returns. Freeing goes the same way.
//
// A relay lives on the stack of whoever opened it. The thread has at most one that is filled: opening another one (a
// user's callback signals a fence) puts the first aside until the inner one is empty.

import CSystem

/// Embedded in the object that it is about; on one relay at a time.
struct RelayItem {
    typealias Function = @convention(c) (_ context: UnsafeMutableRawPointer) -> Void

    fileprivate var next: UnsafeMutablePointer<RelayItem>?
    fileprivate var function: Function?
    fileprivate var context: UnsafeMutableRawPointer?

    init() {}
}

typealias RelayItemPointer = UnsafeMutablePointer<RelayItem>

struct Relay {
    private var first: RelayItemPointer?
    private var last: RelayItemPointer?

    private init() {}

    /// Runs `body`, then whatever it handed over, and whatever that handed over.
    @inline(__always)
    static func open(_ body: () -> Void) {
        let word = csys_thread_relay()!
        let outer = word.pointee
        var relay = Relay()
        withUnsafeMutablePointer(to: &relay) { relay in
            word.pointee = UnsafeMutableRawPointer(relay)
            body()
            relay.drain()
        }
        word.pointee = outer
    }

    /// Calls `function(context)` when its turn comes: at once and within this call, if no relay is open on this thread.
    ///
    /// - Ownership: the item stays in place until then.
    static func hand(
        _ item: RelayItemPointer, context: UnsafeMutableRawPointer, _ function: @escaping RelayItem.Function
    ) {
        guard let open = csys_thread_relay()!.pointee else {
            Relay.open { function(context) }
            return
        }
        item.pointee.next = nil
        item.pointee.function = function
        item.pointee.context = context
        open.assumingMemoryBound(to: Relay.self).append(item)
    }
}

extension UnsafeMutablePointer where Pointee == Relay {
    fileprivate func append(_ item: RelayItemPointer) { pointee.append(item) }

    fileprivate func drain() {
        while let item = pointee.takeFirst() {
            // Copied first: the function may free the item.
            let (function, context) = (item.pointee.function!, item.pointee.context!)
            function(context)
        }
    }
}

extension Relay {
    fileprivate mutating func append(_ item: RelayItemPointer) {
        if let last { last.pointee.next = item } else { first = item }
        last = item
    }

    fileprivate mutating func takeFirst() -> RelayItemPointer? {
        guard let item = first else { return nil }
        first = item.pointee.next
        if first == nil { last = nil }
        return item
    }
}
