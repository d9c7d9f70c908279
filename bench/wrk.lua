-- One request again and again: METHOD BODY "Name: value"..., or with a body of each line of the file WRK_BODIES in its
-- turn, behind which a tab and a header of its own may stand; at the end one line of JSON, times in microseconds.
function init(args)
  wrk.method = args[1]
  if args[2] ~= "" then wrk.body = args[2] end
  for number = 3, #args do
    local name, value = args[number]:match("^(.-): (.*)$")
    wrk.headers[name] = value
  end
end

local file = os.getenv("WRK_BODIES")
if file then
  local requests, sent = nil, 0
  function request()
    if requests == nil then
      requests = {}
      for line in io.lines(file) do
        local body, name, value = line:match("^(.*)\t(.-): (.*)$")
        local headers = {}
        for each, said in pairs(wrk.headers) do headers[each] = said end
        if name then headers[name] = value end
        requests[#requests + 1] = wrk.format(nil, nil, headers, body or line)
      end
    end
    sent = sent + 1
    return requests[(sent - 1) % #requests + 1]
  end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '\nJSON {"requests": %d, "us": %d, "failed": %d, "p50_us": %d, "p90_us": %d, "p99_us": %d, "max_us": %d}\n',
    summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(90),
    latency:percentile(99), latency.max
  ))
end
