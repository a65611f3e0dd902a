#include "base/file.h"

#include <array>
#include <filesystem>
#include <memory>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

namespace base {
namespace {

std::unexpected<Error> file_error(int code, const std::string& path) {
  auto error = system_error(code, "{}", path);
  if (code == ENOENT || code == ENOTDIR) error.error().kind = ErrorKind::missing;
  return error;
}

Result<> write_all(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t count = ::write(fd, content.data(), content.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return file_error(errno, path);
    content.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

// Removes its file unless it was renamed away.
class TemporaryFile {
 public:
  static Result<TemporaryFile> make_beside(const std::string& path) {
    const auto slash = path.rfind('/');
    const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
    TemporaryFile file;
    file.path_ = path.substr(0, name) + temporary_prefix(path.substr(name)) +
                 std::string(temporary_suffix_length, 'X');
    file.fd_.reset(::mkostemp(file.path_.data(), O_CLOEXEC));
    if (!file.fd_) {
      const int code = errno;
      file.path_.clear();
      return file_error(code, path);
    }
    return file;
  }
  TemporaryFile(TemporaryFile&& other) noexcept
      : path_(std::exchange(other.path_, {})), fd_(std::move(other.fd_)) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  [[nodiscard]] int fd() const { return fd_.get(); }
  // Gives the file its place. Errors: system.
  Result<> rename_to(const std::string& path) {
    if (::rename(path_.c_str(), path.c_str()) < 0) return file_error(errno, path);
    path_.clear();
    return {};
  }

 private:
  TemporaryFile() = default;

  std::string path_;
  UniqueFd fd_;
};

// Where a chain of symbolic links ends; the path itself when it is none or does not exist yet.
std::string follow_links(const std::string& path) {
  const std::unique_ptr<char, decltype(&::free)> real(::realpath(path.c_str(), nullptr), &::free);
  return real ? std::string(real.get()) : path;
}

mode_t default_mode() {
  // umask(2) can only be read by setting it, for the whole process; /proc has no such side effect.
  mode_t mask = 022;
  if (auto status = read_file("/proc/self/status")) {
    if (const auto at = status->find("\nUmask:"); at != std::string::npos) {
      mask = static_cast<mode_t>(::strtoul(status->c_str() + at + 7, nullptr, 8));
    }
  }
  return 0666 & ~mask;
}

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return file_error(errno, path);
  std::string content;
  std::array<char, 65536> chunk;
  while (true) {
    const ssize_t count = ::read(fd.get(), chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return file_error(errno, path);
    if (count == 0) return content;
    content.append(chunk.data(), static_cast<std::size_t>(count));
    if (content.size() > limit) {
      return fail(ErrorKind::input, "{}: larger than {} bytes", path, limit);
    }
  }
}

std::string temporary_prefix(std::string_view file_name) {
  return fmt::format(".{}.stackbench-", file_name);
}

Result<> write_file(const std::string& path, std::string_view content) {
  struct stat status{};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) return file_error(errno, path);
    return write_all(fd.get(), content, path);
  }

  const std::string target = follow_links(path);
  ASSIGN_OR_RETURN(TemporaryFile file, TemporaryFile::make_beside(target));
  RETURN_IF_ERROR(write_all(file.fd(), content, path));
  const mode_t mode = exists ? status.st_mode & 07777 : default_mode();
  if (::fchmod(file.fd(), mode) < 0) return file_error(errno, path);
  if (::fsync(file.fd()) < 0) return file_error(errno, path);
  RETURN_IF_ERROR(file.rename_to(target));

  // The rename itself survives a crash only once the directory is on disk. The content is in place
  // by now, so a file system that cannot sync directories is no error.
  const auto parent = std::filesystem::path(target).parent_path();
  const UniqueFd directory(
      ::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) ::fsync(directory.get());
  return {};
}

}  // namespace base
