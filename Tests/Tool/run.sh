#!/bin/bash
# Runs unbindctl on small captures and compares exit status and output.
#
#   UNBINDCTL=path/to/unbindctl Tests/Tool/run.sh
#
# Each case: a name, the expected exit status, a regular expression that stdout and stderr together
# must match, and the arguments. Captures are made here; none is needed from elsewhere.

set -u
tool=${UNBINDCTL:?UNBINDCTL must name the tool}
mock=$(cd "$(dirname "$0")/../Mock" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
passed=0
failed=0

report() { # name, ok, detail
    if [ "$2" = yes ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n%s\n' "$1" "$3" >&2
    fi
}

expect() { # name, exit status, pattern, arguments...
    local name=$1 status=$2 pattern=$3 output actual ok=yes
    shift 3
    output=$("$tool" "$@" 2>&1 </dev/null)
    actual=$?
    [ "$actual" = "$status" ] || ok=no
    grep -Eq -- "$pattern" <<<"$output" || ok=no
    report "$name" $ok "  exit $actual, expected $status; output must match: $pattern
$output"
}

same() { # name, file, file
    local ok=yes
    cmp -s "$2" "$3" || ok=no
    report "$1" $ok "$(diff "$2" "$3")"
}

is() { # name, command...
    local name=$1 ok=yes output
    shift
    output=$("$@" 2>&1) || ok=no
    report "$name" $ok "$output"
}

events='time_ns,event,vm,object,start,size,extra'
snapshot='start,size,last_use_seqno,flags,source_line_no'

# --- captures

cat >reuse.csv <<END
# a buffer is freed while the GPU works, its range and another one are bound at once
$events
1000,va_alloc,p,,0x100000000,65536,
2000,resource_bind,p,0xabc,0x100001000,32,
3000,va_alloc,p,,0x200000000,4096,
2004000,va_free,p,,0x100000000,,
2004100,va_alloc,p,,0x300000000,4096,
2004200,va_alloc,p,,0x100000000,65536,
2005000,residency_add,p,0xabc,,,
2006000,va_free,p,,0x200000000,,
END
cat >clock.csv <<END
$events
5000000,submit,0,1,,,stream=7;kind=kernel
5001000,gpu_start,0,1,,,stream=7;kind=kernel
5002000,submit,0,2,,,stream=8;kind=kernel
8000000,gpu_complete,0,1,,,stream=7;kind=kernel
9000000,gpu_complete,0,2,,,stream=8;kind=kernel
END
cat >pages.csv <<END
$events
10,pt_map,p,0x0,0x10000,8192,type=update
20,pt_map,p,0x0,0x12000,4096,type=update
30,pt_unmap,p,0x0,0x10000,8192,type=update
40,pt_map,p,0x0,0x10000,4096,type=update
5000000000,pt_unmap,p,0x0,0x12000,4096,type=update
END
cat >splits.csv <<END
# mapped in one piece, unmapped in its middle, the hole mapped again from the same place; over another mapping; and nothing
$events
10,pt_map,p,0x100000,0x10000,65536,type=update
20,pt_unmap,p,,0x14000,8192,type=update
20,pt_unmap,p,,0x18000,4096,type=update
30,pt_map,p,0x104000,0x14000,8192,type=update
40,pt_map,p,0x900000,0x1e000,16384,type=update
40,pt_map,p,0x904000,0x22000,4096,type=update
50,pt_unmap,p,,0x80000,4096,type=update
60,pt_map,q,0,0x10000,4096,type=update
70,pt_map,p,0x1000,0x90000,,type=update
80,resource_bind,p,0x1,0x10000,4096,
END
cat >uses.csv <<END
$events
,use,X/1,10,0x10000,100,
,use,X/1,10,0x20000,5000,
,cmdstream,X/1,10,0x20000,5000,
,use,Y/2,11,0x10000,100,
,use,X/1,12,0x10000,9000,
END
cat >snapshot.csv <<END
$snapshot
0x1000,4096,,,1
0x100000,1048576,3,dumped,2
0x200000,65536,2,dumped,3
END

# --- what works

expect 'the version is printed' 0 '^[0-9]+\.[0-9]+\.[0-9]+$' version
expect 'help names the commands' 0 'replay.*' --help
expect 'allocations replay under all policies' 0 '^ranges +6 ' replay reuse.csv
expect 'every policy ends with equal page tables' 0 '^sync .* yes$' replay reuse.csv
expect 'one policy can be chosen' 0 '^timeline ' replay reuse.csv --policy timeline
expect 'a clock makes a composition, and the report says so' 0 'composition of two real traces' \
    replay reuse.csv --clock clock.csv
expect 'a made-up load is named as such' 0 'made-up load' replay reuse.csv
expect 'page-table captures replay' 0 '^sync +5 ' replay pages.csv
expect 'updates of one time are one batch' 0 '^ranges +6 ' replay splits.csv
expect 'parts of mappings are unmapped, and mappings replaced' 0 '^ranges +8 +2 +' replay splits.csv
expect 'page tables end the same under every policy' 0 '^timeline .* yes$' replay splits.csv
expect 'an update without a size is left out' 0 '1 updates without start or size .*line 11' replay splits.csv
expect 'other events among updates are named' 0 '1 events "resource_bind", .*line 12' replay splits.csv
expect 'maps can be waited for by nobody' 0 'binds are asynchronous too' replay splits.csv --async-binds
expect 'pauses are kept by default' 0 'updates, 4\.99 s' replay pages.csv
expect 'pauses can be shrunk' 0 '1 pause of more than 1\.00 s shrunk to 100 ms' replay pages.csv --compress-gaps
expect 'submissions replay' 0 '3 binds, 3 unbinds, .* 3 submissions' replay uses.csv
expect 'a snapshot is bound, unbound and bound again' 0 '6 binds, 3 unbinds' replay snapshot.csv
expect 'a snapshot takes lengths from a clock' 0 'get the lengths' replay snapshot.csv --clock clock.csv
expect 'binds can be asynchronous' 0 'binds are asynchronous too' replay reuse.csv --async-binds
expect 'the demo checks its bytes' 0 ' 0 wrong' demo --buffers 300

# --- what the figures must be

"$tool" replay reuse.csv --json - >one.json
"$tool" replay reuse.csv --json - >two.json
same 'the same figures at every run' one.json two.json
policy() { sed -n "/\"$1\": {/,/}/p" one.json; }
is 'ranges awaits the one unbind it overlaps' grep -q '"awaited": 1,' <(policy ranges)
is 'ranges awaits nothing else' grep -q '"awaited_not_overlapping": 0,' <(policy ranges)
is 'timeline awaits an unbind that does not overlap' grep -q '"awaited_not_overlapping": 1,' <(policy timeline)
is 'sync has nothing for binds to await' grep -q '"awaited": 0,' <(policy sync)
is 'an asynchronous unbind does not wait, the bind over its range does' \
    grep -q '"calls_over_100us": 1,' <(policy ranges)
is 'a synchronous unbind waits' grep -q '"calls_over_100us": [1-9]' <(policy sync)
"$tool" replay reuse.csv --policy ranges --async-binds --json - >async.json
is 'with asynchronous binds no call waits' grep -q '"calls_over_100us": 0,' async.json
for key in operations caller_blocked_ns bind_wait_ns awaited awaited_not_overlapping peak_pending equal_to_sync; do
    is "the report has $key for each policy" test "$(grep -c "\"$key\": " one.json)" = 3
done
"$tool" replay reuse.csv --json out.json >/dev/null
same 'a report file equals the report on stdout' one.json out.json
is 'no temporary file is left' test "$(ls | grep -c part)" = 0
if command -v python3 >/dev/null; then
    is 'the report is valid JSON' python3 -m json.tool one.json
fi

cat >exact.csv <<END
$events
1000,va_alloc,p,,0x100000000,65536,
2004000,va_free,p,,0x100000000,,
END
# From 2.003 ms after the start to the later completion of clock.csv, 4 ms after its start.
"$tool" replay exact.csv --clock clock.csv --policy sync --pte-ps 0 --tlb-flush-ns 0 --json - >exact.json
is 'GPU work ends when it did in the clock' grep -q '"caller_blocked_ns": 1997000,' exact.json

# 16 + 2 + 4 + 1 + 1 entries are written, and the 16 of the large page anew when it is cut; 2 + 1 + 2 are cleared.
"$tool" replay splits.csv --clock clock.csv --policy all --json - >splits.json
for figure in '"batch_operations": 8,' '"entries_written": 40,' '"entries_cleared": 5,' '"equal_to_sync": true,'; do
    is "a replay of page tables says $figure for each policy" test "$(grep -c "$figure" splits.json)" = 3
done
is 'other captures say nothing of batches' test "$(grep -c batch_operations one.json)" = 0
"$tool" replay splits.csv --clock clock.csv --policy all --json - >again.json
same 'the same figures of batches at every run' splits.json again.json

# --- the format

sed 's/$/\r/' reuse.csv >crlf.csv
expect 'lines may end with CR LF' 0 '^sync .* yes$' replay crlf.csv
printf 'size,start,comment,event\n4096,0x1000,"a, ""b""",va_alloc\n' >order.csv
expect 'columns are found by name, fields may be quoted' 0 '1 bind,' replay order.csv
printf '%s\n1,va_alloc,p,,0xffff800000001000,4096,\n' "$events" >high.csv
expect 'sign-extended addresses are understood' 0 '1 bind,' replay high.csv
printf '%s\n1,va_alloc,p,,0x1001,100,\n' "$events" >unaligned.csv
expect 'ranges are rounded out to pages' 0 'rounded out to pages, first at line 2' replay unaligned.csv
cat >strange.csv <<END
$events
5,va_alloc,p,,0x10000,8192,
6,va_alloc,p,,0x11000,8192,
7,va_alloc,p,,0x20000,0,
8,va_alloc,p,,0xffffffffff000,4096,
9,va_alloc,p,,18446744073709551615,18446744073709551615,
10,va_free,p,,0x999000,,
11,explode,p,,,,
12,va_alloc,p,,0x40000000000,0x20000000000,
4,va_free,p,,0x10000,,
END
for note in '1 allocations that overlap a live one .*line 3' '1 ranges of size 0, first at line 4' \
    '1 ranges of more than 1 TiB' '2 ranges outside the 48-bit address space' '1 frees of what is not allocated .*line 7' \
    '1 events "explode".*line 8' 'time lies before the one above .*line 10'; do
    expect "strange rows are reported: $note" 0 "$note" replay strange.csv
done
"$tool" replay - <reuse.csv >stdin.txt 2>&1
is 'a capture can come from standard input' grep -q '^sync .* yes$' stdin.txt

# --- what does not work

expect 'no file' 66 'none\.csv: cannot open: No such file' replay none.csv
expect 'a directory' 66 'cannot read: Is a directory' replay .
: >empty.csv
expect 'an empty file' 65 'empty\.csv: no header line' replay empty.csv
printf '%s\n' "$events" >headeronly.csv
expect 'a header alone' 65 'no events' replay headeronly.csv
printf 'a,b\n1,2\n' >other.csv
expect 'columns of something else' 65 'neither those of events' replay other.csv
printf 'start,size,start\n1,2,3\n' >twice.csv
expect 'a column twice' 65 'twice\.csv:1: column "start" occurs twice' replay twice.csv
printf '# c\n%s\n1,va_alloc,p,,0x1000,4096,\n2,va_alloc,p,,0x2z00,4096,\n' "$events" >number.csv
expect 'a bad number names file and line' 65 'number\.csv:4: column start: "0x2z00"' replay number.csv
printf '%s\n1,va_alloc,p,,0x1000,-1,\n' "$events" >negative.csv
expect 'a negative number' 65 'negative\.csv:2: column size' replay negative.csv
printf '%s\n1,va_alloc,p,,0x10000000000000000,1,\n' "$events" >large.csv
expect 'a number beyond 64 bits' 65 'large\.csv:2: .*does not fit 64 bits' replay large.csv
printf '%s\n1,va_alloc,p,,0x1000\n' "$events" >short.csv
expect 'a short line' 65 'short\.csv:2: 5 fields, but the header names 7' replay short.csv
printf '%s\n1,"va_alloc,p,,1,1,\n' "$events" >quote.csv
expect 'an open quote' 65 'quote\.csv:2: a quoted field' replay quote.csv
printf '%s\n1,va\0alloc,p,,1,1,\n' "$events" >nul.csv
expect 'a NUL byte' 65 'nul\.csv:2: a NUL byte' replay nul.csv
printf '%s\n1,explode,p,,1,1,\n' "$events" >unknown.csv
expect 'nothing to bind' 65 'events that can be replayed are va_alloc' replay unknown.csv
printf '%s\n,4096,,,\n' "$snapshot" >nostart.csv
expect 'a snapshot row without start' 65 'nostart\.csv:2: column start is empty' replay nostart.csv
expect 'a timeline is not a capture' 65 'give it with --clock' replay clock.csv
expect 'a capture is not a clock' 65 'not a completion timeline' replay reuse.csv --clock pages.csv
expect 'a snapshot is not a clock' 65 'cannot be a clock' replay reuse.csv --clock snapshot.csv
printf '%s\n1,submit,0,1,,,\n2,gpu_complete,0,1,,,\n' "$events" >fast.csv
expect 'a clock that would run for ever' 65 'would take' replay pages.csv --clock fast.csv
expect 'an unknown policy' 64 'policy' replay reuse.csv --policy best
expect 'a negative seed' 64 'seed' replay reuse.csv --seed=-1
expect 'an absurd cost' 64 'at most' replay reuse.csv --tlb-flush-ns 99999999999
expect 'no arguments' 64 'Missing expected argument' replay
expect 'a report that cannot be written' 73 'nowhere/out\.json: cannot write' \
    replay reuse.csv --json nowhere/out.json
expect 'bad input leaves no report' 65 '' replay short.csv --json none.json
is 'bad input has left no report' test ! -e none.json

# --- machines of the mock kernel

"$mock/build" "$work/mock" || exit 1
# The outer shell makes the machine's files and sets a variable: a Swift program whose environment is changed while it
# is being loaded does not find its arguments.
cat >mocked <<END
#!/bin/sh
export UNBIND_MOCK_MACHINE=\$1 LD_PRELOAD=$work/mock/libunbind-mock.so TMPDIR=$work
shift
exec sh -c 'exec "\$0" "\$@"' "$tool" "\$@"
END
chmod +x mocked
on() { # machine, name, exit status, pattern, arguments...
    local real=$tool
    tool=$work/mocked
    expect "$2" "$3" "$4" "$1" "${@:5}"
    tool=$real
}

# --- replays on devices

# 300 allocations of 20 sizes, each used by what is in flight; every third goes soon, and in the end all but 13.
awk -v events="$events" 'BEGIN {
    print events
    for (i = 0; i < 300; i++) {
        time += 100000
        size = 4096 * (1 + (i * 7) % 20)
        # Above 2^32, which not every awk can print as a number.
        printf "%d,va_alloc,p,,0x1%08x,%d,\n", time, i * 131072, size
        printf "%d,resource_bind,p,%d,0x1%08x,%d,\n", time, i, i * 131072, size
        if (i % 3 == 2) printf "%d,va_free,p,,0x1%08x,,\n", time, (i - 1) * 131072
    }
    for (i = 19; i < 300; i++) if (i % 3 != 1) printf "%d,va_free,p,,0x1%08x,,\n", time + 50000, i * 131072
}' >trace.csv
# One address, again and again another buffer, which a job reads.
awk -v events="$events" 'BEGIN {
    print events
    for (i = 0; i < 40; i++) {
        printf "%d,va_alloc,p,,0x100000000,65536,\n%d,use,p,%d,0x100000000,4096,\n", i * 100000, i * 100000, i
        printf "%d,va_free,p,,0x100000000,,\n", i * 100000 + 50000
    }
}' >turns.csv
says() { # file, member, value
    is "$1 says $2: $3" grep -q "\"$2\": $3,\?\$" "$1"
}
for machine in lnl bmg tgl dg2; do
    on $machine "a capture replays on $machine" 0 "^ranges +300 +287 " replay trace.csv --device pci:card=0 \
        --json $machine.json
    for figure in operations:587 binds:300 unbinds:287 mappings_left:13 words_read:26 speed:1; do
        says $machine.json ${figure%:*} ${figure#*:}
    done
    is "$machine.json has no virtual times" test "$(grep -cE 'seed|digest|tlb|equal' $machine.json)" = 0
    on $machine "jobs of a capture read what is bound on $machine" 0 '^sync +40 +40 .* 0 +40 ' \
        replay turns.csv --device pci:card=0 --policy all --async-binds
    on $machine "snapshots replay on $machine" 0 '^ranges +6 +3 .* 3 +9 ' replay snapshot.csv --device pci:card=0
done
on two 'the report names the GPU' 0 '^device +0000:03:00\.0  Intel Arc B580 Graphics, driver xe$' \
    replay reuse.csv --device discrete
for machine in lnl bmg; do
    on $machine "page-table updates replay on $machine" 0 '^ranges +8 +2 +' replay splits.csv --device pci:card=0
done
on lnl 'so do they with maps that nobody waits for' 0 '^ranges +5 +3 .* 7 +14 ' \
    replay splits.csv --device pci:card=0 --async-binds
on tgl 'page-table updates need what i915 cannot do' 69 'unbinds parts of mappings' \
    replay splits.csv --device pci:card=0
printf '%s\n1,va_alloc,p,,0xfffffffff000,4096,\n2,va_alloc,p,,0x1000,4096,\n' "$events" >top.csv
on lnl 'what the device has no addresses for is left out' 0 "1 ranges outside the device's address space" \
    replay top.csv --device pci:card=0
expect 'the software GPU replays in real time' 0 '^sync +300 +287 .* 13 +26 ' \
    replay trace.csv --device software --policy all --speed 2
expect 'and page-table updates too' 0 '^timeline +8 +2 +' replay splits.csv --device software --policy all
if command -v python3 >/dev/null; then
    is 'the report of a device is valid JSON' python3 -m json.tool lnl.json
fi
on none 'a replay on a GPU that is not there' 69 'no such Intel GPU' replay reuse.csv --device discrete
expect 'a device has no seed' 64 'virtual time' replay reuse.csv --device software --seed 2
expect 'a device has no costs' 64 'virtual time' replay reuse.csv --device software --pte-ps 0
expect 'virtual time has no speed' 64 'belongs to --device' replay reuse.csv --speed 2
expect 'no speed at all is refused' 64 'at least 1' replay reuse.csv --device software --speed 0

# What the library calls an update is one VM_BIND, and none of them sleeps. Queue 0 is for its queues' own buffers.
# Nothing is left to be unbound when the figures are known.
{ cat trace.csv; sed -n 's/^[0-9]*\(,va_alloc.*\)/\1/p' trace.csv | head -19 |
    awk -F, '(NR - 1) % 3 != 1 { printf "30000000,va_free,p,,%s,,\n", $5 }'; } >all.csv
export UNBIND_MOCK_LOG=$work/replay.log
on lnl 'a replay while the kernel counts' 0 '^ranges +300 +300 .* 0 +0 ' \
    replay all.csv --device pci:card=0 --json counted.json
unset UNBIND_MOCK_LOG
binds=$(grep -c '^ioctl XE_VM_BIND .* vm=1 queue=[1-9]' replay.log)
says counted.json updates "$binds"
is "600 operations are fewer calls: $binds" test "$binds" -lt 600
is 'no VM_BIND waits' test "$(grep '^ioctl XE_VM_BIND ' replay.log | grep -c waited=1)" = 0

# A driver that lies: jobs read another buffer's word, or do not store.
deceived() { # machine, lie, pattern, arguments...
    export UNBIND_MOCK_LIE=$2
    on "$1" "a replay notices a driver that lies: $2 on $1" 70 "$3" replay "${@:4}" --device pci:card=0
    unset UNBIND_MOCK_LIE
}
for machine in lnl tgl; do
    deceived $machine no-tlb-flush 'a job of the capture read 0x.* where 0x.* should be' turns.csv
    deceived $machine lose-write 'job [0-9]+ was the last, and 0 the last to store' trace.csv
done

# --- the probe

on none 'a machine without an Intel GPU is told in one line' 0 '^No Intel GPU in this machine\.$' probe
# Line by line, also as nobody if this is somebody who can become that; then on the machine at hand too, whatever it has.
alone() { # name, command...: exit status 0, and that one line
    local name=$1 ok=yes output
    shift
    output=$("$@" 2>&1) || ok=no
    [ "$output" = 'No Intel GPU in this machine.' ] || ok=no
    report "$name" $ok "$output"
}
alone 'and says nothing else' ./mocked none probe
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
    nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    # Tool and library may be where others cannot look; the machine's files are made by who probes it.
    mkdir -p open/bin open/lib && cp "$tool" open/bin/unbindctl && chmod 755 "$work" mock &&
        cp "$(ldd "$tool" | sed -n 's/.* => \(.*libunbind\.so[^ ]*\) .*/\1/p')" open/lib/ && mkdir -m 1777 open/tmp
    sed "s|TMPDIR=$work|TMPDIR=$work/open/tmp|; s|\"$tool\"|\"$work/open/bin/unbindctl\"|" mocked >mocked-nobody
    chmod 755 mocked-nobody
    alone 'an unprivileged user is told the same' env LD_LIBRARY_PATH="$work/open/lib" \
        "${nobody[@]}" ./mocked-nobody none probe
    is 'an unprivileged user may probe the machine at hand' env LD_LIBRARY_PATH="$work/open/lib" \
        "${nobody[@]}" open/bin/unbindctl probe
    is 'and run the selftest of the software GPU' env LD_LIBRARY_PATH="$work/open/lib" \
        "${nobody[@]}" open/bin/unbindctl selftest
fi
on no-pci 'a machine without PCI too' 0 '^No Intel GPU in this machine\.$' probe
on other-vendor 'and one with a GPU of another maker' 0 '^No Intel GPU in this machine\.$' probe
on none 'the same in JSON' 0 '"gpus": \[\]' probe --json
on two 'a GPU has a heading' 0 '^0000:03:00\.0  Intel Arc B580 Graphics$' probe
on two 'its platform is named' 0 '^  platform +Battlemage G21 \(BMG-G21\), Xe2-HPG 20\.01, discrete$' probe
on two 'its driver and version are named' 0 '^  driver +xe 1\.1\.0$' probe
on two 'its node is named and can be opened' 0 '^  render node +/dev/dri/renderD129, can be opened$' probe
on two 'its memory is told' 0 '^  local memory +12\.0 GiB, all visible to the CPU$' probe
on two 'its address space is told' 0 "^  address spaces +48 bits, the program's own$" probe
on two 'its regions are told' 0 '^  region 2 +16\.0 GiB, local memory$' probe
on unknown-id 'an unknown id is listed' 0 '^  platform +unknown to this version of libunbind' probe
on no-driver 'a GPU without a driver is listed' 0 '^  driver +none$' probe
on two 'a selector chooses one' 0 '^0000:00:02\.0 ' probe --device integrated
on two 'a node can be opened or left alone' 0 '^  render node +/dev/dri/renderD128$' probe --no-open --device 00:02.0
on two 'a selector that nothing matches' 69 'pci:card=2": no such Intel GPU' probe --device pci:card=2
on two 'a malformed selector names the place' 64 'from character 5 on, "vendr=1"' probe --device pci:vendr=1
on two 'a selector that ends too early' 64 'it ends too early' probe --device 0000:03:00
on two 'JSON has the figures' 0 '"local_memory_bytes": 12884901888' probe --json
on two 'JSON has the version' 0 '"graphics_version": "20\.01"' probe --json
if command -v python3 >/dev/null; then
    ./mocked two probe --json >gpus.json
    is 'the list of GPUs is valid JSON' python3 -m json.tool gpus.json
fi

# --- the selftest

expect 'the selftest of the software GPU passes' 0 '^1\.\.[1-9][0-9]*$' selftest
"$tool" selftest >selftest.tap 2>&1
plan=$(sed -n 's/^1\.\.//p' selftest.tap)
is 'its plan counts its lines, none of which failed' [ "$(grep -Ec '^ok [0-9]+ - ' selftest.tap)" = "$plan" ]
is 'none is skipped but that of batches, which it has not' \
    [ "$(grep -F '# SKIP' selftest.tap | sed 's/.*# //')" = 'SKIP the device runs no batches' ]
expect 'the selftest in JSON' 0 '"failed": 0' selftest --json
if command -v python3 >/dev/null; then
    "$tool" selftest --json >selftest.json
    is 'which is valid' python3 -m json.tool selftest.json
fi
expect 'a selftest without patience is refused' 64 'must be at least 1' selftest --timeout 0
on none 'a selftest of a GPU that is not there' 69 'no such Intel GPU' selftest --device discrete
for machine in tgl adl skl mtl dg2 dg2-later lnl bmg dg2-xe pvc unknown-id; do
    on $machine "the selftest of $machine passes" 0 '^1\.\.[1-9][0-9]*$' selftest --device pci:card=0
done
for machine in dg2 bmg; do
    on $machine "which moves a buffer on $machine" 0 '^ok [0-9]+ - a buffer that is moved[^#]*$' selftest --device pci:card=0
done
on two 'the selftest of the second GPU passes' 0 '^# libunbind .*, device discrete$' selftest --device discrete
on no-driver 'a GPU without a driver is not tested' 69 'cannot be opened: .*' selftest --device pci:vendor=8086

# A driver that lies is caught. Not i915 about fences (the library waits itself) nor about entries that an unbind
# leaves (it puts other pages there, and does not ask for them to be cleared).
lying() { # machine, lie
    export UNBIND_MOCK_LIE=$2
    on "$1" "a driver that lies is caught: $2 on $1" 1 '^not ok ' selftest --device pci:card=0
    unset UNBIND_MOCK_LIE
}
for lie in no-tlb-flush ignore-in-fence keep-pte signal-early lose-write; do lying lnl $lie; done
for lie in no-tlb-flush signal-early lose-write; do lying tgl $lie; done

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
