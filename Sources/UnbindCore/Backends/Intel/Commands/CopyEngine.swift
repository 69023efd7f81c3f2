// CopyEngine: which commands the copy engine of a platform has for moving and filling memory.
//
// By the version of the graphics (12.55 is 1255), as facts about the hardware give it: the old blitter's commands went
// with Meteor Lake, those of the new one came with Ponte Vecchio and Xe2. None of it has been tried on hardware.

struct CopyEngine: BitwiseCopyable {
    enum Copy {
        /// XY_SRC_COPY_BLT for every byte address, and XY_FAST_COPY_BLT for aligned rows where there is one.
        case rectangles
        /// XY_BLOCK_COPY_BLT in its long form.
        case blocks
        /// MEM_COPY.
        case bytes
    }

    enum Fill {
        /// XY_COLOR_BLT.
        case rectangles
        /// XY_FAST_COLOR_BLT in its long form.
        case fastRectangles
        /// MEM_SET for one byte over and over. Other patterns grow by copies of what there is of them: the long
        /// XY_FAST_COLOR_BLT would do, but wants to know which memory is behind an address.
        case bytes
    }

    let copy: Copy
    let fill: Fill
    let hasFastCopy: Bool
    /// Bits 31 and 30 of XY_FAST_COPY_BLT's second word.
    let marksFastCopy: Bool
    /// Fast copies of few rows, three more than a multiple of four, go wrong (erratum 1209644611).
    let hasRowErratum: Bool
    /// The entry of the table of memory object controls that means uncached, and its lowest bit in MEM_SET.
    let uncachedIndex: UInt32
    let setIndexShift: UInt32

    /// nil: no address space of the GPU's generation is of use here.
    init?(version: UInt32) {
        switch version {
        case 800..<1260:
            self.init(copy: .rectangles, fill: .rectangles, version: version, uncachedIndex: 0)
        case 1260..<1270:
            self.init(copy: .bytes, fill: .bytes, version: version, uncachedIndex: 1)
        case 1270..<2000:
            self.init(copy: .blocks, fill: .fastRectangles, version: version, uncachedIndex: 9)
        case 2000...:
            self.init(copy: .bytes, fill: .bytes, version: version, uncachedIndex: 3)
        default: return nil
        }
    }

    private init(copy: Copy, fill: Fill, version: UInt32, uncachedIndex: UInt32) {
        self.copy = copy
        self.fill = fill
        hasFastCopy = copy == .rectangles && version >= 900
        marksFastCopy = version >= 1250
        hasRowErratum = version / 100 == 11
        self.uncachedIndex = uncachedIndex
        setIndexShift = version >= 2000 ? 3 : 1
    }
}
