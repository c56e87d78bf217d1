#!/usr/bin/env bash
# The long runs behind docs/reliability.md, one after the other, each with the command that is shown there.
# About an hour on two cores. `tests/long.sh kills flips` makes some of them. What they find is printed; the
# first failure ends the script, with the seed that repeats it.
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
    local name=$1; shift
    if [ "${#wanted[@]}" -gt 0 ] && [[ ! " ${wanted[*]} " =~ " $name " ]]; then
        return
    fi
    printf '\n== %s: %s\n' "$name" "$*"
    env "$@"
}

wanted=("$@")
test=(cargo test --release)
run kills HOOKWHEEL_CHAOS_KILLS=1000 "${test[@]}" --test it chaos:: -- --nocapture
run outages HOOKWHEEL_KILL_ROUNDS=100 "${test[@]}" --test it kill::every -- --nocapture
run power HOOKWHEEL_POWER_CUTS=500 "${test[@]}" --test it power:: -- --nocapture
run nth HOOKWHEEL_NTH=all "${test[@]}" --test it nth:: -- --nocapture
run flips HOOKWHEEL_FLIPS=10000 "${test[@]}" --lib store::tests::flips -- --nocapture
run simulation HOOKWHEEL_SIM_SEEDS=100000 "${test[@]}" --lib engine::sim -- --nocapture
run clock HOOKWHEEL_CLOCK_JUMPS=100 "${test[@]}" --test it clock:: -- --nocapture
run reloads HOOKWHEEL_HUPS=1000 "${test[@]}" --test it hangups:: -- --nocapture
run floods HOOKWHEEL_FLOOD_POSTS=20 "${test[@]}" --test it flood:: -- --nocapture
run backups HOOKWHEEL_BACKUP_ROUNDS=30 "${test[@]}" --test it backup:: -- --nocapture
run copies HOOKWHEEL_BACKUP_ROUNDS=200 "${test[@]}" --lib store::tests::copies -- --nocapture
run recovery HOOKWHEEL_BENCH_RUNS=3 cargo bench --bench recovery
