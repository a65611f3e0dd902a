// Files of a cluster that does not outlive its supervisor: written without waiting for the disk.
#pragma once

#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/result.h"

namespace cluster::processes {

// With its parents. One that exists is no error. Errors: system, not_permitted.
[[nodiscard]] base::Result<> make_directory(const std::string& path);

// Makes or empties the file, which has `mode` from its first byte. Errors: system, not_permitted.
[[nodiscard]] base::Result<> write_plain_file(const std::string& path, std::string_view content,
                                              mode_t mode = 0644);

}  // namespace cluster::processes
