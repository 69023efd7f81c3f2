// A view as the model sees it: which page of the buffer each of its pages shows.

import CUnbind

struct SimulationView {
    var native: unbind_view
    /// Nil: padding.
    var pages: [Int?]

    var size: UInt64 { UInt64(pages.count) * 0x1000 }
    var mappedBytes: UInt64 { UInt64(pages.count { $0 != nil }) * 0x1000 }

    func bufferOffset(of offset: UInt64) -> UInt64? {
        pages[Int(offset / 0x1000)].map { UInt64($0) * 0x1000 + offset % 0x1000 }
    }

    /// A random view of a buffer of so many bytes; nil if there is none in a VM of that page size.
    static func any(of bytes: Int, page: UInt64, hasPlanes: Bool, _ random: inout SimulationRandom) -> SimulationView? {
        var view = makeHeaderStruct(unbind_view())
        let count = bytes / 0x1000
        if page != 0x1000 || !hasPlanes || random.chance(40) {
            let unit = Int(page) / 0x1000
            let units = count / unit
            if units < 2 { return nil }
            let offset = random.below(units - 1)
            let length = 1 + random.below(units - 1 - offset)
            view.type = UInt32(UNBIND_VIEW_PARTIAL)
            view.offset = UInt64(offset) * page
            view.size = UInt64(length) * page
            let pages = (offset * unit..<(offset + length) * unit).map { Optional($0) }
            return SimulationView(native: view, pages: pages)
        }
        let isRotated = random.chance(50)
        view.type = UInt32(isRotated ? UNBIND_VIEW_ROTATED : UNBIND_VIEW_REMAPPED)
        view.plane_count = UInt32(1 + random.below(2))
        var pages: [Int?] = []
        for index in 0..<Int(view.plane_count) {
            let stride = 1 + random.below(min(count, 6))
            let height = 1 + random.below(min(count / stride, 4))
            let width = 1 + random.below(stride)
            let offset = random.below(count - (stride * (height - 1) + width) + 1)
            let padding = random.below(3)
            var plane = unbind_view_plane()
            (plane.offset, plane.width, plane.height) = (UInt32(offset), UInt32(width), UInt32(height))
            plane.src_stride = UInt32(stride)
            plane.dst_stride = UInt32((isRotated ? height : width) + padding)
            if index == 0 { view.planes.0 = plane } else { view.planes.1 = plane }
            for line in 0..<(isRotated ? width : height) {
                for place in 0..<(isRotated ? height : width) {
                    let (row, column) = isRotated ? (height - 1 - place, line) : (line, place)
                    pages.append(offset + row * stride + column)
                }
                pages += Array(repeating: nil, count: padding)
            }
        }
        return SimulationView(native: view, pages: pages)
    }
}
