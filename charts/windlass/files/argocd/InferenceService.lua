-- Health of an InferenceService: healthy when all pods serve what is asked for, degraded when nothing but a change of the object can help.
local health = { status = "Progressing", message = "the operator has not looked at this generation yet" }
if obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
  return health
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end
local holds = {}
local ready = nil
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.status == "True" then
    holds[condition.type] = condition
  end
  if condition.type == "Ready" then
    ready = condition
  end
end
local function is(status, condition)
  health.status = status
  health.message = condition.reason .. ": " .. (condition.message or "")
  return health
end
if holds.Stalled then
  return is("Degraded", holds.Stalled)
end
if holds.Reconciling then
  return is("Progressing", holds.Reconciling)
end
if holds.Ready then
  return is("Healthy", holds.Ready)
end
if ready then
  return is("Progressing", ready)
end
return health
