# The operator killed at every write of a restore and a backup, at its first time before it is forwarded, at its second
# before its reply: all in one run of each, with one end. One kill in each run: tests/run sweep.
# shellcheck shell=bash
. tests/sweep/lib.sh
tests=(restore_killed_at_every_write backup_killed_at_every_write)

prepare() { sweep_binaries; prepare_sweep; }

restore_killed_at_every_write() { chain restore; }
backup_killed_at_every_write() { chain backup; }
