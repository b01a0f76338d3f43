-- The request body comes from the environment, the result goes out as one line of JSON.
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")

done = function(summary)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "microseconds": %d, "bytes": %d, "refused": %d, "broken": %d}\n',
      summary.requests, summary.duration, summary.bytes, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout))
end
