#!/usr/bin/env bash
# What operations cost, in things that do not depend on the machine's mood: instructions (by callgrind), allocations,
# bytes. Fails when one is more than 5 % above the figure in `recorded`, or grows with the number of objects there.
#   run.sh functions PROGRAM             checks the C functions, with the built cycle.c
#   run.sh core PROGRAM                  checks the core, with the built core.c
#   run.sh functions|core PROGRAM --record    prints the figures as `recorded` has them
#   run.sh growth PROGRAM                checks that nothing grows, with the built growth.c
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
part=$1
program=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

instructions() { # MODE CYCLES: in all of the program
    valgrind --tool=callgrind --callgrind-out-file="$work/out" "$program" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\)$/\1/p'
}

per_cycle() { # MODE: what 2,000 cycles more cost, each
    local few many
    few=$(instructions "$1" 2000)
    many=$(instructions "$1" 4000)
    echo "$part.$1.instructions $(((many - few + 1000) / 2000))"
}

# Trees and tables add a few instructions; what looks at all there is for each operation comes to several times as many.
growth() { # NAME NOTHING FEW MANY: instructions for 0, 256 and 2,048 operations; at most a fifth more for each
    local few=$((($3 - $2) / 256)) many=$((($4 - $2) / 2048))
    if [ $((many * 5)) -le $((few * 6)) ]; then
        good=$((good + 1))
    else
        echo "$1: $few instructions for each of 256 operations, $many for each of 2,048"
        bad=$((bad + 1))
    fi
}

if [ "$part" = growth ]; then
    good=0
    bad=0
    for name in $("$program" --list); do
        growth "$name" "$(instructions "$name" 0)" "$(instructions "$name" 256)" "$(instructions "$name" 2048)"
    done
    echo "$good passed, $bad failed"
    [ $bad = 0 ]
    exit
fi

if [ "$part" = core ]; then
    per_cycle w1
    per_cycle w2
else
    per_cycle immediate
    per_cycle deferred
    per_cycle batched
    per_cycle split
    "$program" memory | sed "s/^/$part./"
fi > "$work/measured"

if [ "${3:-}" = --record ]; then
    cat "$work/measured"
    exit
fi
good=0
bad=0
while read -r name recorded; do
    measured=$(sed -n "s/^$name //p" "$work/measured")
    if [ -n "$measured" ] && [ $((measured * 100)) -le $((recorded * 105)) ]; then
        good=$((good + 1))
    else
        echo "$name: ${measured:-not measured}, recorded are $recorded"
        bad=$((bad + 1))
    fi
done < <(grep "^$part\." "$here/recorded")
echo "$good passed, $bad failed"
[ "$bad" = 0 ]
