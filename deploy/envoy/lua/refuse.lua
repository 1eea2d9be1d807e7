-- How the edge refuses a call: a google.rpc.Status as JSON, or for a gRPC caller in grpc-status and the headers with it.

local HTTP = {[3] = "400", [7] = "403", [8] = "429", [12] = "501", [14] = "503", [16] = "401"}
local TYPES = "type.googleapis.com/google.rpc."

local function is_grpc(headers)
  local content_type = headers:get("content-type") or ""
  return content_type == "application/grpc" or content_type:find("^application/grpc[+;]") ~= nil
end

-- Whether it is a call of OpenAI's API, whose errors have a shape of their own.
local function is_openai(headers)
  local path = (headers:get(":path") or ""):match("^[^?]*")
  return path:find("^/v1/images/") ~= nil or path == "/v1/models" or path:find("^/v1/models/") ~= nil
end

-- What a caller sent, as a message may repeat it: at most 80 characters, those that can be shown.
local function quoted(text)
  local shown = text:sub(1, 80):gsub("[^\32-\126]", "?"):gsub('["\\]', "'")
  return #text > 80 and ("'%s'… (%d characters)"):format(shown, #text) or ("'%s'"):format(shown)
end

-- One field of a protobuf message: a text, or a message that is encoded already.
local function field(number, bytes)
  local length = #bytes < 128 and string.char(#bytes) or string.char(#bytes % 128 + 128, math.floor(#bytes / 128))
  return string.char(number * 8 + 2) .. length .. bytes
end

local function any(name, message)
  return field(3, field(1, TYPES .. name) .. field(2, message))
end

-- The Status of a fault as protobuf.
local function encoded(fault)
  local violation = ""
  if fault.field then
    violation = any("BadRequest", field(1, field(1, fault.field) .. field(2, fault.description)))
  end
  return "\8" .. string.char(fault.code) .. field(2, fault.message)
    .. any("ErrorInfo", field(1, fault.reason) .. field(2, "imgedit")) .. violation
    .. any("LocalizedMessage", field(1, "ko-KR") .. field(2, fault.korean))
end

-- The Status of a fault as JSON. Its texts hold no quotation mark, backslash or control character.
local function json(fault)
  local detail = '{"@type":"' .. TYPES .. '%s",%s}'
  local details = {detail:format("ErrorInfo", ('"reason":"%s","domain":"imgedit"'):format(fault.reason))}
  if fault.field then
    local violation = ('"fieldViolations":[{"field":"%s","description":"%s"}]'):format(fault.field, fault.description)
    details[#details + 1] = detail:format("BadRequest", violation)
  end
  local korean = ('"locale":"ko-KR","message":"%s"'):format(fault.korean)
  details[#details + 1] = detail:format("LocalizedMessage", korean)
  return ('{"code":%d,"message":"%s","details":[%s]}'):format(fault.code, fault.message, table.concat(details, ","))
end

-- The same in OpenAI's shape.
local function openai_json(fault)
  local param = fault.field and '"' .. fault.field .. '"' or "null"
  return ('{"error":{"message":"%s","type":"invalid_request_error","param":%s,"code":"%s","message_ko":"%s"}}'):format(
    fault.message, param, fault.reason:lower(), fault.korean)
end

-- Answer with a fault: code, reason, message, korean; of a field also field and description; headers = further ones.
local function refuse(handle, fault)
  local headers = fault.headers or {}
  headers[":status"] = HTTP[fault.code]
  local details = headers["grpc-status-details-bin"]
  headers["grpc-status-details-bin"] = nil
  handle:streamInfo():dynamicMetadata():set("imgedit", "refused", true)  -- edge.yaml takes the body as it is
  if is_grpc(handle:headers()) then
    headers["grpc-status"] = tostring(fault.code)
    headers["grpc-status-details-bin"] = details or handle:base64Escape(encoded(fault))
    handle:respond(headers, fault.message)
  else
    handle:respond(headers, is_openai(handle:headers()) and openai_json(fault) or json(fault))
  end
end

local function invalid(name, description, korean)
  local message = name .. ": " .. description
  return {code = 3, reason = "INVALID_FIELD", message = message, field = name, description = description, korean = korean}
end
