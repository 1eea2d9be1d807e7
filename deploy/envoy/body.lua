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

-- The JSON paths, their messages, and the field that is in the path.
local ROUTES = {
  {verb = "POST", path = "^/api/edit_with_comfyui$", message = "EditRequest", has_body = true},
  {verb = "POST", path = "^/v1/edits$", message = "EditRequest", has_body = true},
  {verb = "POST", path = "^/v1/edits%:stream$", message = "EditRequest", has_body = true},
  {verb = "POST", path = "^/v1/edits/[^/]+%:cancel$", message = "CancelEditRequest", bound = "request_id", has_body = true},
  {verb = "GET", path = "^/v1/edits/[^/]+$", message = "GetEditRequest", bound = "request_id"},
  {verb = "POST", path = "^/v1/edits%:estimate$", message = "EditRequest", has_body = true},
  {verb = "GET", path = "^/api/image_editing/experiments$", message = "ListExperimentsRequest"},
  {verb = "GET", path = "^/v1/experiments$", message = "ListExperimentsRequest"},
}
local FIELDS = {
  EditRequest = {experiment_id = "value", input_image_base64 = "bytes", prompt = "value", feature_id = "value", negative_prompt = "value", steps = "value", guidance_scale = "value", strength = "value", seed = "value", profile = "Profile", mask_image_base64 = "bytes", mask_options = "MaskOptions", outpaint = "Outpaint", reference_images_base64 = "bytes", background = "Background", negative_scale = "value", output = "OutputOptions", postprocess = "Postprocess", preview_every = "value", request_id = "value", expand_prompt = "value", loras = "LoraUse", n = "value", webhook_url = "value"},
  CancelEditRequest = {request_id = "value"},
  GetEditRequest = {request_id = "value"},
  ListExperimentsRequest = {page_size = "value", page_token = "value"},
  MaskOptions = {subject = "MaskSubject", invert = "value", threshold = "value", fill_holes = "value", grow_px = "value", feather_px = "value"},
  Outpaint = {left = "value", right = "value", top = "value", bottom = "value", aspect = "value"},
  OutputOptions = {format = "OutputFormat", quality = "value", omit = "OutputOmit"},
  LoraUse = {name = "value", scale = "value"},
}
local ENUMS = {
  Profile = {"PROFILE_UNSPECIFIED", "PROFILE_FAST", "PROFILE_BALANCED", "PROFILE_HIGH"},
  Background = {"BACKGROUND_UNSPECIFIED", "BACKGROUND_WHOLE", "BACKGROUND_KEEP", "BACKGROUND_REMOVE", "BACKGROUND_TRANSPARENT"},
  Postprocess = {"POSTPROCESS_UNSPECIFIED", "POSTPROCESS_ON", "POSTPROCESS_OFF"},
  MaskSubject = {"MASK_SUBJECT_UNSPECIFIED", "MASK_SUBJECT_SUBJECT", "MASK_SUBJECT_BACKGROUND"},
  OutputFormat = {"OUTPUT_FORMAT_UNSPECIFIED", "OUTPUT_FORMAT_PNG", "OUTPUT_FORMAT_JPEG", "OUTPUT_FORMAT_WEBP"},
  OutputOmit = {"OUTPUT_OMIT_UNSPECIFIED", "OUTPUT_OMIT_CUTOUT", "OUTPUT_OMIT_MASK"},
}
-- The protos' own names, which are taken too.
local ALIASES = {
  EditRequest = {input_image = "input_image_base64", mask_image = "mask_image_base64", reference_images = "reference_images_base64"},
}

-- The query and the JSON body of a call, before the transcoder reads them. It drops keys that it does not know: a misspelt
-- one would change the edit without a word. Knows JSON, the fields' names and those of enums; other values are the
-- transcoder's to judge, but for base64.

-- Of values and quotation marks; a picture is one value. Millions would hold Envoy's thread for minutes.
local MAX_DEPTH, MAX_PARTS = 32, 100000

local Reader = {}
Reader.__index = Reader

local function fail(name, description, korean)
  error(invalid(name, description, korean), 0)
end

function Reader:not_json(expected)
  local found = self.at > #self.text and "the end" or quoted(self.text:sub(self.at, self.at))
  local description = ("is not valid JSON: %s at byte %d, where %s is expected"):format(found, self.at, expected)
  fail("body", description, "요청 본문이 올바른 JSON이 아닙니다.")
end

function Reader:count()
  self.parts = self.parts + 1
  if self.parts > MAX_PARTS then self:not_json("a body of fewer values and quotation marks") end
end

function Reader:peek()
  self.at = self.text:match("^[ \t\r\n]*()", self.at)
  return self.text:sub(self.at, self.at)
end

-- Whether this character comes next; it is then behind us.
function Reader:take(character)
  if self:peek() ~= character then return false end
  self.at = self.at + 1
  return true
end

-- The first and the last place of a string's characters, which stay as they are escaped.
function Reader:string(expected)
  if not self:take('"') then self:not_json(expected) end
  local first, from = self.at, self.at
  while true do
    local quote = self.text:find('"', from, true)
    self.at = quote or #self.text + 1
    if not quote then self:not_json("the end of a string") end
    self:count()
    local before = quote - 1
    while before >= first and self.text:byte(before) == 92 do before = before - 1 end
    if (quote - before) % 2 == 1 then  -- an even number of backslashes
      self.at = quote + 1
      return first, quote - 1
    end
    from = quote + 1
  end
end

-- How many characters must change to make one name the other.
local function distance(one, other)
  local row = {}
  for j = 0, #other do row[j] = j end
  for i = 1, #one do
    local corner = row[0]
    row[0] = i
    for j = 1, #other do
      local change = one:byte(i) == other:byte(j) and 0 or 1
      row[j], corner = math.min(corner + change, row[j] + 1, row[j - 1] + 1), row[j]
    end
  end
  return row[#other]
end

local function nearest(key, fields)
  local best, least
  for name in pairs(fields) do
    local far = distance(key, name)
    if not best or far < least or (far == least and name < best) then best, least = name, far end
  end
  return best
end

-- The kind of a field. Refuses one that the message does not have, or that came before.
function Reader:kind(message, first, last, path, seen)
  local key = self.text:sub(first, math.min(last, first + 99))
  local name = ALIASES[message] and ALIASES[message][key] or key
  local shown = path .. quoted(key):match("^'([^']*)")
  if FIELDS[message][name] == nil then
    local known = nearest(key, FIELDS[message])
    fail(shown, ("is no field of %s; the nearest is %s"):format(message, known),
      ("%s 필드는 없습니다. 비슷한 이름은 %s입니다."):format(shown, known))
  end
  if seen[name] then fail(shown, "is given twice", shown .. " 필드가 두 번 있습니다.") end
  seen[name] = true
  return FIELDS[message][name], path .. name
end

function Reader:object(message, path)
  local seen = {}
  if self:take("}") then return end
  repeat
    self:peek()
    local first, last = self:string("a key in double quotation marks")
    local kind, name
    if message then kind, name = self:kind(message, first, last, path, seen) end
    if not self:take(":") then self:not_json("':'") end
    self:value(kind, name)
  until not self:take(",")
  if not self:take("}") then self:not_json("',' or '}'") end
end

function Reader:list(kind, path)
  if self:take("]") then return end
  local index = 0
  repeat
    self:value(kind, path and ("%s[%d]"):format(path, index))
    index = index + 1
  until not self:take(",")
  if not self:take("]") then self:not_json("',' or ']'") end
end

function Reader:value(kind, path)
  local character = self:peek()
  self:count()
  self.depth = self.depth + 1
  if self.depth > MAX_DEPTH then self:not_json("a body with less nesting") end
  if self:take("{") then
    self:object(FIELDS[kind] and kind, path ~= "" and path and path .. "." or "")
  elseif self:take("[") then
    self:list(kind, path)
  elseif character == '"' then
    local first, last = self:string("a string")
    if kind == "bytes" then self:base64(first, last, path) end
    if ENUMS[kind] then self:enum(ENUMS[kind], first, last, path) end
  else
    self:literal()
  end
  self.depth = self.depth - 1
end

-- The name of an enum's value; the transcoder would refuse another one without saying which there are.
function Reader:enum(names, first, last, path)
  local given, known = self.text:sub(first, last), {}
  for _, name in ipairs(names) do
    if name == given then return end
    if not name:find("_UNSPECIFIED$") then known[#known + 1] = name end
  end
  local choices = table.concat(known, ", ")
  fail(path, ("must be one of %s; it is %s"):format(choices, quoted(given)),
    ("%s 필드는 다음 중 하나여야 합니다: %s"):format(path, choices))
end

local WORDS = {["true"] = true, ["false"] = true, ["null"] = true}

function Reader:literal()
  local after = self.text:match("^[%w.+-]+()", self.at)
  local word = after and after - self.at <= 400 and self.text:sub(self.at, after - 1)
  if not word or not (WORDS[word] or word:find("^%-?%d+%.?%d*[eE]?[+-]?%d*$")) then self:not_json("a value") end
  self.at = after
end

-- A picture may come as a data: URL, as a browser's readAsDataURL gives it; what stands before the base64 is left out.
function Reader:base64(first, last, path)
  local start = self.text:match("^data:[%w/+.;=\\-]*;base64,()", first) or first
  if start > first then self.left_out[#self.left_out + 1] = {first, start} end
  local after = self.text:match("^[%w+/\\]*=?=?()", start)
  if after <= last then after = self.text:match("^[%w_-]*=?=?()", start) end  -- the alphabet of URLs
  local korean = path .. " 필드는 base64로 인코딩한 이미지여야 합니다."
  if after <= last then
    local found = quoted(self.text:sub(after, after))
    fail(path, ("must be base64; character %d is %s"):format(after - first + 1, found), korean)
  end
  local is_plain = not self.text:sub(start, start + 99):find("\\", 1, true)
  if is_plain and (last - start + 1) % 4 == 1 then fail(path, "must be base64; its end is missing", korean) end
end

-- The text without what `left_out` names.
function Reader:rest()
  local parts, from = {}, 1
  for _, range in ipairs(self.left_out) do
    parts[#parts + 1] = self.text:sub(from, range[1] - 1)
    from = range[2]
  end
  parts[#parts + 1] = self.text:sub(from)
  return table.concat(parts)
end

-- The text as the transcoder is to read it, the same one where nothing is to change. Raises a fault.
local function judged(text, message)
  local reader = setmetatable({text = text, at = 1, depth = 0, parts = 0, left_out = {}}, Reader)
  if text:sub(1, 3) == "\239\187\191" then  -- a byte order mark
    reader.left_out[1] = {1, 4}
    reader.at = 4
  end
  if reader:peek() ~= "{" then reader:not_json("'{'") end
  reader:value(message, "")
  if reader:peek() ~= "" then reader:not_json("the end") end
  return #reader.left_out > 0 and reader:rest() or text
end

-- The fields that a route takes from the query: none beside a body, else all that its path does not bind.
local function taken_from_query(route)
  local taken = {}
  for name in pairs(route.has_body and {} or FIELDS[route.message]) do
    if name ~= route.bound then taken[name] = true end
  end
  return taken
end

-- A query parameter's name. Refuses one that the route does not take, or that came before.
local function check_parameter(name, route, taken, seen)
  local shown = quoted(name):match("^'([^']*)")
  local known = ALIASES[route.message] and ALIASES[route.message][name] or name
  if not taken[known] then
    local near = nearest(name:sub(1, 100), route.has_body and FIELDS[route.message] or taken)
    local advice = "this path takes none"
    if near then advice = (route.has_body and "the JSON body has the key " or "the nearest is ") .. near end
    if known == route.bound then advice = "the path names it" end
    fail(shown, "is no query parameter of this path; " .. advice, shown .. "은(는) 이 주소의 쿼리 파라미터가 아닙니다.")
  end
  if seen[known] then fail(shown, "is given twice", shown .. " 파라미터가 두 번 있습니다.") end
  seen[known] = true
end

local function check_query(path, route)
  local taken, seen = taken_from_query(route), {}
  for parameter in (path:match("%?(.*)") or ""):gmatch("[^&]+") do
    local name = parameter:match("^[^=]*"):gsub("+", " "):gsub("%%(%x%x)", function(hex)
      return string.char(tonumber(hex, 16))
    end)
    check_parameter(name, route, taken, seen)
  end
end

local function route_of(headers)
  local path = headers:get(":path"):match("^[^?]*")
  for _, route in ipairs(is_grpc(headers) and {} or ROUTES) do
    if headers:get(":method") == route.verb and path:find(route.path) then return route end
  end
  return nil
end

-- Whether a check passes, and what it returns; else the call is refused.
local function passes(handle, check, ...)
  local is_good, found = pcall(check, ...)
  if is_good then return true, found end
  if type(found) ~= "table" then error(found) end
  refuse(handle, found)
  return false
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local route = route_of(headers)
  if not is_grpc(headers) then handle:streamInfo():dynamicMetadata():set("imgedit", "json", true) end
  if not route or not passes(handle, check_query, headers:get(":path"), route) then return end
  local body = route.has_body and handle:body()
  if not body or body:length() == 0 then return end
  local text = body:getBytes(0, body:length())
  local is_good, found = passes(handle, judged, text, route.message)
  if is_good and found ~= text then
    handle:headers():replace("content-length", tostring(body:setBytes(found)))
  end
  if #text > 1048576 then
    text, found = nil, nil
    collectgarbage()
  end
end
