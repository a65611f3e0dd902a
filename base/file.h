// Whole files: read within a bound, written so that a reader sees the old or the new content and
// never a half.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace base {

// The content of a file (also of /proc and /sys, whose size is not known beforehand).
// Errors: missing, not_permitted, system, input (more than `limit` bytes); each names the path.
[[nodiscard]] Result<std::string> read_file(const std::string& path,
                                            std::size_t limit = std::size_t{64} << 20);

// Replaces (or makes) a file: a temporary file in the same directory, fsync, rename. On any error
// (a full disk) the temporary file is removed and the old content stays. A symbolic link stays one
// and its target is replaced; an existing file keeps its mode; a new one gets 0666 less the umask.
// A path that is no regular file (/dev/stdout, a pipe) is written to directly.
// Errors: missing (its directory), not_permitted, system; each names the path.
[[nodiscard]] Result<> write_file(const std::string& path, std::string_view content);

// The temporary file of write_file() is named so: this, and then so many characters.
[[nodiscard]] std::string temporary_prefix(std::string_view file_name);
inline constexpr std::size_t temporary_suffix_length = 6;

}  // namespace base
