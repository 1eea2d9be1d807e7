-- Made from lua/, the protos and imgedit/errors.py by `make protos`.
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

-- Errors by their gRPC code.
local ERRORS = {
  [16] = {reason = "UNAUTHENTICATED", korean = "인증이 필요합니다. 올바른 API 토큰을 보내세요."},
  [7] = {reason = "SCOPE_MISSING", korean = "이 API 토큰에는 필요한 권한이 없습니다."},
  [14] = {reason = "SERVICE_UNAVAILABLE", korean = "필요한 서비스에 연결할 수 없습니다. 잠시 후 다시 시도하세요."},
}

-- Paths of the calls that have one body, and their RPCs.
local CALLS = {
  {path = "^/api/edit_with_comfyui$", rpc = "/imgedit.v1.EditService/Edit"},
  {path = "^/v1/edits$", rpc = "/imgedit.v1.EditService/Edit"},
  {path = "^/imgedit%.v1%.EditService/Edit$", rpc = "/imgedit.v1.EditService/Edit"},
  {path = "^/v1/edits%:stream$", rpc = "/imgedit.v1.EditService/EditStream"},
  {path = "^/imgedit%.v1%.EditService/EditStream$", rpc = "/imgedit.v1.EditService/EditStream"},
  {path = "^/v1/edits/[^/]+%:cancel$", rpc = "/imgedit.v1.EditService/CancelEdit"},
  {path = "^/imgedit%.v1%.EditService/CancelEdit$", rpc = "/imgedit.v1.EditService/CancelEdit"},
  {path = "^/imgedit%.v1%.EditService/GetEdit$", rpc = "/imgedit.v1.EditService/GetEdit"},
  {path = "^/v1/edits%:estimate$", rpc = "/imgedit.v1.EditService/EstimateEdit"},
  {path = "^/imgedit%.v1%.EditService/EstimateEdit$", rpc = "/imgedit.v1.EditService/EstimateEdit"},
  {path = "^/imgedit%.v1%.EditService/ListExperiments$", rpc = "/imgedit.v1.EditService/ListExperiments"},
}

-- The headers of a call, before anything of its body is read. A header that gRPC cannot parse breaks the connection to the
-- orchestrator, which all callers share, so no header goes on but those below, and none that gRPC parses unchecked.

local PASSED_ON = {
  [":authority"] = true, [":method"] = true, [":path"] = true, [":scheme"] = true,
  ["authorization"] = true, ["content-length"] = true, ["content-type"] = true, ["grpc-encoding"] = true,
  ["grpc-timeout"] = true, ["te"] = true, ["traceparent"] = true, ["transfer-encoding"] = true,
  ["user-agent"] = true, ["x-forwarded-proto"] = true, ["x-imgedit-request-id"] = true,
}
local MAX_SAID, MAX_QUOTED, MAX_HEADERS = 1500, 400, 7000
local ENCODINGS = {identity = true, deflate = true, gzip = true}

-- OpenAI's API refuses what a web page sends, which this header tells.
local OF_OPENAI = {["origin"] = true}

local function remove_others(headers, is_for_openai)
  local others = {}
  for name in pairs(headers) do
    if not (PASSED_ON[name] or is_for_openai and OF_OPENAI[name]) then others[#others + 1] = name end
  end
  for _, name in ipairs(others) do headers:remove(name) end
end

local function fault_of_timeout(value)
  if value:find("^%d+[HMSmun]$") and #value <= 9 then return nil end
  local description = "must be 1 to 8 digits and a unit, H, M, S, m, u or n, for instance 30S; it is " .. quoted(value)
  return invalid("grpc-timeout", description, "grpc-timeout 헤더는 30S처럼 숫자 1~8자리와 단위(H, M, S, m, u, n)여야 합니다.")
end

local function fault_of_encoding(value)
  if ENCODINGS[value] then return nil end
  local message = "grpc-encoding: must be identity, deflate or gzip; it is " .. quoted(value)
  local korean = "grpc-encoding 헤더는 identity, deflate, gzip 중 하나여야 합니다."
  return {code = 12, reason = "INVALID_FIELD", message = message, korean = korean}
end

local function fault_of_method(value)
  if value == "POST" then return nil end
  local message = "gRPC calls are sent with POST; this one came with " .. quoted(value)
  return {code = 12, reason = "METHOD_NOT_ALLOWED", message = message, korean = "gRPC 호출은 POST로 보내야 합니다."}
end

-- A byte beyond ASCII in the path ends grpc.aio's server, whose loop decodes it as UTF-8.
local function fault_of_path(value)
  if not value:find("[^\33-\126]") then return nil end
  return invalid("path", "must be ASCII, other characters percent-encoded; it is " .. quoted(value),
    "주소에는 ASCII 문자만 쓸 수 있습니다. 다른 문자는 퍼센트 인코딩으로 보내세요.")
end

-- gRPC refuses calls at random once their headers take 8 KiB, and all of them at 16; the edge adds a few hundred bytes.
local function fault_of_size(headers)
  local size = 0
  for name, value in pairs(headers) do size = size + #name + #value + 32 end
  if size <= MAX_HEADERS then return nil end
  return invalid("headers", ("must take at most %d bytes with the path; they take %d"):format(MAX_HEADERS, size),
    "주소와 헤더가 너무 깁니다. 모두 합해 " .. MAX_HEADERS .. "바이트까지 보낼 수 있습니다.")
end

-- gRPC's own headers: checked for a gRPC caller, and left to Envoy's transcoder where the call is JSON.
local function fault_of(headers)
  local timeout = headers:get("grpc-timeout")
  local fault = fault_of_size(headers) or fault_of_path(headers:get(":path")) or timeout and fault_of_timeout(timeout)
  if not is_grpc(headers) then
    headers:remove("grpc-encoding")
    headers:remove("te")
    return fault
  end
  local encoding = headers:get("grpc-encoding")
  headers:replace("content-type", "application/grpc")
  headers:replace("te", "trailers")
  return fault or encoding and fault_of_encoding(encoding) or fault_of_method(headers:get(":method"))
end

-- The RPC of a call that has one body; nil for any other.
local function rpc_of(headers)
  if headers:get(":method") ~= "POST" then return nil end
  local path = headers:get(":path"):match("^[^?]*")
  for _, call in ipairs(CALLS) do
    if path:find(call.path) then return call.rpc end
  end
  return nil
end

local function percent_decoded(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

-- Asks an orchestrator whether the credential admits the call: a stranger's body is not worth holding.
local function fault_of_credential(handle, rpc)
  local asked = {
    [":method"] = "POST", [":path"] = rpc, [":authority"] = "orchestrator", ["content-type"] = "application/grpc",
    ["te"] = "trailers", ["x-imgedit-credential-check"] = "1",
    ["authorization"] = handle:headers():get("authorization"),
    ["x-imgedit-request-id"] = handle:headers():get("x-imgedit-request-id"),
  }
  local answer = handle:httpCall("credentials", asked, nil, 5000)
  local status = answer["grpc-status"]
  if answer[":status"] == "200" and (status == nil or status == "0") then return nil end
  local code = ERRORS[tonumber(status)] and tonumber(status) or 14
  local message = answer["grpc-message"] and percent_decoded(answer["grpc-message"]):gsub('[%c"\\]', "'")
  return {
    code = code, reason = ERRORS[code].reason, korean = ERRORS[code].korean,
    message = message or "no orchestrator can take the request now; try again later",
    headers = {
      ["grpc-status-details-bin"] = answer["grpc-status-details-bin"],
      ["x-imgedit-request-id"] = answer["x-imgedit-request-id"],
    },
  }
end

-- The transcoder's texts repeat what it was sent, whatever its length. The message comes last in what Envoy says itself.
function envoy_on_response(handle)
  local headers = handle:headers()
  local length = tonumber(headers:get("content-length"))
  if headers:get(":status") < "400" or not length or length <= MAX_SAID then return end
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  local start = text:match('%],"message":"()')
  if not start or text:sub(-3, -2) ~= '"}' then return end
  -- No escape and no character is cut in two.
  local said = text:sub(1, start + MAX_QUOTED):gsub("\\+u?%x*$", ""):gsub("[\192-\255][\128-\191]*$", "")
  handle:headers():replace("content-length", tostring(body:setBytes(said .. '…"}\n')))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local is_for_openai, id = is_openai(headers), headers:get("x-request-id")
  remove_others(headers, is_for_openai)
  if is_for_openai then
    handle:streamInfo():dynamicMetadata():set("imgedit", "openai", true)
    -- Its clients send no id of ours. Envoy's own finds the replica again that keeps a result behind a URL.
    if id and not headers:get("x-imgedit-request-id") then headers:add("x-imgedit-request-id", id) end
  end
  if is_grpc(headers) then handle:streamInfo():dynamicMetadata():set("imgedit", "grpc", true) end
  local fault = fault_of(headers)
  local rpc = not fault and rpc_of(headers)
  if rpc then fault = fault_of_credential(handle, rpc) end
  if fault then refuse(handle, fault) end
end
