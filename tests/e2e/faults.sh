# Two of what should be one, and one that stands still: acts happen once. All of it at length: tests/run sweep faults.
# shellcheck shell=bash
. tests/sweep/lib.sh
. tests/sweep/steps.sh
. tests/sweep/faults.sh
tests=(second_job_on_the_volume_is_stopped leader_that_stands_still_is_replaced two_operators_act_once)

prepare() { sweep_binaries; prepare_sweep; }

second_job_on_the_volume_is_stopped() { outside_begins; two_jobs_on_one_volume copied; }
# The cutover to what the first one restored.
leader_that_stands_still_is_replaced() { outside_begins; leader_stands_still still; }
# A restore to the former primary and the cutover back to it.
two_operators_act_once() { outside_begins; two_operators both; }
