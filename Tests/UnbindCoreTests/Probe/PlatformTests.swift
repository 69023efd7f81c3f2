import Testing

@testable import UnbindCore

extension TextSlice {
    var string: String { String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self) }
}

/// The table, read by other means than the library's.
private struct TableLine {
    let platform: [String]
    let ids: [UInt16]
    let name: String

    static let all: [TableLine] = {
        var lines: [TableLine] = []
        var platform: [String] = []
        for line in TextSlice(Platform.table).string.split(separator: "\n") {
            let columns = line.split(separator: "|").map { $0.drop { $0 == " " } }
                .map { String($0.reversed().drop { $0 == " " }.reversed()) }
            if line.hasPrefix("    ") {
                let ids = columns[0].split(separator: " ").map { UInt16($0, radix: 16) ?? 0 }
                lines.append(TableLine(platform: platform, ids: ids, name: columns.count > 1 ? columns[1] : ""))
            } else {
                platform = columns
            }
        }
        return lines
    }()
}

@Suite struct PlatformTests {
    @Test("every id stands in the table once, in lines of ascending ids")
    func sorted() {
        var seen: Set<UInt16> = []
        for line in TableLine.all {
            #expect(!line.ids.isEmpty && line.ids == line.ids.sorted() && !line.ids.contains(0))
            for id in line.ids { #expect(seen.insert(id).inserted, "\(String(id, radix: 16))") }
        }
        #expect(seen.count == 429)
        let platforms = Dictionary(grouping: TableLine.all) { $0.platform[0] }
        for (name, lines) in platforms {
            let firsts = lines.map { $0.ids[0] }
            #expect(firsts == firsts.sorted(), "\(name)")
        }
        #expect(platforms.count == 54)
    }

    @Test("platforms stand in the order of their versions, with columns that mean something")
    func columns() {
        var last: (Int, Int) = (0, 0)
        for line in TableLine.all {
            #expect(line.platform.count == 6)
            let version = line.platform[3].split(separator: ".").compactMap { Int($0) }
            #expect(version.count == 2)
            #expect((version[0], version[1]) >= last, "\(line.platform)")
            last = (version[0], version[1])
            #expect(["integrated", "discrete"].contains(line.platform[4]))
            #expect(["gen2", "gen3", "aperture", "stolen", "local"].contains(line.platform[5]))
            #expect((line.platform[4] == "discrete") == (line.platform[5] == "local"))
        }
    }

    @Test("every id is found with what its line says, in texts that fit the struct")
    func lookup() {
        for line in TableLine.all {
            for id in line.ids {
                guard let found = Platform.find(id) else {
                    Issue.record("\(String(id, radix: 16)) is not found")
                    continue
                }
                #expect(found.name.string == line.platform[0] && found.codename.string == line.platform[1])
                #expect(found.family.string == line.platform[2] && found.product.string == line.name)
                #expect("\(found.versionMajor).\(found.versionMinor)" == Self.plain(line.platform[3]))
                #expect((found.type == .discrete) == (line.platform[4] == "discrete") && found.type != .unknown)
                #expect(found.name.count < 16 && found.codename.count < 40)
                #expect(found.family.count < 16 && found.product.count < 96)
            }
        }
    }

    /// 20.01 as numbers.
    private static func plain(_ version: String) -> String {
        version.split(separator: ".").map { String(Int($0)!) }.joined(separator: ".")
    }

    @Test("what is not in the table is not found")
    func unknown() {
        let known = Set(TableLine.all.flatMap(\.ids))
        for id in UInt16.min ... UInt16.max where id % 7 == 0 && !known.contains(id) {
            #expect(Platform.find(id) == nil)
        }
        #expect(Platform.find(0) == nil && Platform.find(0xffff) == nil)
    }

    @Test("a few that everybody knows")
    func spotChecks() {
        let expected: [(UInt16, String)] = [
            (0x3577, "I830 Gen2 2.0 integrated 82830M/MG Integrated Graphics Controller"),
            (0x1916, "SKL Gen9 9.0 integrated HD Graphics 520"),
            (0x9a49, "TGL Xe-LP 12.0 integrated Intel Iris Xe Graphics"),
            (0x4680, "ADL-S Xe-LP 12.0 integrated Intel UHD Graphics 770"),
            (0x56a0, "DG2 Xe-HPG 12.55 discrete Intel Arc A770 Graphics"),
            (0x64a0, "LNL Xe2-LPG 20.4 integrated Intel Arc Graphics"),
            (0xe20b, "BMG-G21 Xe2-HPG 20.1 discrete Intel Arc B580 Graphics"),
            (0x0bd5, "PVC Xe-HPC 12.60 discrete Intel Data Center GPU Max 1550"),
            // This id is also that of a graphics core of 2011: no name is better than a wrong one.
            (0x0be0, "PVC Xe-HPC 12.60 discrete "),
        ]
        for (id, text) in expected {
            let found = Platform.find(id)
            #expect(
                found.map {
                    "\($0.name.string) \($0.family.string) \($0.versionMajor).\($0.versionMinor) \($0.type) "
                        + $0.product.string
                } == text)
        }
    }

    @Test("regions are what the generation made of them")
    func regions() {
        func kinds(_ id: UInt16) -> [RegionKind] { (0..<6).map { Platform.find(id)!.regions.kind(of: $0) } }
        #expect(kinds(0x2562) == [.aperture, .registers, .other, .other, .other, .other])
        #expect(kinds(0x29c2) == [.registers, .other, .aperture, .pageTable, .other, .other])
        #expect(kinds(0x9a49) == [.registers, .other, .aperture, .other, .other, .other])
        #expect(kinds(0x56a0) == [.registers, .other, .localMemory, .other, .other, .other])
        #expect(kinds(0x64a0) == [.registers, .other, .stolenMemory, .other, .other, .other])
        #expect((0..<6).allSatisfy { RegionLayout.unknown.kind(of: $0) == .other })
    }
}
