// BatchWriter: copies and fills of linear memory by a copy engine.
//
// The rectangles of the blitters are used as rows of 4 KiB that follow each other, 8 MiB a command as the kernel's own
// copies do, with the rest as a row of its own. Where a command wants its base at a multiple of 64, the rectangle
// begins that much to the right.

private let rowBytes: UInt64 = 4096
private let mostRows: UInt64 = 2048
private let mostBytes = rowBytes * mostRows
private let baseAlignment: UInt64 = 64

/// What one command does of a copy or fill: rows that are 4 KiB apart.
private struct Piece {
    let offset: UInt64
    let width: UInt32
    let rows: UInt32

    /// The piece at this offset of so many bytes.
    init(at offset: UInt64, of size: UInt64) {
        self.offset = offset
        let left = size &- offset
        width = UInt32(min(left, rowBytes))
        rows = left < rowBytes ? 1 : UInt32(min(left / rowBytes, mostRows))
    }

    var bytes: UInt64 { UInt64(width) &* UInt64(rows) }
}

extension BatchWriter {
    /// Copies bytes; the ranges do not overlap.
    /// - Failure: .tooBig: the batch would be longer than any may be.
    mutating func copy(
        from source: UInt64, to destination: UInt64, size: UInt64, engine: CopyEngine
    ) throws(Status) {
        var offset: UInt64 = 0
        while offset < size {
            if count > Self.limit { throw .tooBig }
            if engine.copy == .bytes {
                let bytes = min(size &- offset, mostBytes)
                memoryCopy(from: source &+ offset, to: destination &+ offset, size: bytes, engine: engine)
                offset &+= bytes
                continue
            }
            let piece = Piece(at: offset, of: size)
            if engine.copy == .blocks {
                blockCopy(piece, from: source &+ offset, to: destination &+ offset, engine: engine)
            } else if suitsFastCopy(piece, (source | destination) &+ offset, engine) {
                fastCopy(piece, from: source &+ offset, to: destination &+ offset, engine: engine)
            } else {
                sourceCopy(piece, from: source &+ offset, to: destination &+ offset)
            }
            offset &+= piece.bytes
        }
    }

    /// Writes a pattern of 32 bits; address and size are multiples of 4.
    /// - Failure: .tooBig: the batch would be longer than any may be.
    mutating func fill(_ address: UInt64, size: UInt64, with pattern: UInt32, engine: CopyEngine) throws(Status) {
        let isOneByte = pattern == (pattern & 0xff) &* 0x0101_0101
        if engine.fill == .bytes, !isOneByte {
            try fillByCopying(address, size: size, with: pattern, engine: engine)
            return
        }
        var offset: UInt64 = 0
        while offset < size {
            if count > Self.limit { throw .tooBig }
            if engine.fill == .bytes {
                let bytes = min(size &- offset, mostBytes)
                memorySet(address &+ offset, size: bytes, to: pattern & 0xff, engine: engine)
                offset &+= bytes
                continue
            }
            let piece = Piece(at: offset, of: size)
            if engine.fill == .rectangles {
                color(piece, address &+ offset, pattern)
            } else {
                fastColor(piece, address &+ offset, pattern, engine)
            }
            offset &+= piece.bytes
        }
    }

    /// Sixteen words are stored, and what there is of the pattern is copied behind itself until it is all there.
    private mutating func fillByCopying(
        _ address: UInt64, size: UInt64, with pattern: UInt32, engine: CopyEngine
    ) throws(Status) {
        var done: UInt64 = 0
        while done < min(size, 64) {
            store(pattern, at: address &+ done)
            done &+= 4
        }
        while done < size {
            if count > Self.limit { throw .tooBig }
            // What is copied has to be there. From 8 MiB on the first 8 MiB, which are, serve all that follows.
            if done <= mostBytes { flush(.copy) }
            let bytes = min(done, size &- done, mostBytes)
            memoryCopy(from: address, to: address &+ done, size: bytes, engine: engine)
            done &+= bytes
        }
    }

    // MARK: Single commands

    private func suitsFastCopy(_ piece: Piece, _ addresses: UInt64, _ engine: CopyEngine) -> Bool {
        guard engine.hasFastCopy, piece.width == rowBytes, isAligned(addresses, to: baseAlignment) else { return false }
        return !(engine.hasRowErratum && piece.rows <= 8 && piece.rows % 4 == 3)
    }

    /// The corner that a rectangle begins at, so that its base is at a multiple of 64, in units of 1 << shift bytes.
    private func corner(_ address: UInt64, shift: UInt32 = 0) -> UInt32 {
        UInt32(address & (baseAlignment &- 1)) &>> shift
    }

    private func base(_ address: UInt64) -> UInt64 { roundDown(address, to: baseAlignment) }

    /// XY_SRC_COPY_BLT at 8 bits a pixel.
    private mutating func sourceCopy(_ piece: Piece, from source: UInt64, to destination: UInt64) {
        put(0x54c0_0008)
        put(0xcc &<< 16 | UInt32(rowBytes))
        put(corner(destination))
        put(piece.rows &<< 16 | corner(destination) &+ piece.width)
        put(address: base(destination))
        put(corner(source))
        put(UInt32(rowBytes))
        put(address: base(source))
    }

    /// XY_FAST_COPY_BLT at 32 bits a pixel.
    private mutating func fastCopy(
        _ piece: Piece, from source: UInt64, to destination: UInt64, engine: CopyEngine
    ) {
        put(0x5080_0008)
        put((engine.marksFastCopy ? 3 &<< 30 : 0) | 3 &<< 24 | UInt32(rowBytes))
        put(0)
        put(piece.rows &<< 16 | piece.width / 4)
        put(address: destination)
        put(0)
        put(UInt32(rowBytes))
        put(address: source)
    }

    /// XY_BLOCK_COPY_BLT at 8 bits a pixel, between linear surfaces of system memory.
    private mutating func blockCopy(
        _ piece: Piece, from source: UInt64, to destination: UInt64, engine: CopyEngine
    ) {
        let pitch = engine.uncachedIndex &<< 22 | (UInt32(rowBytes) &- 1)
        put(0x5040_0014)
        put(pitch)
        put(corner(destination))
        put(piece.rows &<< 16 | corner(destination) &+ piece.width)
        put(address: base(destination))
        put(1 &<< 31)
        put(corner(source))
        put(pitch)
        put(address: base(source))
        put(1 &<< 31)
        for _ in 0..<4 { put(0) }
        putSurface(width: corner(destination) &+ piece.width, height: piece.rows)
        putSurface(width: corner(source) &+ piece.width, height: piece.rows)
    }

    /// The three words that describe a two-dimensional surface, in pixels.
    private mutating func putSurface(width: UInt32, height: UInt32) {
        put(1 &<< 29 | (width &- 1) &<< 14 | (height &- 1))
        put(0)
        put(0)
    }

    /// MEM_COPY of up to 8 MiB.
    private mutating func memoryCopy(
        from source: UInt64, to destination: UInt64, size: UInt64, engine: CopyEngine
    ) {
        put(0x5680_0008)
        put(UInt32(size) &- 1)
        put(0)
        put(0)
        put(0)
        put(address: source)
        put(address: destination)
        put(engine.uncachedIndex &<< 28 | engine.uncachedIndex &<< 3)
    }

    /// XY_COLOR_BLT at 32 bits a pixel.
    private mutating func color(_ piece: Piece, _ address: UInt64, _ pattern: UInt32) {
        put(0x5430_0005)
        put(3 &<< 24 | 0xf0 &<< 16 | UInt32(rowBytes))
        put(corner(address, shift: 2))
        put(piece.rows &<< 16 | corner(address, shift: 2) &+ piece.width / 4)
        put(address: base(address))
        put(pattern)
    }

    /// XY_FAST_COLOR_BLT at 32 bits a pixel, in system memory.
    private mutating func fastColor(_ piece: Piece, _ address: UInt64, _ pattern: UInt32, _ engine: CopyEngine) {
        put(0x5110_000e)
        put(engine.uncachedIndex &<< 22 | (UInt32(rowBytes) &- 1))
        put(corner(address, shift: 2))
        put(piece.rows &<< 16 | corner(address, shift: 2) &+ piece.width / 4)
        put(address: base(address))
        put(1 &<< 31)
        put(pattern)
        for _ in 0..<5 { put(0) }
        putSurface(width: corner(address, shift: 2) &+ piece.width / 4, height: piece.rows)
    }

    /// MEM_SET of up to 8 MiB with one byte.
    private mutating func memorySet(_ address: UInt64, size: UInt64, to byte: UInt32, engine: CopyEngine) {
        put(0x56c0_0005)
        put(UInt32(size) &- 1)
        put(0)
        put(0)
        put(address: address)
        put(byte &<< 24 | engine.uncachedIndex &<< engine.setIndexShift)
    }
}
