-- wrk script: POSTs one JSON file; prints one JSON line (prefixed RESULT) at the end.
-- Environment: BODY = file, TOKEN = optional bearer token. wrk counts every status > 399 in errors.status.
local file = assert(io.open(os.getenv("BODY"), "rb"))
local body = file:read("*a")
file:close()
local form = string.find(os.getenv("BODY"), "form", 1, true)
local headers = { ["Content-Type"] = form and "multipart/form-data; boundary=bench" or "application/json" }
local token = os.getenv("TOKEN")
if token and #token > 0 then
  headers["Authorization"] = "Bearer " .. token
end
local post

init = function(args)
  post = wrk.format("POST", "/v1/emails", headers, body)
end

request = function()
  return post
end

done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"secs":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"non2xx":%d,' ..
      '"e_connect":%d,"e_read":%d,"e_write":%d,"e_timeout":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect, errors.read, errors.write, errors.timeout))
end
