// memberPointer: from an object to a part of it that is linked into a list, a heap or a tree.

/// Where a stored property lives, without a formal access to it: taking `&p.pointee.member` of something that other
/// threads use would count as a write of it for ThreadSanitizer. `offset` is the property's offset, which the unit
/// tests compare with the compiler's layout.
@inline(__always)
func memberPointer<Base: ~Copyable, Member: ~Copyable>(
    of base: UnsafeMutablePointer<Base>, at offset: Int, as type: Member.Type
) -> UnsafeMutablePointer<Member> {
    (UnsafeMutableRawPointer(base) + offset).assumingMemoryBound(to: Member.self)
}
