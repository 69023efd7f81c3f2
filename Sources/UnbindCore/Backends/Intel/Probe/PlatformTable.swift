// The Intel GPUs that are known by name: one text, read line by line, so that it costs no code and no start-up.
//
//   NAME | codename | family | graphics version | integrated or discrete | what the PCI regions are
//       device ids in hex, ascending | marketing name, if there is one
//
// Platforms by version, device lines by their first id. A device that is not here is listed all the same, as unknown.
// Where a version is written in the hardware (12.70 and later) this is the one expected; xe tells the real one.
// 0BE0, 0BE1 and 0BE5 are shared with a graphics core of 2011, whose name the lists of names give; so none here.

extension Platform {
    static var table: StaticString {
        """
        I830 | Almador (830M) | Gen2 | 2.0 | integrated | gen2
            3577 | 82830M/MG Integrated Graphics Controller
        I845G | Brookdale-G | Gen2 | 2.0 | integrated | gen2
            2562 | 82845G/GL[Brookdale-G]/GE Chipset Integrated Graphics Device
        I85X | Montara | Gen2 | 2.0 | integrated | gen2
            3582 | 82852/855GM Integrated Graphics Device
            358E | 82854 GMCH Integrated Graphics Device
        I865G | Springdale-G | Gen2 | 2.0 | integrated | gen2
            2572 | 82865G Integrated Graphics Controller
        G33 | Bearlake | Gen3 | 3.0 | integrated | gen3
            29B2 | 82Q35 Express Integrated Graphics Controller
            29C2 | 82G33/G31 Express Integrated Graphics Controller
            29D2 | 82Q33 Express Integrated Graphics Controller
        I915G | Grantsdale | Gen3 | 3.0 | integrated | gen3
            2582 | 82915G/GV/910GL Integrated Graphics Controller
            258A | E7221 Integrated Graphics Controller
        I915GM | Alviso | Gen3 | 3.0 | integrated | gen3
            2592 | Mobile 915GM/GMS/910GML Express Graphics Controller
        I945G | Lakeport | Gen3 | 3.0 | integrated | gen3
            2772 | 82945G/GZ Integrated Graphics Controller
        I945GM | Calistoga | Gen3 | 3.0 | integrated | gen3
            27A2 | Mobile 945GM/GMS, 943/940GML Express Integrated Graphics Controller
            27AE | Mobile 945GSE Express Integrated Graphics Controller
        PNV | Pineview | Gen3 | 3.0 | integrated | gen3
            A001 A011 | Atom Processor D4xx/D5xx/N4xx/N5xx Integrated Graphics Controller
        I965G | Broadwater | Gen4 | 4.0 | integrated | aperture
            2972 | 82946GZ/GL Integrated Graphics Controller
            2982 | 82G35 Express Integrated Graphics Controller
            2992 | 82Q963/Q965 Integrated Graphics Controller
            29A2 | 82G965 Integrated Graphics Controller
        I965GM | Crestline | Gen4 | 4.0 | integrated | aperture
            2A02 | Mobile GM965/GL960 Integrated Graphics Controller (primary)
            2A12 | Mobile GME965/GLE960 Integrated Graphics Controller
        G45 | Eaglelake | Gen4.5 | 4.5 | integrated | aperture
            2E02 2E12 2E22 2E32 2E42 2E92 | 4 Series Chipset Integrated Graphics Controller
        GM45 | Cantiga | Gen4.5 | 4.5 | integrated | aperture
            2A42 | Mobile 4 Series Chipset Integrated Graphics Controller
        ILK | Ironlake | Gen5 | 5.0 | integrated | aperture
            0042 0046 | Core Processor Integrated Graphics Controller
        SNB | Sandy Bridge | Gen6 | 6.0 | integrated | aperture
            0102 0106 0112 0116 0122 0126 | 2nd Generation Core Processor Family Integrated Graphics Controller
            010A | Xeon E3-1200 Processor Family Integrated Graphics Controller
        IVB | Ivy Bridge | Gen7 | 7.0 | integrated | aperture
            0152 016A | Xeon E3-1200 v2/3rd Gen Core processor Graphics Controller
            0156 0166 | 3rd Gen Core processor Graphics Controller
            015A | Xeon E3-1200 v2/Ivy Bridge Graphics Controller
            0162 | HD Graphics 4000
        VLV | Valley View (Bay Trail) | Gen7 | 7.0 | integrated | aperture
            0F30 0F32 0F33
            0F31 | Atom Processor Z36xxx/Z37xxx Series Graphics & Display
        HSW | Haswell | Gen7.5 | 7.5 | integrated | aperture
            0402 0412 | Xeon E3-1200 v3/4th Gen Core Processor Integrated Graphics Controller
            0406 | Haswell Integrated Graphics Controller
            040A 041A | Xeon E3-1200 v3 Processor Integrated Graphics Controller
            040B 040E 041B 0422 0426 042A 042B 042E 0A02 0A0A 0A0B 0A0E
            0416 | 4th Gen Core Processor Integrated Graphics Controller
            041E | 4th Generation Core Processor Family Integrated Graphics Controller
            0A06 0A16 0A22 0A26 0A2A 0A2E | Haswell-ULT Integrated Graphics Controller
            0A12 0A1A 0A1B 0A1E 0A2B 0C02 0C06 0C0A 0C0B 0C0E 0C12 0C16
            0C1A 0C1B 0C1E 0C22 0C26 0C2A 0C2B 0C2E 0D02 0D06 0D0A 0D0B
            0D0E 0D12 0D1A 0D1B 0D1E 0D22 0D2A 0D2B 0D2E
            0D16 0D26 | Crystal Well Integrated Graphics Controller
        BDW | Broadwell | Gen8 | 8.0 | integrated | aperture
            1602 160A 160B 160D 160E 161A 161B 161D 162D 162E 1632 1636 | Broadwell-U Integrated Graphics
            1606 | HD Graphics
            1612 | HD Graphics 5600
            1616 | HD Graphics 5500
            161E | HD Graphics 5300
            1622 | Iris Pro Graphics 6200
            1626 | HD Graphics 6000
            162A | Iris Pro Graphics P6300
            162B | Iris Graphics 6100
            163A 163B 163D 163E | Broadwell-U Integrated Graphics
        CHV | Cherry View (Braswell) | Gen8 LP | 8.0 | integrated | aperture
            22B0 22B1 | Atom/Celeron/Pentium Processor x5-E8000/J3xxx/N3xxx Integrated Graphics Controller
            22B2 22B3
        BXT | Broxton (Apollo Lake) | Gen9 LP | 9.0 | integrated | aperture
            0A84 1A84 1A85
            5A84 | HD Graphics 505
            5A85 | HD Graphics 500
        CFL | Coffee Lake | Gen9.5 | 9.0 | integrated | aperture
            3E90 3E93 3E9C 3EA1 | UHD Graphics 610
            3E91 3E92 3E98 3E9B | UHD Graphics 630
            3E94 3E96 3E9A | UHD Graphics P630
            3E99 3EA2 3EA3 3EA4 3EA7
            3EA0 3EA9 | UHD Graphics 620
            3EA5 3EA8 | Iris Plus Graphics 655
            3EA6 | Iris Plus Graphics 645
            87CA | UHD Graphics 617
        CML | Comet Lake | Gen9.5 | 9.0 | integrated | aperture
            9B21 | UHD Graphics 620
            9B41 9BC4 | UHD Graphics
            9BA2 9BA5 9BC2
            9BA4 9BA8 | UHD Graphics 610
            9BAA 9BAC 9BCA 9BCC | Comet Lake UHD Graphics
            9BC5 9BC8 | UHD Graphics 630
            9BC6 9BE6 9BF6 | UHD Graphics P630
        GLK | Gemini Lake | Gen9 LP | 9.0 | integrated | aperture
            3184 | UHD Graphics 605
            3185 | UHD Graphics 600
        KBL | Kaby Lake | Gen9.5 | 9.0 | integrated | aperture
            5902 5906 590B | HD Graphics 610
            5908 590A 590E 5913 5915 591A 593B
            5912 591B | HD Graphics 630
            5916 5921 | HD Graphics 620
            5917 | UHD Graphics 620
            591C | UHD Graphics 615
            591D | HD Graphics P630
            591E | HD Graphics 615
            5923 | HD Graphics 635
            5926 | Iris Plus Graphics 640
            5927 | Iris Plus Graphics 650
            87C0 | UHD Graphics 617
        SKL | Skylake | Gen9 | 9.0 | integrated | aperture
            1902 1906 190B | HD Graphics 510
            190A 190E 1913 1915 1917 191A 192A
            1912 191B | HD Graphics 530
            1916 1921 | HD Graphics 520
            191D | HD Graphics P530
            191E | HD Graphics 515
            1923 | HD Graphics 535
            1926 | Iris Graphics 540
            1927 | Iris Graphics 550
            192B | Iris Graphics 555
            192D | Iris Graphics P555
            1932 193B | Iris Pro Graphics 580
            193A 193D | Iris Pro Graphics P580
        EHL | Elkhart Lake | Gen11 | 11.0 | integrated | aperture
            4541 4551 4557 4570
            4555 | UHD Graphics Gen11 16EU
            4571 | UHD Graphics Gen11 32EU
        ICL | Ice Lake | Gen11 | 11.0 | integrated | aperture
            8A50 8A54 8A57 8A59 8A5B 8A5D 8A70 8A71
            8A51 | Iris Plus Graphics G7 (Ice Lake)
            8A52 8A53 | Iris Plus Graphics G7
            8A56 | Iris Plus Graphics G1 (Ice Lake)
            8A58 | UHD Graphics G1
            8A5A 8A5C | Iris Plus Graphics G4 (Ice Lake)
        JSL | Jasper Lake | Gen11 | 11.0 | integrated | aperture
            4E51 4E57
            4E55 4E61 4E71 | UHD Graphics
        ADL-N | Alder Lake-N (Twin Lake) | Xe-LP | 12.0 | integrated | aperture
            46D0 46D1 46D2 | Intel UHD Graphics
            46D3 46D4 | Intel Graphics
        ADL-P | Alder Lake-P | Xe-LP | 12.0 | integrated | aperture
            4626 4628 462A 46A3 46B3 46C3 | Intel UHD Graphics
            46A0 | AlderLake-P GT2
            46A1 | UHD Graphics
            46A2 46B2 46C2
            46A6 46A8 46AA | Intel Iris Xe Graphics
            46B0 46B1 46C1 | Iris Xe Graphics
            46C0 | AlderLake-M GT1
        ADL-S | Alder Lake-S | Xe-LP | 12.0 | integrated | aperture
            4680 4690 | Intel UHD Graphics 770
            4682 4692 | Intel UHD Graphics 730
            4688 468A 468B | Intel UHD Graphics
            4693 | Intel UHD Graphics 710
        RKL | Rocket Lake | Xe-LP | 12.0 | integrated | aperture
            4C80 4C8C
            4C8A | Intel UHD Graphics 750
            4C8B | Intel UHD Graphics 730
            4C90 | Intel UHD Graphics P750
            4C9A | UHD Graphics
        RPL-P | Raptor Lake-P (ADL-P graphics) | Xe-LP | 12.0 | integrated | aperture
            A720 A7A8 | Intel UHD Graphics
            A7A0 | Intel Iris Xe Graphics
            A7AA A7AB | Intel Graphics
        RPL-S | Raptor Lake-S (ADL-S graphics) | Xe-LP | 12.0 | integrated | aperture
            A780 | Intel UHD Graphics 770
            A781 A783 A789 | Raptor Lake-S UHD Graphics
            A782 | Intel UHD Graphics 730
            A788 A78A A78B | Intel UHD Graphics
        RPL-U | Raptor Lake-U (ADL-P graphics) | Xe-LP | 12.0 | integrated | aperture
            A721 A7A9 | Intel UHD Graphics
            A7A1 | Intel Iris Xe Graphics
            A7AC A7AD | Intel Graphics
        TGL | Tiger Lake | Xe-LP | 12.0 | integrated | aperture
            9A40 9A49 | Intel Iris Xe Graphics
            9A59 9AC0 9AC9 9AD9 9AF8
            9A60 9A68 9A70 9A78 | Intel UHD Graphics
        DG1 | DG1 | Xe-LP+ | 12.10 | discrete | local
            4905 | Intel Iris Xe MAX Graphics
            4906 | Iris Xe Pod
            4907 | Intel Server GPU SG-18M
            4908 | Intel Iris Xe Graphics
            4909 | Intel Iris Xe MAX 100 Graphics
        ATS-M | Arctic Sound-M (DG2) | Xe-HPG | 12.55 | discrete | local
            56C0 | Intel Data Center GPU Flex 170
            56C1 | Intel Data Center GPU Flex 140
            56C2 | Intel Data Center GPU Flex 170V
        DG2 | Alchemist | Xe-HPG | 12.55 | discrete | local
            5690 | Intel Arc A770M Graphics
            5691 | Intel Arc A730M Graphics
            5692 | Intel Arc A550M Graphics
            5693 | Intel Arc A370M Graphics
            5694 | Intel Arc A350M Graphics
            5695 | Iris Xe MAX A200M
            5696 | Intel Arc A570M Graphics
            5697 | Intel Arc A530M Graphics
            56A0 | Intel Arc A770 Graphics
            56A1 | Intel Arc A750 Graphics
            56A2 | Intel Arc A580 Graphics
            56A3 56A4
            56A5 | Intel Arc A380 Graphics
            56A6 | Intel Arc A310 LP Graphics
            56B0 | Intel Arc Pro A30M Graphics
            56B1 | Intel Arc Pro A40/A50 Graphics
            56B2 | Intel Arc Pro A60M Graphics
            56B3 | Intel Arc Pro A60 Graphics
            56BA | Intel Arc A380E Graphics
            56BB | Intel Arc A310E Graphics
            56BC | Intel Arc A370E Graphics
            56BD | Intel Arc A350E Graphics
            56BE | Intel Arc A750E Graphics
            56BF | Intel Arc A580E Graphics
        PVC | Ponte Vecchio | Xe-HPC | 12.60 | discrete | local
            0B69 | Intel Data Center GPU Max 1450
            0B6E | Intel Data Center GPU Max 1100C
            0BD4 | Intel Data Center GPU Max 1550VG
            0BD5 0BD6 | Intel Data Center GPU Max 1550
            0BD7 0BD8 | Intel Data Center GPU Max 1350
            0BD9 0BDA 0BDB | Intel Data Center GPU Max 1100
            0BE0 0BE1 0BE5
        ARL-U | Arrow Lake-U | Xe-LPG | 12.70 | integrated | stolen
            7D41 | Intel Graphics
        ARL-S | Arrow Lake-S | Xe-LPG | 12.70 | integrated | stolen
            7D67 | Intel Graphics
            B640
        MTL | Meteor Lake | Xe-LPG | 12.70 | integrated | stolen
            7D40 7D45 7DD5 | Intel Graphics
            7D55 | Intel Arc Graphics
            7D60
        ARL-H | Arrow Lake-H | Xe-LPG+ | 12.74 | integrated | stolen
            7D51 | Intel Arc Graphics
            7DD1 | Intel Graphics
        BMG-G21 | Battlemage G21 | Xe2-HPG | 20.01 | discrete | local
            E202 E20D E210 E216
            E209 E20B | Intel Arc B580 Graphics
            E20C | Intel Arc B570 Graphics
            E211 | Intel Arc Pro B60 Graphics
            E212 | Intel Arc Pro B50 Graphics
        BMG | Battlemage (non-G21) | Xe2-HPG | 20.02 | discrete | local
            E220 E221
            E222 | Intel Arc Pro B65 Graphics
            E223 | Intel Arc Pro B70 Graphics
        LNL | Lunar Lake | Xe2-LPG | 20.04 | integrated | stolen
            6420 64B0 | Intel Graphics
            64A0 | Intel Arc Graphics
        PTL | Panther Lake | Xe3-LPG | 30.00 | integrated | stolen
            B080 B082 | Intel Arc B390 GPU
            B081 B083 | Intel Arc B370 GPU
            B084 B085 B086 B087 B0B0
            B08F B090 B0A0 | Intel Graphics
        WCL | Wildcat Lake | Xe3-LPG | 30.03 | integrated | stolen
            FD80 FD81 | Intel Graphics
        NVL-S | Nova Lake-S | Xe3-LPG | 30.04 | integrated | stolen
            D740 D741 D742 D743 D744 D745 D74A D74B
        NVL-P | Nova Lake-P | Xe3p-LPG | 35.10 | integrated | stolen
            D750 D751 D752 D753 D754 D755 D756 D757 D75F
        CRI | Crescent Island | Xe3p-XPC | 35.11 | discrete | local
            674C 674D 674E 674F 6750
        """
    }
}
