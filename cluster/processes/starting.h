// The start of a supervisor of its own, seen from both sides: `up` waits on a pipe for what the
// supervisor tells of its way, a line of JSON each, and as long as it waits the start goes on.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

// One line of it: how far the start is, that it is done, or why it failed.
struct StartReport {
  enum class Kind { progress, ready, failed };
  Kind kind = Kind::progress;
  std::string text = {};   // of progress
  base::Error error = {};  // of a failure
};
[[nodiscard]] std::string to_line(const StartReport& report);
// Errors: input.
[[nodiscard]] base::Result<StartReport> from_line(std::string_view line);

// The words after the program's name that start the supervisor; `tools` is Tools::root.
[[nodiscard]] std::vector<std::string> supervise_words(const Shape& shape,
                                                       const Directory& directory,
                                                       const std::string& tools);

// Starts our own program as the supervisor, in a session of its own, and waits until the cluster is
// up; it then goes on without us. Errors: interrupted (it has ended by then), those of the start,
// system.
[[nodiscard]] base::Result<> start_supervisor(
    const Shape& shape, const Directory& directory, const std::string& tools,
    const base::Interrupt& interrupt, const std::function<void(const std::string&)>& progress);

}  // namespace cluster::processes
