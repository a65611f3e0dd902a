#include "cluster/processes/files.h"

#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"

namespace cluster::processes {

base::Result<> make_directory(const std::string& path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (code) return base::system_error(code.value(), "make {}", path);
  return {};
}

base::Result<> write_plain_file(const std::string& path, std::string_view content, mode_t mode) {
  const base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!file) return base::system_error(errno, "{}", path);
  while (!content.empty()) {
    const ssize_t count = ::write(file.get(), content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return base::system_error(errno, "{}", path);
    content.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

}  // namespace cluster::processes
