# The same for a primary that dies: the restore with salvage, and the cutover to it.
# shellcheck shell=bash
. tests/sweep/lib.sh
tests=(salvage_killed_at_every_write)

prepare() { sweep_binaries; prepare_sweep; }

salvage_killed_at_every_write() { chain salvage; }
