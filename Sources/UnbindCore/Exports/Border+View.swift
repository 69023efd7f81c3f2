// Border: how a C view becomes the core's.

import CUnbind

/// A view of the buffer in that VM; NULL: all of it as it is. A part that is the whole is the same.
func checkedViewLayout(
    _ pointer: UnsafePointer<unbind_view>?, vm: VMPointer, bo: BufferObjectPointer
) throws(Status) -> ViewLayout {
    var layout = ViewLayout()
    guard let pointer else { return layout }
    let view = try read(pointer, zero: unbind_view())
    guard let kind = ViewKind(rawValue: view.type) else { throw Status.invalid }
    let alignment = vm.pointee.alignment
    switch kind {
    case .normal:
        guard view.offset == 0, view.size == 0, view.plane_count == 0 else { throw Status.invalid }
        return layout
    case .partial:
        guard view.plane_count == 0, view.size != 0, isAligned(view.offset | view.size, to: alignment),
            view.offset <= bo.size, view.size <= bo.size - view.offset
        else { throw Status.invalid }
        if view.size == bo.size { return layout }
        layout.offset = view.offset
        layout.size = view.size
    case .rotated, .remapped:
        guard view.offset == 0, view.size == 0, alignment == pageSize, !vm.pointee.options.hasTableModes else {
            throw Status.invalid
        }
        try addPlanes(of: view, kind: kind, bufferPages: bo.size / pageSize, to: &layout)
        if layout.size > vm.pointee.options.size { throw Status.noDevice }
    }
    layout.kind = kind
    return layout
}

private func addPlanes(
    of view: unbind_view, kind: ViewKind, bufferPages: UInt64, to layout: inout ViewLayout
) throws(Status) {
    guard view.plane_count != 0, view.plane_count <= UInt32(ViewLayout.planeLimit) else { throw Status.invalid }
    let planes = view.planes
    var pages: UInt64 = 0
    for index in 0..<Int(view.plane_count) {
        let raw = index == 0 ? planes.0 : index == 1 ? planes.1 : index == 2 ? planes.2 : planes.3
        let plane = ViewPlane(
            offset: raw.offset, width: raw.width, height: raw.height, sourceStride: raw.src_stride,
            targetStride: raw.dst_stride)
        guard raw.reserved == 0, let more = ViewLayout.pages(of: plane, kind: kind, bufferPages: bufferPages) else {
            throw Status.invalid
        }
        pages = pages.addingSaturating(more)
        layout.set(plane, at: index)
    }
    layout.planeCount = Int(view.plane_count)
    layout.size = pages.multipliedSaturating(by: pageSize)
}
