# Runs steps side by side, as many as there are processors; sourced by Tests/run.
#
#   plan ID KIND "ID..." NAME COMMAND...    a step, to be run when the steps named third have passed
#   keep_only ID...                         drops all others, but for those that these need
#   run_steps                               runs all that were planned and prints a line for each, in that order
#
# KIND says how a step is counted: `one` is a single test, which passes when the command does; `program` ends with a
# line "N passed, N failed"; `swift` is a run of the Swift tests; `swift-build` is `one` that like `swift` keeps
# several processors busy, so that half of the steps run are of these, as long as there is something else to do.
# The output of a step is shown when it failed. A step has a directory, $here, for what it writes.

passed=0
failed=0
ids=() kinds=() needs=() names=() commands=()
declare -A index_of=() state=()

plan() { # ID KIND NEEDS NAME COMMAND...
    index_of[$1]=${#ids[@]}
    state[$1]=waits
    ids+=("$1") kinds+=("$2") needs+=("$3") names+=("$4")
    shift 4
    commands+=("$(printf '%q ' "$@")")
}

keep_only() { # ID...
    local id number old=("${ids[@]}")
    local -A wanted=()
    for id in "$@"; do
        [ -n "${index_of[$id]:-}" ] || { echo "there is no step $id; there are: ${ids[*]}"; exit 2; }
        wanted[$id]=1
    done
    # A step is planned after what it needs.
    for ((number = ${#old[@]} - 1; number >= 0; number--)); do
        if [ -z "${wanted[${old[number]}]:-}" ]; then
            unset "ids[$number]"
        else
            for id in ${needs[number]}; do wanted[$id]=1; done
        fi
    done
}

# How many tests a log counts, in `good` and `bad`.
count_program() { # STATUS LOG: its last line says "N passed, N failed"
    read -r good bad < <(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed$/\1 \2/p' "$2" | tail -1)
    [ -n "${bad:-}" ] || good=0 bad=1
    [ "$1" = 0 ] || [ "$bad" != 0 ] || bad=1
}

count_swift() { # STATUS LOG: "Test run with N tests in M suites passed"
    local total
    total=$(sed -n 's/.*Test run with \([0-9]*\) tests\? .*/\1/p' "$2" | tail -1)
    bad=$(grep -E '^[^A-Za-z]*Test .* failed after ' "$2" | grep -vcE '^[^A-Za-z]*Test run with ')
    [ "$1" = 0 ] || [ "$bad" != 0 ] || bad=1
    [ "${total:=0}" != 0 ] || total=1 bad=1
    [ "$bad" != 0 ] || ! grep -qE 'WARNING: ThreadSanitizer|ERROR: (Address|Leak)Sanitizer' "$2" || bad=1
    good=$((total - bad))
    [ "$bad" != 0 ] || return 0
    { # What failed and how to replay it, and the end, which is where a process that was stopped says why.
        grep -vE '^(◇|✔) ' "$2" | grep -E 'error:|✘|↳|recorded an issue|replay:|Sanitizer|of size|    #[0-9]|Fatal|failed' |
            head -200
        grep -q 'Test run with .* after ' "$2" || { echo "..." && tail -40 "$2"; }
    } > "$2.short"
    mv "$2.short" "$2"
}

run_step() { # NUMBER: in a process of its own
    local log=$work/$1.log status=0 kind=${kinds[$1]} good bad used
    here=$work/$1
    SECONDS=0
    mkdir "$here"
    eval "${commands[$1]}" > "$log" 2>&1 < /dev/null || status=$?
    # The processors' time, too: it hardly depends on what else the machine does.
    times > "$log.times"
    used=$(awk -F '[ms ]' 'NR == 2 { print int($1 * 60 + $2 + $4 * 60 + $5 + 0.5) }' "$log.times")
    case $kind in
        program | swift) "count_$kind" $status "$log" ;;
        *) good=$((status == 0)) bad=$((status != 0)) ;;
    esac
    rm -rf "$here"
    echo "$good $bad $SECONDS $used" > "$work/$1.unfinished"
    mv "$work/$1.unfinished" "$work/$1.result"
}

started=() # by number: the process
running=0 heavy=0 printed=0

start() { # NUMBER
    state[${ids[$1]}]=runs
    running=$((running + 1))
    is_light "$1" || heavy=$((heavy + 1))
    run_step "$1" &
    started[$1]=$!
}

is_light() { case ${kinds[$1]} in swift*) false ;; esac; }

# Whether a step can start: 0. One whose needs cannot be met any more is given up.
is_ready() { # NUMBER
    local need
    [ "${state[${ids[$1]}]}" = waits ] || return 1
    for need in ${needs[$1]}; do
        case ${state[$need]} in
            failed) state[${ids[$1]}]=failed; return 1 ;;
            passed) ;;
            *) return 1 ;;
        esac
    done
}

# The number of the step to start, in `chosen`: for each two processors one of the heavy ones goes first, and more of
# them go last.
choose() {
    local number light= busy=
    for number in "${!ids[@]}"; do
        is_ready "$number" || continue
        if is_light "$number"; then light=${light:-$number}; else busy=${busy:-$number}; fi
    done
    chosen=${light:-$busy}
    [ -z "$busy" ] || [ $heavy -ge $((jobs / 2)) ] || chosen=$busy
    [ -n "$chosen" ]
}

# Takes in what has finished.
collect() {
    local number good bad seconds used
    for number in "${!started[@]}"; do
        if ! [ -e "$work/$number.result" ]; then
            kill -0 "${started[number]}" 2> /dev/null && continue
            # It may have been writing that until now; else somebody has killed it.
            [ -e "$work/$number.result" ] || echo "0 1 0 0" > "$work/$number.result"
        fi
        unset "started[$number]"
        running=$((running - 1))
        is_light "$number" || heavy=$((heavy - 1))
        read -r good bad seconds used < "$work/$number.result"
        state[${ids[$number]}]=$([ "$bad" = 0 ] && echo passed || echo failed)
    done
}

# Prints the steps that are over, up to the first that is not; with an argument all, even if they are not over.
print_steps() {
    local number good bad seconds used
    for number in "${!ids[@]}"; do
        [ "$number" -ge "$printed" ] || continue
        if [ -e "$work/$number.result" ]; then
            read -r good bad seconds used < "$work/$number.result"
            passed=$((passed + good)) failed=$((failed + bad))
            printf '%-4s %-61s %5d tests %4d s %4d s used\n' "$([ "$bad" = 0 ] && echo ok || echo FAIL)" \
                "${names[number]}" $((good + bad)) "$seconds" "$used"
            [ "$bad" = 0 ] || sed 's/^/  | /' "$work/$number.log"
        elif [ "${state[${ids[number]}]}" = failed ]; then
            printf '%-4s %-61s needs what has failed\n' not "${names[number]}"
        elif [ $# = 0 ]; then
            return
        else
            printf '%-4s %-61s %s\n' FAIL "${names[number]}" "was not finished"
            failed=$((failed + 1))
        fi
        printed=$((number + 1))
    done
}

stop_steps() { # somebody has had enough: each step is a process group
    local process
    for process in "${started[@]}"; do kill -TERM -- "-$process" 2> /dev/null; done
    print_steps all
    exit 130
}

run_steps() {
    jobs=${TEST_JOBS:-$(nproc)}
    set -m
    trap stop_steps INT TERM
    while :; do
        while [ $running -lt "$jobs" ] && choose; do start "$chosen"; done
        print_steps
        [ $running -gt 0 ] || break
        wait -n 2> /dev/null
        collect
    done
    set +m
    print_steps all
    echo "$passed passed, $failed failed"
}
