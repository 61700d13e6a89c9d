-- Health of a Soup, DataShard or UnlearningDebt in Argo CD, from its kstatus conditions.
local function condition(kind)
  for _, each in ipairs((obj.status or {}).conditions or {}) do
    if each.type == kind and each.status == "True" then
      return each
    end
  end
end

local function health(status, message)
  return { status = status, message = message or "" }
end

if obj.metadata.deletionTimestamp then
  local stalled = condition("Stalled")
  if stalled then
    return health("Degraded", stalled.message)
  end
  return health("Progressing", "it is being deleted, and what it taught unlearned")
end

local observed = (obj.status or {}).observedGeneration
if not observed or observed < (obj.metadata.generation or 0) then
  return health("Progressing", "the operator has not seen it yet")
end

local reconciling, stalled = condition("Reconciling"), condition("Stalled")
if reconciling then
  return health("Progressing", reconciling.message)
end
if stalled then
  return health("Degraded", stalled.message)
end
local held = condition("MembersHeld")
if held then
  return health("Suspended", held.message)
end
local ready = condition("Ready")
if ready then
  return health("Healthy", ready.message)
end
return health("Progressing", "the operator has not reported it yet")
