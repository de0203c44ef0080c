-- Health of a Model: healthy as soon as it has a version.
local health = { status = "Progressing", message = "the operator has not looked at this generation yet" }
if obj.metadata.deletionTimestamp ~= nil then
  health.message = "being deleted"
  return health
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end
for _, condition in ipairs(obj.status.conditions or {}) do
  if condition.type == "Ready" then
    health.status = condition.status == "True" and "Healthy" or "Progressing"
    health.message = condition.reason .. ": " .. (condition.message or "")
  end
end
return health
