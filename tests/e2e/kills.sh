# The operator killed at every write of a backup, a restore and a cutover, before it is forwarded and before its reply;
# steps that fail. All of it at length: tests/run sweep.
# shellcheck shell=bash
. tests/sweep/lib.sh
. tests/sweep/steps.sh
. tests/sweep/faults.sh
tests=(recovery_killed_is_put_back undo_killed_is_put_back start_refused_is_put_back restore_killed_at_every_write
  fence_killed_is_put_back switch_refused_is_put_back cutover_killed_at_every_write backup_killed_at_every_write refused_after_no_return_goes_forward)

prepare() { sweep_binaries; prepare_sweep; }

recovery_killed_is_put_back() { outside_begins; restore_recover_killed recover-killed; }
undo_killed_is_put_back() { outside_begins; restore_undo_killed undo-killed; }
start_refused_is_put_back() { outside_begins; restore_start_refused start-refused; }
restore_killed_at_every_write() { chain restore; }
fence_killed_is_put_back() { outside_begins; cutover_fence_killed fence-killed; }
switch_refused_is_put_back() { outside_begins; cutover_switch_refused switch-refused; }
refused_after_no_return_goes_forward() { outside_begins; restore_case again && cutover_goes_forward forward; }
backup_killed_at_every_write() { chain backup; }
cutover_killed_at_every_write() { chain cutover; }
