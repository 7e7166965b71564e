# Jobs that die and writes that are refused, at the steps that cannot be taken back: put back before the point of no
# return, forward after it. Every step: tests/run sweep steps.
# shellcheck shell=bash
. tests/sweep/lib.sh
. tests/sweep/steps.sh
tests=(recovery_killed_is_put_back undo_killed_is_put_back start_refused_is_put_back fence_killed_is_put_back switch_refused_is_put_back
  refused_after_no_return_goes_forward)

prepare() { sweep_binaries; prepare_sweep; }

recovery_killed_is_put_back() { outside_begins; restore_recover_killed recover-killed; }
undo_killed_is_put_back() { outside_begins; restore_undo_killed undo-killed; }
start_refused_is_put_back() { outside_begins; restore_start_refused start-refused; }
fence_killed_is_put_back() { outside_begins; restore_case made-ready && cutover_fence_killed fence-killed; }
switch_refused_is_put_back() { outside_begins; cutover_switch_refused switch-refused; }
refused_after_no_return_goes_forward() { outside_begins; cutover_goes_forward forward; }
