// What agents write to stderr, kept within bounds.
#pragma once

#include "base/fd.h"
#include "base/result.h"

namespace cluster {

// A file in memory that takes the first 64 KiB and refuses the rest: a stderr that nobody has to
// read, and that cannot grow. Errors: system.
[[nodiscard]] base::Result<base::UniqueFd> bounded_errors_file();

}  // namespace cluster
