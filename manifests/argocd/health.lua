-- Argo CD's health of a PostgresBackup, PostgresRestore or Failover. How to install it: docs/monitoring.md.
local health = {
  Pending = "Progressing", Planning = "Progressing", Running = "Progressing", RollingBack = "Progressing",
  AwaitingApproval = "Suspended", Paused = "Suspended",
  Blocked = "Degraded", Failed = "Degraded", Cancelled = "Degraded",
  Completed = "Healthy",
}
local status = obj.status
if status == nil or status.phase == nil or status.phase == "" then
  return { status = "Progressing", message = "the operator has not looked at it yet" }
end
-- A phase that this script does not know is said, never taken for good.
return { status = health[status.phase] or "Unknown", message = status.message or status.phase }
