# The same for a cutover, to what an unharmed restore has made ready.
# shellcheck shell=bash
. tests/sweep/lib.sh
tests=(cutover_killed_at_every_write)

prepare() { sweep_binaries; prepare_sweep; outside_begins; restore_case made-ready; }

cutover_killed_at_every_write() { chain cutover; }
