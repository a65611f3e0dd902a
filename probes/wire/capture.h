// The observer's job: watches the wire at an interface until it is told to stop.
#pragma once

#include <functional>

#include "base/result.h"
#include "probes/wire/wire.h"

namespace probes {

// Captures at an interface of the calling thread's network namespace until `stop_fd` becomes
// readable, which may be before `on_ready` is called. It is tried with the job's samples before
// that call and once more at the end; whether they were found is in the report. One thread. Errors:
// missing, not_permitted, system (no ring).
[[nodiscard]] base::Result<WireReport> run_capture(const CaptureJob& job, int stop_fd,
                                                   const std::function<void()>& on_ready);

}  // namespace probes
